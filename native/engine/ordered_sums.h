// Sums over the parts of a step in the order of the parts, whichever lane has its part first.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "ghostbatch/types.h"

namespace ghostbatch {

/// A lane that is done with its part of a sum publishes it, in its own memory, and goes on; whoever closes the gap adds
/// all that follow it. A lane waits only where it would overwrite a part that is not yet added.
class OrderedSums {
 public:
  OrderedSums(size_t sums, int32_t lanes) : slots_(sums) {
    for (Slot& slot : slots_) slot.published.assign(static_cast<size_t>(lanes), kNone);
  }

  /// Before a step.
  void begin() {
    failed_ = false;
    for (Slot& slot : slots_) {
      slot.turn = 0;
      std::fill(slot.published.begin(), slot.published.end(), kNone);
    }
  }

  /// Waits until the lane's part of a sum may be overwritten; `waited` is called after a wait.
  template <typename F>
  void await(int32_t sum, int32_t lane, F waited) {
    Slot& slot = slots_[static_cast<size_t>(sum)];
    std::unique_lock lock(slot.mutex);
    const int64_t& mine = slot.published[static_cast<size_t>(lane)];
    if (mine == kNone) return;
    slot.added.wait(lock, [&] { return mine == kNone || failed_.load(std::memory_order_relaxed); });
    waited();
    if (mine != kNone) throw Error("[engine] stopped: another micro-batch failed");
  }

  /// Publishes part `index` of a sum, which lies in the lane's memory, and calls add(index, lane) for every part whose
  /// turn has come.
  template <typename F>
  void commit(int32_t sum, int64_t index, int32_t lane, F add) {
    Slot& slot = slots_[static_cast<size_t>(sum)];
    std::scoped_lock lock(slot.mutex);
    slot.published[static_cast<size_t>(lane)] = index;
    bool added = false;
    for (auto next = slot.published.begin();
         (next = std::find(slot.published.begin(), slot.published.end(), slot.turn)) != slot.published.end();) {
      add(slot.turn, static_cast<int32_t>(next - slot.published.begin()));
      *next = kNone;
      ++slot.turn;
      added = true;
    }
    if (added) slot.added.notify_all();
  }

  /// Lets nobody wait for a part that will not come.
  void fail() {
    failed_.store(true, std::memory_order_relaxed);
    for (Slot& slot : slots_) {
      std::scoped_lock lock(slot.mutex);  // a lane that is about to wait sees `failed_` or is woken
      slot.added.notify_all();
    }
  }
  bool failed() const { return failed_.load(std::memory_order_relaxed); }

 private:
  static constexpr int64_t kNone = -1;

  struct Slot {
    std::mutex mutex;
    std::condition_variable added;
    int64_t turn = 0;                // the part that comes next
    std::vector<int64_t> published;  // per lane: the part that lies in its memory, or kNone
  };

  std::vector<Slot> slots_;
  std::atomic<bool> failed_{false};
};

}  // namespace ghostbatch
