// libghostbatch_cuda.so without a GPU, for tests of what calls it: the backend as C++ on cuda_runtime.cpp. NVIDIA's
// libraries are those that GHOSTBATCH_CUDNN names: stand-ins.
#include <dlfcn.h>

#include <cstdio>
#include <exception>

#include "cuda/device.h"
#include "ghostbatch/plugin.h"

extern "C" __attribute__((visibility("default"))) ghostbatch::Device* ghostbatch_device(int32_t abi, int32_t ordinal,
                                                                                      int32_t tf32, int32_t autotune,
                                                                                      char* error, size_t error_size) {
  // Stand-ins look for ghostbatch_submit among all that is open.
  Dl_info self{};
  if (dladdr(reinterpret_cast<const void*>(&ghostbatch_device), &self) != 0) {
    dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);
  }
  try {
    if (abi != ghostbatch::kPluginAbi) throw ghostbatch::Error("[cuda] needs another plug-in ABI");
    return new ghostbatch::cuda::CudaDevice(ordinal, ghostbatch::cuda::Cudnn::of_process(),
                                            ghostbatch::cuda::CublasLt::of_process(13),
                                            ghostbatch::cuda::Allowed{tf32 != 0, autotune != 0},
                                            "the host, as a GPU of tests");
  } catch (const std::exception& failure) {
    std::snprintf(error, error_size, "%s", failure.what());
    return nullptr;
  }
}
