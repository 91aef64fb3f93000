// Makers of the CPU backend's kernels, one a file of this folder. The caller owns what they return.
#pragma once

#include "common/block_vector_kernels.h"
#include "ghostbatch/device.h"

namespace ghostbatch::cpu {

// On oneDNN: affine.cpp, gemm.cpp; in plain loops: plain_convolution.cpp.
Affine* make_convolution(const ConvolutionSpec& spec, bool backward);
Affine* make_onednn_convolution(const ConvolutionSpec& spec, bool backward);  // for the shapes that it gets right
Affine* make_plain_convolution(const ConvolutionSpec& spec, bool backward);  // for shapes that oneDNN gets wrong
Affine* make_linear(const LinearSpec& spec, bool backward);
Gemm* make_gemm(const GemmSpec& spec);

// Own SIMD: the files of these names.
GhostBatchNorm* make_ghost_batch_norm(const GhostBatchNormSpec& spec);
Pooling* make_pooling(const PoolSpec& spec);
Elementwise* make_elementwise();
SoftmaxCrossEntropy* make_softmax_cross_entropy();
BatchLoader* make_batch_loader(const LoadSpec& spec);
BlockVectorKernels* make_vector_kernels();

}  // namespace ghostbatch::cpu
