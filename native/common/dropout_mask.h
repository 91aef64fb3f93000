// Which elements dropout keeps: integers only, so that all backends agree. Functions are static because files of
// several instruction sets include this: the linker must not share one copy among them.
#pragma once

#include <cstdint>

#include "ghostbatch/elementwise.h"
#include "ghostbatch/philox.h"

namespace ghostbatch {

/// Words of elements [4 * quad, 4 * quad + 4) of row `row` of the view.
GHOSTBATCH_HOST_DEVICE static inline Philox4 dropout_words(const DropoutKey& key, int64_t row, int64_t quad) {
  return philox(key.seed, philox_stream(RandomPurpose::dropout, key.layer), static_cast<uint32_t>(key.step),
                static_cast<uint32_t>(static_cast<uint64_t>(key.first_row) + static_cast<uint64_t>(row)),
                static_cast<uint32_t>(quad));
}

/// Words below it drop their element: floor(rate * 2^32), rate in [0, 1).
static inline uint32_t dropout_threshold(double rate) {
  return static_cast<uint32_t>(rate * 4294967296.0);
}

}  // namespace ghostbatch
