#include "cuda/context.h"

#include <cstdlib>
#include <string>

#include "common/check.h"

namespace ghostbatch::cuda {

BlockLimits Context::usable_limits() {
  BlockLimits limits = block_limits();
  const char* const variable = std::getenv("GHOSTBATCH_CUDA_CLUSTERS");
  const std::string value = variable == nullptr ? "" : variable;
  if (value == "0") {
    limits.cluster = 0;
  } else if (!value.empty() && value != "1") {
    fail("cuda", "GHOSTBATCH_CUDA_CLUSTERS to be 0 or 1", text('"', value, '"'));
  }
  return limits;
}

DeviceMemory::DeviceMemory(int64_t bytes) {
  if (bytes == 0) return;
  data_ = allocate_memory(bytes);
  if (data_ == nullptr) fail("cuda", text(bytes, " bytes of device memory"), text(free_memory(), " bytes free"));
  bytes_ = bytes;
}

void DeviceMemory::reserve(int64_t bytes) {
  if (bytes <= bytes_) return;
  *this = DeviceMemory();  // before the other: both need not fit
  *this = DeviceMemory(bytes);
}

}  // namespace ghostbatch::cuda
