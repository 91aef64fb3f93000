// A CUDA device for tests: on memory of the host and stand-ins of NVIDIA's libraries, or, where GHOSTBATCH_TEST_DEVICE
// names one, a real one.
#pragma once

#include <dlfcn.h>

#include <cstdlib>
#include <memory>

#include "cuda/device.h"
#include "tests/support.h"

namespace ghostbatch::tests {

/// The stand-ins, opened as the real libraries would be; never closed.
struct CudaLibraries {
  cuda::Cudnn cudnn{GHOSTBATCH_FAKES "/good"};
  cuda::CublasLt cublaslt{GHOSTBATCH_FAKES "/good", 13};

  static const CudaLibraries& get() {
    static const CudaLibraries& libraries = *new CudaLibraries();
    return libraries;
  }
};

/// Name of the real device that tests are to use; null: none.
inline const char* real_cuda_device() {
  const char* const name = std::getenv("GHOSTBATCH_TEST_DEVICE");
  return name != nullptr && *name != 0 ? name : nullptr;
}

inline Owned<Device> make_cuda_device() {
  if (real_cuda_device() != nullptr) return make_device(real_cuda_device());
  const CudaLibraries& libraries = CudaLibraries::get();
  return own<Device>(new cuda::CudaDevice(0, libraries.cudnn, libraries.cublaslt, {}, "a stand-in"));
}

}  // namespace ghostbatch::tests
