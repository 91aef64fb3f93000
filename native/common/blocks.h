// Work on long vectors in blocks of a fixed size, so that results do not depend on the number of lanes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ghostbatch/vector.h"

namespace ghostbatch {

/// body(block, first, count) for every block of n elements.
template <typename Body>
class BlockWork final : public LaneWork {
 public:
  BlockWork(int64_t elements, const Body& body) : elements_(elements), body_(body) {}
  void run(int64_t block, int32_t) override {
    const int64_t first = block * VectorKernels::kBlock;
    body_(block, first, std::min(VectorKernels::kBlock, elements_ - first));
  }

 private:
  int64_t elements_;
  const Body& body_;
};

inline int64_t blocks_of(int64_t elements) {
  return (elements + VectorKernels::kBlock - 1) / VectorKernels::kBlock;
}

/// On `lanes` (null: the calling thread).
template <typename Body>
void for_blocks(Lanes* lanes, int64_t elements, const Body& body) {
  BlockWork<Body> work(elements, body);
  const int64_t blocks = blocks_of(elements);
  if (lanes != nullptr && blocks > 0) {
    lanes->run(blocks, work);
    return;
  }
  for (int64_t block = 0; block < blocks; ++block) work.run(block, 0);
}

}  // namespace ghostbatch
