// Makers of the CUDA backend's kernels, one a file of this folder. The caller owns what they return, and keeps the
// context as long. Calls enqueue on its stream, and wait only where they give a number back. Safe from several threads.
#pragma once

#include "cuda/context.h"
#include "ghostbatch/device.h"

namespace ghostbatch::cuda {

constexpr const char* kCudaKernels = "cuda";  // implementation of what runs own kernels

// On cuDNN and cuBLASLt: affine.cpp, gemm_kernel.cpp.
Affine* make_convolution(const Context& context, const ConvolutionSpec& spec, bool backward);
Affine* make_linear(const Context& context, const LinearSpec& spec, bool backward);
Gemm* make_gemm(const Context& context, const GemmSpec& spec);

// Own kernels. What changes from call to call goes to the device first: for tests and single kernels; the engine calls
// the functions behind them, on state that is there.
GhostBatchNorm* make_ghost_batch_norm(const Context& context, const GhostBatchNormSpec& spec);
Pooling* make_pooling(const Context& context, const PoolSpec& spec);
Elementwise* make_elementwise(const Context& context);
SoftmaxCrossEntropy* make_softmax_cross_entropy(const Context& context);
BatchLoader* make_batch_loader(const Context& context, const LoadSpec& spec);
VectorKernels* make_vector_kernels(const Context& context);

}  // namespace ghostbatch::cuda
