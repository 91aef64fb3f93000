#pragma once

#include <cstdint>
#include <memory>
#include <new>

#include "common/check.h"

namespace ghostbatch {

/// Doubles that a thread keeps from call to call: grows when a call needs more, so that a steady state allocates
/// nothing. For use as a `thread_local` of one file.
class ThreadBuffer {
 public:
  double* at_least(const char* kernel, int64_t elements) {
    if (elements > size_) {
      data_.reset(new (std::nothrow) double[static_cast<size_t>(elements)]);
      size_ = data_ == nullptr ? 0 : elements;
      if (data_ == nullptr) fail(kernel, text(elements * 8, " bytes for sums"), "none free");
    }
    return data_.get();
  }

 private:
  std::unique_ptr<double[]> data_;
  int64_t size_ = 0;
};

}  // namespace ghostbatch
