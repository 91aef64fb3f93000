// Scratch memory of the kernels that run on NVIDIA's libraries, and vectors that lie in it because a library wants them
// aligned or in another type.
#pragma once

#include <cstdint>

#include "cuda/grid.h"
#include "cuda/pack.h"
#include "cuda/vector_kernels.h"
#include "ghostbatch/types.h"

namespace ghostbatch::cuda {

constexpr int64_t kScratchAlignment = 256;  // what the libraries ask of their workspace
constexpr int64_t kRoomAlignment = 64;      // what callers give: check_room

/// Parts of a scratch, one behind another, each aligned to 256 bytes.
class ScratchLayout {
 public:
  /// The place of a part of so many bytes.
  int64_t add(int64_t bytes) {
    const int64_t at = bytes_;
    bytes_ += divide_up(bytes, kScratchAlignment) * kScratchAlignment;
    return at;
  }
  /// Of the whole, wherever at a multiple of 64 bytes it begins.
  int64_t bytes() const { return bytes_ == 0 ? 0 : bytes_ + kScratchAlignment - kRoomAlignment; }

 private:
  int64_t bytes_ = 0;
};

/// The memory of a part; that of one without bytes may be anything.
inline void* part_of(const View& scratch, int64_t place) {
  constexpr auto kMask = static_cast<uintptr_t>(kScratchAlignment) - 1;
  const auto begin = (reinterpret_cast<uintptr_t>(scratch.data) + kMask) & ~kMask;
  return reinterpret_cast<void*>(begin + static_cast<uintptr_t>(place));
}

/// The vector in this type and aligned to 16 bytes: itself where it is so, else its copy in `room`, which is enqueued.
inline void* as_library_wants(const View& vector, DataType type, void* room, Stream stream) {
  if (vector.type == type && is_aligned(vector.data)) return vector.data;
  vector::copy(vector.type, vector.data, type, room, vector.elements, stream);
  return room;
}

}  // namespace ghostbatch::cuda
