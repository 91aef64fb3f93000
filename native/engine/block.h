// Ownership of what a device makes: objects, and plain memory.
#pragma once

#include <cstring>
#include <memory>
#include <utility>

#include "ghostbatch/device.h"

namespace ghostbatch {

struct Destroy {
  void operator()(Resource* resource) const { resource->destroy(); }
};
template <typename T>
using Owned = std::unique_ptr<T, Destroy>;

/// Memory of the device, given back at the end.
class Block {
 public:
  Block() = default;
  Block(Device& device, int64_t bytes)
      : device_(&device), bytes_(bytes), data_(bytes > 0 ? device.allocate(bytes) : nullptr) {}
  Block(Block&& other) noexcept
      : device_(other.device_), bytes_(other.bytes_), data_(std::exchange(other.data_, nullptr)) {}
  Block& operator=(Block&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(bytes_, other.bytes_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~Block() {
    if (data_ != nullptr) device_->release(data_, bytes_);
  }
  char* at(int64_t offset) const { return static_cast<char*>(data_) + offset; }
  int64_t bytes() const { return bytes_; }
  void fill(int byte) const {
    if (bytes_ > 0) std::memset(data_, byte, static_cast<size_t>(bytes_));
  }

 private:
  Device* device_ = nullptr;
  int64_t bytes_ = 0;
  void* data_ = nullptr;
};

}  // namespace ghostbatch
