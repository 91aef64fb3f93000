#include "cuda/context.h"

#include "common/check.h"

namespace ghostbatch::cuda {

DeviceMemory::DeviceMemory(int64_t bytes) : data_(allocate_memory(bytes)), bytes_(bytes) {
  if (data_ == nullptr) fail("cuda", text(bytes, " bytes of device memory"), text(free_memory(), " free"));
}

}  // namespace ghostbatch::cuda
