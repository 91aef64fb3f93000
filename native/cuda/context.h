// What the kernels of one device share: the GPU, its stream, NVIDIA's libraries on both.
#pragma once

#include <memory>
#include <mutex>
#include <utility>

#include "cuda/cublaslt.h"
#include "cuda/cudnn.h"
#include "cuda/engine_choices.h"
#include "cuda/runtime.h"

namespace ghostbatch::cuda {

/// What the user allows.
struct Allowed {
  bool tf32 = false;      // f32 operands may be rounded to TF32
  bool autotune = false;  // convolutions may be timed, to choose cuDNN's engines by that
};

/// A GPU with one stream, to which everything of a device goes in the order of the calls. A thread that enqueues holds
/// the `lock` for the whole of its call: so calls from several threads follow one another, and none is captured by
/// another's.
class Context {
 public:
  Context(int32_t ordinal, const Cudnn& cudnn, const CublasLt& cublaslt, const Allowed& allowed)
      : ordinal_(ordinal), allowed_(allowed), stream_(ordinal), limits_(usable_limits()),
        cudnn_(cudnn, stream_.get()), cublaslt_(cublaslt), choices_(gpu_name(ordinal) + ", " + cudnn.version()) {}

  int32_t ordinal() const { return ordinal_; }
  Stream stream() const { return stream_.get(); }
  const CudnnHandle& cudnn() const { return cudnn_; }
  const CublasLtHandle& cublaslt() const { return cublaslt_; }
  const Allowed& allowed() const { return allowed_; }
  /// For who holds the lock.
  EngineChoices& choices() const { return choices_; }
  /// What own kernels may use: no clusters where GHOSTBATCH_CUDA_CLUSTERS is 0.
  const BlockLimits& limits() const { return limits_; }

  /// Also makes the GPU that of the calling thread.
  std::unique_lock<std::recursive_mutex> lock() const {
    std::unique_lock<std::recursive_mutex> held(mutex_);
    set_device(ordinal_);
    return held;
  }

 private:
  class OwnStream {
   public:
    explicit OwnStream(int32_t ordinal) {
      set_device(ordinal);
      stream_ = create_stream();
    }
    OwnStream(const OwnStream&) = delete;
    OwnStream& operator=(const OwnStream&) = delete;
    ~OwnStream() { destroy_stream(stream_); }
    Stream get() const { return stream_; }

   private:
    Stream stream_;
  };

  static BlockLimits usable_limits();

  int32_t ordinal_;
  Allowed allowed_;
  OwnStream stream_;
  BlockLimits limits_;
  CudnnHandle cudnn_;
  CublasLtHandle cublaslt_;
  mutable EngineChoices choices_;
  mutable std::recursive_mutex mutex_;
};

/// Device memory, given back at the end.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  /// NaN or anything; none for 0 bytes. Error naming bytes needed and free.
  explicit DeviceMemory(int64_t bytes);
  DeviceMemory(DeviceMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~DeviceMemory() {
    if (data_ != nullptr) release_memory(data_);
  }
  template <typename T>
  T* as(int64_t offset_bytes = 0) const {
    return reinterpret_cast<T*>(static_cast<char*>(data_) + offset_bytes);
  }
  /// Grows to `bytes`, and loses what it held; nothing where it has as many. Kernels on the former memory are waited
  /// for, as releasing does.
  void reserve(int64_t bytes);
  int64_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace ghostbatch::cuda
