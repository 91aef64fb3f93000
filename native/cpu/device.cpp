#include "cpu/device.h"

#include <fstream>

#include "common/backends.h"
#include "common/check.h"
#include "cpu/kernels.h"
#include "cpu/onednn.h"
#include "cpu/simd.h"

namespace ghostbatch {
namespace cpu {

namespace {

/// As the kernel of the operating system calls it, or "unknown".
std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

}  // namespace

CpuDevice::CpuDevice() {
  const dnnl_version_t& version = *dnnl_version();
  description_ = text("processor: ", cpu_model(), "\noneDNN: ", version.major, ".", version.minor, ".", version.patch,
                      " (", version.hash, "), ", onednn_isa(), "\nown kernels: ", simd_isa());
  if (!supports_bf16()) {
    bf16_note_ = text("bf16 needs AVX-512, this CPU has ", onednn_isa());
  } else if (!has_bf16_instructions()) {
    bf16_note_ =
        text("bf16 is emulated, for this CPU has no instructions for it (", onednn_isa(), "): slower than f32");
  }
}

bool CpuDevice::supports(DataType type) const {
  return type == DataType::f32 || (type == DataType::bf16 && supports_bf16());
}
const char* CpuDevice::precision_note(DataType type) const {
  if (type == DataType::f32) return "";
  if (type == DataType::bf16) return bf16_note_.c_str();
  return "the cpu backend computes in f32 and bf16, the reference backend in f64 too";
}

Affine* CpuDevice::convolution(const ConvolutionSpec& spec, bool backward) {
  return make_convolution(spec, backward);
}
Affine* CpuDevice::linear(const LinearSpec& spec, bool backward) {
  return make_linear(spec, backward);
}
Gemm* CpuDevice::gemm(const GemmSpec& spec) {
  return make_gemm(spec);
}
GhostBatchNorm* CpuDevice::ghost_batch_norm(const GhostBatchNormSpec& spec) {
  return make_ghost_batch_norm(spec);
}
Pooling* CpuDevice::pooling(const PoolSpec& spec) {
  return make_pooling(spec);
}
Elementwise* CpuDevice::elementwise() {
  return make_elementwise();
}
SoftmaxCrossEntropy* CpuDevice::softmax_cross_entropy() {
  return make_softmax_cross_entropy();
}
BatchLoader* CpuDevice::batch_loader(const LoadSpec& spec) {
  return make_batch_loader(spec);
}
BlockVectorKernels* CpuDevice::vector_kernels() {
  return make_vector_kernels();
}

}  // namespace cpu

Device* create_cpu_device() {
  return new cpu::CpuDevice();
}

}  // namespace ghostbatch
