#pragma once

#include <string>

#include "common/host_device.h"

namespace ghostbatch::cpu {

/// The CPU of this machine: oneDNN for layers with weights and matrix products, own SIMD for the rest.
class CpuDevice final : public HostDevice {
 public:
  CpuDevice();

  const char* name() const override { return "cpu"; }
  const char* description() const override { return description_.c_str(); }
  bool supports(DataType type) const override;
  const char* precision_note(DataType type) const override;

  Affine* convolution(const ConvolutionSpec& spec, bool backward) override;
  Affine* linear(const LinearSpec& spec, bool backward) override;
  Gemm* gemm(const GemmSpec& spec) override;
  GhostBatchNorm* ghost_batch_norm(const GhostBatchNormSpec& spec) override;
  Pooling* pooling(const PoolSpec& spec) override;
  Elementwise* elementwise() override;
  SoftmaxCrossEntropy* softmax_cross_entropy() override;
  BatchLoader* batch_loader(const LoadSpec& spec) override;
  BlockVectorKernels* vector_kernels() override;

 private:
  std::string description_;
  std::string bf16_note_;
};

}  // namespace ghostbatch::cpu
