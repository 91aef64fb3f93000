// What backends have in common whose memory is the host's.
#pragma once

#include <cstring>

#include "common/block_vector_kernels.h"
#include "common/check.h"
#include "common/memory.h"
#include "ghostbatch/device.h"

namespace ghostbatch {

class HostDevice : public Device {
 public:
  BlockVectorKernels* vector_kernels() override = 0;

  const char* kernel_choices() override { return ""; }
  void use_kernel_choices(const char* text) override {
    if (text == nullptr || *text != 0) fail("device", "no kernel choices where kernels are not timed", name());
  }

  void* allocate(int64_t bytes) override { return allocate_huge(bytes); }
  void release(void* data, int64_t bytes) override { release_huge(data, bytes); }
  int64_t available_bytes() const override { return available_memory(); }
  void write(void* dst, const void* src, int64_t bytes) override { copy(dst, src, bytes); }
  void read(const void* src, void* dst, int64_t bytes) override { copy(dst, src, bytes); }
  void zero(void* dst, int64_t bytes) override { std::memset(dst, 0, static_cast<size_t>(bytes)); }

  // By passes on lanes: engine/engine.cpp.
  Engine* make_engine(Lanes& lanes, const Network& network, const EngineSpec& spec) override;
  int64_t predict_engine_bytes(int32_t lanes, const Network& network, const EngineSpec& spec) override;

 private:
  static void copy(void* dst, const void* src, int64_t bytes) { std::memcpy(dst, src, static_cast<size_t>(bytes)); }
};

}  // namespace ghostbatch
