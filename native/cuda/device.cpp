#include "cuda/device.h"

#include <utility>

#include "common/check.h"
#include "cuda/engine.h"
#include "cuda/kernels.h"

namespace ghostbatch::cuda {

CudaDevice::CudaDevice(int32_t ordinal, const Cudnn& cudnn, const CublasLt& cublaslt, const Allowed& allowed,
                       std::string description)
    : name_(text("cuda", ordinal == 0 ? "" : text(":", ordinal), allowed.tf32 ? ",tf32" : "",
                 allowed.autotune ? ",autotune" : "")),
      description_(std::move(description)), context_(ordinal, cudnn, cublaslt, allowed), samples_(context_) {}

const char* CudaDevice::precision_note(DataType type) const {
  return supports(type) ? "" : "the cuda backend computes in f32 and bf16, the reference backend in f64 too";
}

Affine* CudaDevice::convolution(const ConvolutionSpec& spec, bool backward) {
  return make_convolution(context_, spec, backward);
}
Affine* CudaDevice::linear(const LinearSpec& spec, bool backward) {
  return make_linear(context_, spec, backward);
}
Gemm* CudaDevice::gemm(const GemmSpec& spec) {
  return make_gemm(context_, spec);
}
GhostBatchNorm* CudaDevice::ghost_batch_norm(const GhostBatchNormSpec& spec) {
  return make_ghost_batch_norm(context_, spec);
}
Pooling* CudaDevice::pooling(const PoolSpec& spec) {
  return make_pooling(context_, spec);
}
Elementwise* CudaDevice::elementwise() {
  return make_elementwise(context_);
}
SoftmaxCrossEntropy* CudaDevice::softmax_cross_entropy() {
  return make_softmax_cross_entropy(context_);
}
BatchLoader* CudaDevice::batch_loader(const LoadSpec& spec) {
  return make_batch_loader(context_, spec);
}
VectorKernels* CudaDevice::vector_kernels() {
  return make_vector_kernels(context_);
}

const char* CudaDevice::kernel_choices() {
  const auto lock = context_.lock();
  kernel_choices_ = context_.choices().text();
  return kernel_choices_.c_str();
}
void CudaDevice::use_kernel_choices(const char* text) {
  check_pointer("cuda", "kernel choices", text);
  const auto lock = context_.lock();
  context_.choices().take(text);
}

void* CudaDevice::allocate(int64_t bytes) {
  const auto lock = context_.lock();
  void* const data = allocate_memory(bytes);
  if (data == nullptr) fail("cuda", text(bytes, " bytes of device memory"), text(free_memory(), " free"));
  return data;
}
void CudaDevice::release(void* data, int64_t) {
  release_memory(data);
}
int64_t CudaDevice::available_bytes() const {
  const auto lock = context_.lock();
  return free_memory();
}

void CudaDevice::write(void* dst, const void* src, int64_t bytes) {
  const auto lock = context_.lock();
  copy_memory(dst, src, bytes, context_.stream());
  synchronize(context_.stream());
}
void CudaDevice::read(const void* src, void* dst, int64_t bytes) {
  const auto lock = context_.lock();
  copy_memory(dst, src, bytes, context_.stream());
  synchronize(context_.stream());
}
void CudaDevice::zero(void* dst, int64_t bytes) {
  const auto lock = context_.lock();
  fill_memory(dst, 0, bytes, context_.stream());
}

Engine* CudaDevice::make_engine(Lanes&, const Network& network, const EngineSpec& spec) {
  return cuda::make_engine(*this, context_, samples_, network, spec);
}
int64_t CudaDevice::predict_engine_bytes(int32_t, const Network& network, const EngineSpec& spec) {
  return cuda::predict_engine_bytes(*this, context_, network, spec);
}

}  // namespace ghostbatch::cuda
