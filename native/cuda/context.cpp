#include "cuda/context.h"

#include "common/check.h"

namespace ghostbatch::cuda {

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
