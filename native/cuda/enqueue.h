// Launches of the kernels of this folder, for .cu files: by CUDA, or in tests, which compile these files as C++, as
// phases on the host.
#pragma once

#include <limits>
#include <type_traits>

#include "common/check.h"
#include "cuda/grid.h"
#include "cuda/runtime.h"
#if defined(__CUDACC__)
#include "cuda/launch.h"
#else
#include <functional>
#endif

namespace ghostbatch::cuda {

#if defined(__CUDACC__)
static_assert(std::is_same_v<Stream, cudaStream_t>);
#else
/// Runs `work` in the stream's order, at once or where it is captured, whenever its graph is launched.
void submit(Stream stream, std::function<void()> work);
#endif

/// Enqueues a kernel; nothing where its grid is empty. Error where CUDA refuses it.
template <class Kernel>
void enqueue(const char* what, const Kernel& kernel, int64_t blocks, int32_t threads, Stream stream) {
  if (blocks == 0) return;
  if (blocks > std::numeric_limits<int32_t>::max()) fail(what, "at most 2^31 - 1 blocks of threads", text(blocks));
#if defined(__CUDACC__)
  const cudaError_t error = launch(kernel, static_cast<int>(blocks), threads, stream);
  if (error != cudaSuccess) fail(what, "a kernel that CUDA takes", cudaGetErrorString(error));
#else
  submit(stream, [=] { emulate(kernel, static_cast<int32_t>(blocks), threads); });
#endif
}

template <class Kernel>
void enqueue(const char* what, const Launch<Kernel>& job, Stream stream) {
  enqueue(what, job.kernel, job.blocks, job.threads, stream);
}

/// body(T()) for the element type T of activations.
template <class Body>
void with_type(const char* what, DataType type, const Body& body) {
  check_kernel_type(what, type);
  if (type == DataType::f32) return body(float());
  return body(uint16_t());
}

/// The same for vectors.
template <class Body>
void with_vector_type(const char* what, DataType type, const Body& body) {
  if (type == DataType::f32) return body(float());
  if (type == DataType::f64) return body(double());
  fail(what, "vectors of f32 or f64", name_of(type));
}

}  // namespace ghostbatch::cuda
