// Work on a range in fixed blocks, which lanes take one by one.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ghostbatch/vector.h"

namespace ghostbatch {

/// body(block, first, count) for every block of n elements.
template <int64_t kBlock, typename Body>
class BlockWork final : public LaneWork {
 public:
  BlockWork(int64_t elements, const Body& body) : elements_(elements), body_(body) {}
  void run(int64_t block, int32_t) override {
    const int64_t first = block * kBlock;
    body_(block, first, std::min(kBlock, elements_ - first));
  }

 private:
  int64_t elements_;
  const Body& body_;
};

template <int64_t kBlock = VectorKernels::kBlock>
int64_t blocks_of(int64_t elements) {
  return (elements + kBlock - 1) / kBlock;
}

/// Runs them on `lanes`, or one after another on the calling thread where that is null.
template <int64_t kBlock = VectorKernels::kBlock, typename Body>
void for_blocks(Lanes* lanes, int64_t elements, const Body& body) {
  BlockWork<kBlock, Body> work(elements, body);
  const int64_t blocks = blocks_of<kBlock>(elements);
  if (lanes != nullptr && blocks > 0) {
    lanes->run(blocks, work);
    return;
  }
  for (int64_t block = 0; block < blocks; ++block) work.run(block, 0);
}

}  // namespace ghostbatch
