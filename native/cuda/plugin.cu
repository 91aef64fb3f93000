// What libghostbatch_cuda.so exports: the factory of ghostbatch/plugin.h, and a description of the GPUs.
#include <cuda_runtime_api.h>

#include <cstdarg>
#include <cstdio>
#include <exception>

#include "cuda/device.h"
#include "ghostbatch/plugin.h"

#define GHOSTBATCH_EXPORT extern "C" __attribute__((visibility("default")))

namespace ghostbatch {
namespace {

constexpr int kLeastMajor = 8;  // compute capability: bf16 tensor cores

/// Text of a fixed size that grows by printf and is cut where it is full; always ends in zero.
class Text {
 public:
  Text(char* data, size_t size) : data_(data), size_(data == nullptr ? 0 : size) {
    if (size_ > 0) data_[0] = 0;
  }

  __attribute__((format(printf, 2, 3))) void add(const char* format, ...) {
    if (length_ + 1 >= size_) return;
    va_list arguments;
    va_start(arguments, format);
    const int written = vsnprintf(data_ + length_, size_ - length_, format, arguments);
    va_end(arguments);
    if (written > 0) length_ += static_cast<size_t>(written);
  }

 private:
  char* data_;
  size_t size_;
  size_t length_ = 0;
};

int major_of(int version) {
  return version / 1000;
}
int minor_of(int version) {
  return version % 1000 / 10;
}

/// NVIDIA's libraries, opened; Error where one is not to be had.
const cuda::Cudnn& cudnn() {
  return cuda::Cudnn::of_process();
}
const cuda::CublasLt& cublaslt() {
  return cuda::CublasLt::of_process(major_of(CUDART_VERSION));
}

/// A library's description, or why there is none.
template <typename Open>
void describe(Text& out, const Open& open) {
  try {
    out.add("\n%s", open().description().c_str());
  } catch (const std::exception& error) {
    out.add("\n%s", error.what());
  }
}

/// Number of devices, 0 after writing the reason why none can be used.
int usable_devices(Text& reason) {
  int driver = 0, runtime = 0, count = 0;
  cudaRuntimeGetVersion(&runtime);
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    reason.add("[cuda] needs an NVIDIA driver for CUDA %d or newer, got none installed", major_of(runtime));
    return 0;
  }
  if (major_of(driver) < major_of(runtime)) {
    reason.add("[cuda] needs an NVIDIA driver for CUDA %d or newer, got one for CUDA %d.%d", major_of(runtime),
               major_of(driver), minor_of(driver));
    return 0;
  }
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    reason.add("[cuda] needs a GPU, got none: %s",
               error != cudaSuccess ? cudaGetErrorString(error) : "the driver lists no device");
    return 0;
  }
  return count;
}

/// Writes the reason into `reason` where device `ordinal` cannot be used.
bool check_device(int32_t abi, int32_t ordinal, Text& reason) {
  if (abi != kPluginAbi) {
    reason.add("[cuda] needs libghostbatch.so of plug-in ABI %d, got ABI %d: install both libraries from one build",
               kPluginAbi, abi);
    return false;
  }
  const int count = usable_devices(reason);
  if (count == 0) return false;
  if (ordinal < 0 || ordinal >= count) {
    reason.add("[cuda] needs a device number in [0, %d], got %d", count - 1, ordinal);
    return false;
  }
  cudaDeviceProp properties{};
  const cudaError_t error = cudaGetDeviceProperties(&properties, ordinal);
  if (error != cudaSuccess) {
    reason.add("[cuda] needs device %d to answer, got: %s", ordinal, cudaGetErrorString(error));
    return false;
  }
  if (properties.major < kLeastMajor) {
    reason.add("[cuda] needs compute capability %d.0 or newer, got %d.%d of device %d (%s)", kLeastMajor,
               properties.major, properties.minor, ordinal, properties.name);
    return false;
  }
  return true;
}

/// Versions, devices and libraries, or why there are none; gives the number of devices.
int describe_all(Text out) {
  int driver = 0, runtime = 0;
  const int count = usable_devices(out);
  if (count > 0) {
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    out.add("CUDA: driver %d.%d, runtime %d.%d", major_of(driver), minor_of(driver), major_of(runtime),
            minor_of(runtime));
  }
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    cudaDeviceProp properties{};
    const cudaError_t error = cudaGetDeviceProperties(&properties, ordinal);
    if (error != cudaSuccess) {
      out.add("\ncuda:%d: %s", ordinal, cudaGetErrorString(error));
      continue;
    }
    out.add("\ncuda:%d: %s, compute capability %d.%d, %.1f GiB, %d multiprocessors", ordinal, properties.name,
            properties.major, properties.minor, static_cast<double>(properties.totalGlobalMem) / (1024.0 * 1024 * 1024),
            properties.multiProcessorCount);
  }
  describe(out, cudnn);
  describe(out, cublaslt);
  return count;
}

}  // namespace
}  // namespace ghostbatch

/// See ghostbatch::PluginFactory.
GHOSTBATCH_EXPORT ghostbatch::Device* ghostbatch_device(int32_t abi, int32_t ordinal, int32_t tf32, int32_t autotune,
                                                         char* error, size_t error_size) {
  ghostbatch::Text reason(error, error_size);
  if (!ghostbatch::check_device(abi, ordinal, reason)) return nullptr;
  try {
    char description[4096] = "";
    ghostbatch::describe_all(ghostbatch::Text(description, sizeof description));
    return new ghostbatch::cuda::CudaDevice(ordinal, ghostbatch::cudnn(), ghostbatch::cublaslt(),
                                            ghostbatch::cuda::Allowed{tf32 != 0, autotune != 0}, description);
  } catch (const std::exception& missing) {
    reason.add("%s", missing.what());
    return nullptr;
  }
}

/// Writes a line for the versions and one a device into `text` [size], zero-terminated, or the reason why there is no
/// device; then one each for cuDNN and cuBLASLt, or why they are not to be had. Returns the number of devices. Throws
/// nothing.
GHOSTBATCH_EXPORT int32_t ghostbatch_cuda_describe(char* text, size_t size) {
  return ghostbatch::describe_all(ghostbatch::Text(text, size));
}
