#pragma once

#include <string>

#include "cuda/context.h"
#include "cuda/sample_store.h"
#include "ghostbatch/device.h"

namespace ghostbatch::cuda {

/// One NVIDIA GPU: cuDNN for convolutions, cuBLASLt for products, own kernels for the rest. Everything goes to one
/// stream, in the order of the calls.
class CudaDevice final : public Device {
 public:
  /// Error where the GPU or a library does not work. `description`: of hardware and versions, for people.
  CudaDevice(int32_t ordinal, const Cudnn& cudnn, const CublasLt& cublaslt, const Allowed& allowed,
             std::string description);

  const char* name() const override { return name_.c_str(); }
  const char* description() const override { return description_.c_str(); }
  bool supports(DataType type) const override { return type == DataType::f32 || type == DataType::bf16; }
  const char* precision_note(DataType type) const override;

  Affine* convolution(const ConvolutionSpec& spec, bool backward) override;
  Affine* linear(const LinearSpec& spec, bool backward) override;
  Gemm* gemm(const GemmSpec& spec) override;
  GhostBatchNorm* ghost_batch_norm(const GhostBatchNormSpec& spec) override;
  Pooling* pooling(const PoolSpec& spec) override;
  Elementwise* elementwise() override;
  SoftmaxCrossEntropy* softmax_cross_entropy() override;
  BatchLoader* batch_loader(const LoadSpec& spec) override;
  VectorKernels* vector_kernels() override;

  const char* kernel_choices() override;
  void use_kernel_choices(const char* text) override;

  void* allocate(int64_t bytes) override;
  void release(void* data, int64_t bytes) override;
  int64_t available_bytes() const override;
  void write(void* dst, const void* src, int64_t bytes) override;
  void read(const void* src, void* dst, int64_t bytes) override;
  void zero(void* dst, int64_t bytes) override;

  Engine* make_engine(Lanes& lanes, const Network& network, const EngineSpec& spec) override;
  int64_t predict_engine_bytes(int32_t lanes, const Network& network, const EngineSpec& spec) override;

 private:
  std::string name_, description_, kernel_choices_;
  Context context_;
  SampleStore samples_;
};

}  // namespace ghostbatch::cuda
