// Launches of the kernels of this folder, for .cu files.
#pragma once

#include <limits>
#include <type_traits>

#include "common/check.h"
#include "cuda/grid.h"
#include "cuda/launch.h"

namespace ghostbatch::cuda {

static_assert(std::is_same_v<Stream, cudaStream_t>);

/// Enqueues a kernel; nothing where its grid is empty. Error where CUDA refuses it.
template <class Kernel>
void enqueue(const char* what, const Launch<Kernel>& job, Stream stream) {
  if (job.blocks == 0) return;
  if (job.blocks > std::numeric_limits<int32_t>::max()) {
    fail(what, "at most 2^31 - 1 blocks of threads", text(job.blocks));
  }
  const cudaError_t error = launch(job.kernel, static_cast<int>(job.blocks), job.threads, stream);
  if (error != cudaSuccess) fail(what, "a kernel that CUDA takes", cudaGetErrorString(error));
}

/// body(T()) for the element type T of activations.
template <class Body>
void with_type(const char* what, DataType type, const Body& body) {
  if (type == DataType::f32) return body(float());
  if (type == DataType::bf16) return body(uint16_t());
  fail(what, "f32 or bf16 on the backend cuda", name_of(type));
}

/// The same for vectors.
template <class Body>
void with_vector_type(const char* what, DataType type, const Body& body) {
  if (type == DataType::f32) return body(float());
  if (type == DataType::f64) return body(double());
  fail(what, "vectors of f32 or f64", name_of(type));
}

}  // namespace ghostbatch::cuda
