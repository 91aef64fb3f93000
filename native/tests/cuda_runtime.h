// The CUDA runtime of tests, as they see it.
#pragma once

#include <cstdint>

namespace ghostbatch::tests {

/// Bytes of device memory that are not given back.
int64_t device_memory_in_use();

/// Kernels, copies and fills of all streams so far, also those of graphs.
int64_t launched();

/// So much device memory, while it lives.
class MemoryLimit {
 public:
  explicit MemoryLimit(int64_t bytes);
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;
  ~MemoryLimit();

 private:
  int64_t before_;
};

}  // namespace ghostbatch::tests
