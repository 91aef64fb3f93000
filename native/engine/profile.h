// What each lane did and how long it took.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "ghostbatch/engine.h"

namespace ghostbatch {

using Clock = std::chrono::steady_clock;

/// Time and calls of every entry, and the single calls where they are asked for; each lane writes its own.
class Profile {
 public:
  struct Cell {
    double seconds = 0;
    int64_t calls = 0;
  };

  Profile(size_t entries, int32_t lanes) : lanes_(static_cast<size_t>(lanes)) {
    for (Lane& lane : lanes_) lane.cells.resize(entries);
  }

  void set(bool on) { on_ = on; }
  void reset() {
    for (Lane& lane : lanes_) std::fill(lane.cells.begin(), lane.cells.end(), Cell{});
  }
  Cell total(size_t entry) const {
    Cell sum;
    for (const Lane& lane : lanes_) {
      sum.seconds += lane.cells[entry].seconds;
      sum.calls += lane.cells[entry].calls;
    }
    return sum;
  }

  /// A call of `entry` on a lane, from `start` until now.
  void record(int32_t lane, size_t entry, Clock::time_point start, int64_t micro_batch = -1) {
    if (!on_) return;
    const auto now = Clock::now();
    Lane& to = lanes_[static_cast<size_t>(lane)];
    to.cells[entry].seconds += std::chrono::duration<double>(now - start).count();
    ++to.cells[entry].calls;
    if (to.trace.size() < trace_capacity_) {
      to.trace.push_back({static_cast<int32_t>(entry), nanoseconds(start), nanoseconds(now), micro_batch});
    }
  }

  void set_tracing(int64_t events) {
    if (events < 0 || events > (1 << 20)) {
      throw Error("[engine] needs 0 to 1048576 events of a trace, got " + std::to_string(events));
    }
    trace_capacity_ = static_cast<size_t>(events);
    for (Lane& lane : lanes_) {
      lane.trace = {};
      lane.trace.reserve(trace_capacity_);
    }
  }
  const std::vector<TraceEvent>& trace(int32_t lane) const {
    if (lane < 0 || lane >= static_cast<int32_t>(lanes_.size())) {
      throw Error("[engine] needs a lane in [0, " + std::to_string(lanes_.size()) + "), got " + std::to_string(lane));
    }
    return lanes_[static_cast<size_t>(lane)].trace;
  }
  const TraceEvent& trace_event(int32_t lane, int64_t index) const {
    const std::vector<TraceEvent>& events = trace(lane);
    if (index < 0 || index >= static_cast<int64_t>(events.size())) {
      throw Error("[engine] needs an event in [0, " + std::to_string(events.size()) + "), got " +
                  std::to_string(index));
    }
    return events[static_cast<size_t>(index)];
  }

 private:
  struct Lane {
    std::vector<Cell> cells;
    std::vector<TraceEvent> trace;  // never beyond its capacity: a step allocates nothing
  };

  static int64_t nanoseconds(Clock::time_point time) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
  }

  std::vector<Lane> lanes_;
  bool on_ = false;
  size_t trace_capacity_ = 0;  // events a lane keeps
};

}  // namespace ghostbatch
