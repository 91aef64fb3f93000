#include "tests/cuda_device.h"

#include <cstdlib>

namespace ghostbatch::tests {
namespace {

/// Opened as the real ones would be, and never closed.
struct Libraries {
  cuda::Cudnn cudnn{GHOSTBATCH_FAKES "/good"};
  cuda::CublasLt cublaslt{GHOSTBATCH_FAKES "/good", 13};

  static const Libraries& get() {
    static const Libraries& libraries = *new Libraries();
    return libraries;
  }
};

}  // namespace

const cuda::Context& cuda_context() {
  static const auto& context = *new cuda::Context(0, Libraries::get().cudnn, Libraries::get().cublaslt, {});
  return context;
}

Owned<Device> make_cuda_device(const cuda::Allowed& allowed) {
  const Libraries& libraries = Libraries::get();
  return Owned<Device>(new cuda::CudaDevice(0, libraries.cudnn, libraries.cublaslt, allowed, "on the host"));
}

Owned<Device> make_any_device(const char* name) {
  return name == std::string("cuda") ? make_cuda_device() : make_device(name);
}

std::vector<Backend> all_backends_and_cuda() {
  std::vector<Backend> backends = all_backends();
  backends.push_back({"cuda", DataType::f32});
  backends.push_back({"cuda", DataType::bf16});
  return backends;
}

const char* real_gpu() {
  const char* const name = std::getenv("GHOSTBATCH_TEST_DEVICE");
  return name != nullptr && *name != 0 ? name : nullptr;
}

}  // namespace ghostbatch::tests
