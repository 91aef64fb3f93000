// What the kernels of this folder share beside their phases: rows that only device memory knows, and grids.
#pragma once

#include <cstdint>

#include "common/check.h"
#include "cuda/emulate.h"
#include "cuda/runtime.h"

namespace ghostbatch::cuda {

/// Activations of a type that own kernels of this backend have.
inline void check_kernel_type(const char* kernel, DataType type) {
  if (type != DataType::f32 && type != DataType::bf16) {
    fail(kernel, "f32 or bf16 on the backend cuda", name_of(type));
  }
}

/// The rows of a batch that a pass runs: [first, first + count). In device memory, so that a captured graph can be
/// replayed for others.
struct RowRange {
  int64_t first;
  int64_t count;
};

/// Elements that a kernel works on: `row_elements` for each row that `rows` counts, at most `most_rows`; for all of
/// these where it is null.
struct Extent {
  const RowRange* rows;
  int64_t most_rows;
  int64_t row_elements;

  GHOSTBATCH_HD int64_t elements() const { return (rows == nullptr ? most_rows : rows->count) * row_elements; }
  GHOSTBATCH_HD int64_t most_elements() const { return most_rows * row_elements; }
};

/// A number that is known at the launch, or one in device memory that may change between replays.
struct Scalar {
  double value;
  const double* memory;

  Scalar(double value_) : value(value_), memory(nullptr) {}
  Scalar(const double* memory_) : value(0), memory(memory_) {}
  GHOSTBATCH_HD double get() const { return memory == nullptr ? value : *memory; }
};

/// A kernel with its grid: what tests run on the host and enqueue.h on the device.
template <class Kernel>
struct Launch {
  Kernel kernel;
  int64_t blocks;
  int32_t threads;
};

template <typename N>
struct Same {
  using Type = N;
};
template <typename N>
GHOSTBATCH_HD constexpr N divide_up(N a, typename Same<N>::Type b) {
  return (a + b - 1) / b;
}

/// The thread's number in the grid, and how many there are.
GHOSTBATCH_HD inline int64_t thread_of(Place place) {
  return static_cast<int64_t>(place.block) * place.threads + place.thread;
}
GHOSTBATCH_HD inline int64_t threads_of(Place place) {
  return static_cast<int64_t>(place.blocks) * place.threads;
}

}  // namespace ghostbatch::cuda
