#pragma once

#include <cstdint>
#include <utility>

#include "common/memory.h"

namespace ghostbatch::benchmarks {

/// Memory of the engine's kind: 2 MiB aligned, huge pages asked for, not touched yet.
class Memory {
 public:
  Memory() = default;
  explicit Memory(int64_t bytes) : data_(static_cast<char*>(allocate_huge(bytes))), bytes_(bytes) {}
  Memory(Memory&& other) noexcept : data_(std::exchange(other.data_, nullptr)), bytes_(other.bytes_) {}
  Memory& operator=(Memory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Memory() { release_huge(data_, bytes_); }

  char* data() const { return data_; }

 private:
  char* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace ghostbatch::benchmarks
