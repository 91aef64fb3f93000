// Makers of the reference backend's kernels, one a file of this folder. The caller owns what they return.
// Every kernel is plain loops with arithmetic in double; a result is rounded once, when it is stored. In bf16 that is
// where the cpu backend rounds: weights when they are packed, activations and their gradients when they are written.
#pragma once

#include <type_traits>

#include "common/bfloat16.h"
#include "common/check.h"
#include "common/block_vector_kernels.h"
#include "ghostbatch/device.h"

namespace ghostbatch::reference {

Affine* make_convolution(const ConvolutionSpec& spec, bool backward);
Affine* make_linear(const LinearSpec& spec, bool backward);
Gemm* make_gemm(const GemmSpec& spec);
GhostBatchNorm* make_ghost_batch_norm(const GhostBatchNormSpec& spec);
Pooling* make_pooling(const PoolSpec& spec);
Elementwise* make_elementwise();
SoftmaxCrossEntropy* make_softmax_cross_entropy();
BatchLoader* make_batch_loader(const LoadSpec& spec);
BlockVectorKernels* make_vector_kernels();

/// Type of parameters, statistics and gradients beside activations of T; of what a kernel holds unrounded, too.
template <typename T>
using Parameter = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// body(T()) for the element type T of activations; a type that this backend lacks is an Error.
template <typename Body>
auto with_type(const char* kernel, DataType type, const Body& body) {
  if (type == DataType::f32) return body(float());
  if (type == DataType::f64) return body(double());
  if (type == DataType::bf16) return body(Bfloat16());
  fail(kernel, "f32, f64 or bf16 on the backend reference", name_of(type));
}

/// The same for the element type of parameters.
template <typename Body>
auto with_parameter_type(const char* kernel, DataType type, const Body& body) {
  if (type == DataType::f32) return body(float());
  if (type == DataType::f64) return body(double());
  fail(kernel, "vectors of f32 or f64", name_of(type));
}

/// max(0, value); NaN stays NaN.
inline double rectify(double value) {
  return value < 0 ? 0.0 : value;
}

}  // namespace ghostbatch::reference
