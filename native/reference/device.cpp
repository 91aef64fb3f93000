#include "common/backends.h"
#include "common/host_device.h"
#include "reference/kernels.h"

namespace ghostbatch {
namespace {

class ReferenceDevice final : public HostDevice {
 public:
  const char* name() const override { return "reference"; }
  const char* description() const override { return "plain loops in double, the specification of every kernel"; }
  bool supports(DataType type) const override {
    return type == DataType::f32 || type == DataType::f64 || type == DataType::bf16;
  }

  const char* precision_note(DataType type) const override {
    return supports(type) ? "" : "the reference backend computes in f32, bf16 and f64";
  }

  Affine* convolution(const ConvolutionSpec& spec, bool backward) override {
    return reference::make_convolution(spec, backward);
  }
  Affine* linear(const LinearSpec& spec, bool backward) override { return reference::make_linear(spec, backward); }
  Gemm* gemm(const GemmSpec& spec) override { return reference::make_gemm(spec); }
  GhostBatchNorm* ghost_batch_norm(const GhostBatchNormSpec& spec) override {
    return reference::make_ghost_batch_norm(spec);
  }
  Pooling* pooling(const PoolSpec& spec) override { return reference::make_pooling(spec); }
  Elementwise* elementwise() override { return reference::make_elementwise(); }
  SoftmaxCrossEntropy* softmax_cross_entropy() override { return reference::make_softmax_cross_entropy(); }
  BatchLoader* batch_loader(const LoadSpec& spec) override { return reference::make_batch_loader(spec); }
  BlockVectorKernels* vector_kernels() override { return reference::make_vector_kernels(); }
};

}  // namespace

Device* create_reference_device() {
  return new ReferenceDevice();
}

}  // namespace ghostbatch
