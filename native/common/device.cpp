#include "ghostbatch/device.h"

#include <dlfcn.h>

#include <charconv>
#include <string>
#include <string_view>

#include "common/backends.h"
#include "common/check.h"
#include "ghostbatch/plugin.h"

namespace ghostbatch {
namespace {

constexpr const char* kDevice = "device";
constexpr const char* kNames = "cpu, reference, cuda or cuda:N, the last two perhaps with ,tf32 and then ,autotune";
constexpr std::string_view kCuda = "cuda", kTf32 = ",tf32", kAutotune = ",autotune";

/// libghostbatch_cuda.so in the folder of this library.
std::string cuda_library() {
  Dl_info self{};
  if (dladdr(reinterpret_cast<const void*>(&cuda_library), &self) == 0 || self.dli_fname == nullptr) {
    fail("cuda", "the folder of its own library", "no answer from the loader");
  }
  const std::string path = self.dli_fname;
  const size_t slash = path.rfind('/');
  return (slash == std::string::npos ? std::string() : path.substr(0, slash + 1)) + "libghostbatch_cuda.so";
}

Device* create_cuda_device(int32_t ordinal, bool tf32, bool autotune) {
  const std::string path = cuda_library();
  // Never closed: devices and kernels of a plug-in live in it.
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const reason = dlerror();
    fail("cuda", "the library libghostbatch_cuda.so beside libghostbatch.so", reason != nullptr ? reason : path);
  }
  const auto make = reinterpret_cast<PluginFactory>(dlsym(library, "ghostbatch_device"));
  if (make == nullptr) fail("cuda", "a library with the function ghostbatch_device", path);
  char error[1024] = "";
  Device* const device = make(kPluginAbi, ordinal, tf32 ? 1 : 0, autotune ? 1 : 0, error, sizeof error);
  if (device == nullptr) throw Error(error[0] != 0 ? error : "[cuda] needs a device, got none and no reason");
  return device;
}

}  // namespace

Device* Device::create(const char* name) {
  if (name == nullptr) fail(kDevice, kNames, "null");
  const std::string_view wanted(name);
  if (wanted == "cpu") return create_cpu_device();
  if (wanted == "reference") return create_reference_device();
  std::string_view gpu = wanted;
  const auto ended = [&](std::string_view option) {
    const bool is = gpu.ends_with(option);
    if (is) gpu.remove_suffix(option.size());
    return is;
  };
  const bool autotune = ended(kAutotune), tf32 = ended(kTf32);
  if (gpu == kCuda) return create_cuda_device(0, tf32, autotune);
  if (gpu.starts_with("cuda:")) {
    const std::string_view digits = gpu.substr(5);
    int32_t ordinal = -1;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), ordinal);
    if (error == std::errc() && end == digits.data() + digits.size() && ordinal >= 0) {
      return create_cuda_device(ordinal, tf32, autotune);
    }
  }
  fail(kDevice, kNames, text("\"", wanted, "\""));
}

}  // namespace ghostbatch
