#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "common/check.h"

namespace ghostbatch::benchmarks {

/// Threads that run one job together, the calling thread among them as number 0. They meet after each run; who waits
/// spins for some 50 microseconds, as long as the next run of a measurement may take to come, then sleeps.
class Team {
 public:
  using Job = std::function<void(int thread)>;

  explicit Team(int threads) {
    check_range("bench", "threads", threads, 1, 1024);
    try {
      for (int thread = 1; thread < threads; ++thread) threads_.emplace_back([this, thread] { serve(thread); });
    } catch (...) {
      stop();
      throw;
    }
  }
  ~Team() { stop(); }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int threads() const { return static_cast<int>(threads_.size()) + 1; }

  /// Runs job(0) to job(threads() - 1), each on the same thread every time. Throws one of what they throw.
  void run(const Job& job) {
    job_ = &job;
    busy_ = static_cast<int>(threads_.size());
    start_round();
    run_one(0);
    for (int busy; (busy = busy_) != 0;) wait_while(busy_, busy);
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

 private:
  static constexpr int kSpins = 2000;

  static void wait_while(const std::atomic<int>& value, int old) {
    for (int spin = 0; spin < kSpins; ++spin) {
      if (value.load(std::memory_order_acquire) != old) return;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    value.wait(old);
  }

  void serve(int thread) {
    for (int round = 0;; ++round) {
      wait_while(round_, round);
      if (stop_) return;
      run_one(thread);
      if (--busy_ == 0) busy_.notify_one();
    }
  }

  void run_one(int thread) {
    try {
      (*job_)(thread);
    } catch (...) {
      const std::scoped_lock lock(mutex_);
      failure_ = std::current_exception();
    }
  }

  void start_round() {
    ++round_;
    round_.notify_all();
  }

  void stop() {
    stop_ = true;
    start_round();
    for (std::thread& thread : threads_) thread.join();
  }

  std::vector<std::thread> threads_;
  const Job* job_ = nullptr;
  std::atomic<int> round_{0};
  alignas(64) std::atomic<int> busy_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::exception_ptr failure_;
};

}  // namespace ghostbatch::benchmarks
