#pragma once

#include "ghostbatch/types.h"

namespace ghostbatch {

/// Work for the lanes: `run(task)` is called once for every task in [0, tasks).
class LaneWork {
 public:
  virtual ~LaneWork() = default;
  virtual void run(int64_t task, int32_t lane) = 0;
};

/// A fixed number of native threads, each with OpenMP at one thread. They sleep while there is no work; the calling
/// thread waits and does none of it, so its own OpenMP settings are never touched. One call at a time.
class Lanes : public Resource {
 public:
  /// `threads` in [1, 1024].
  static Lanes* create(int32_t threads);
  virtual int32_t threads() const = 0;
  /// Runs `tasks` tasks, handed out in increasing order, and waits for all. The first Error (by task) is thrown here.
  virtual void run(int64_t tasks, LaneWork& work) = 0;

 protected:
  Lanes() = default;
};

}  // namespace ghostbatch
