// The CUDA runtime of tests, as they see it.
#pragma once

#include <cstdint>

#include "cuda/runtime.h"

namespace ghostbatch::tests {

/// Bytes of device memory that are not given back.
int64_t device_memory_in_use();

/// Kernels, copies and fills of all streams so far, also those of graphs.
int64_t launched();

/// Copies so far from or to memory of the host that is not pinned, for which the host waits.
int64_t unpinned_copies();

/// While it lives, streams run what is enqueued when it is waited for, and no sooner: what the host changes too early
/// shows.
class LateStreams {
 public:
  LateStreams();
  LateStreams(const LateStreams&) = delete;
  LateStreams& operator=(const LateStreams&) = delete;
  ~LateStreams();
};

/// Calls of `elapsed` so far. What they give: times that the stand-ins' executions take by their own account.
int64_t timed();

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

/// A GPU whose blocks may have so much, while it lives: for contexts that are made then.
class BlocksOf {
 public:
  explicit BlocksOf(const cuda::BlockLimits& limits);
  BlocksOf(const BlocksOf&) = delete;
  BlocksOf& operator=(const BlocksOf&) = delete;
  ~BlocksOf();

 private:
  cuda::BlockLimits before_;
};

}  // namespace ghostbatch::tests
