#include "ghostbatch/lanes.h"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

extern "C" void omp_set_num_threads(int);

namespace ghostbatch {
namespace {

class ThreadLanes : public Lanes {
 public:
  explicit ThreadLanes(int32_t threads) {
    threads_.reserve(static_cast<size_t>(threads));
    try {
      for (int32_t lane = 0; lane < threads; ++lane) threads_.emplace_back([this, lane] { serve(lane); });
    } catch (const std::system_error& e) {
      stop();
      throw Error("[lanes] needs " + std::to_string(threads) + " threads, the system granted " +
                  std::to_string(threads_.size()) + ": " + e.what());
    }
  }
  ~ThreadLanes() override { stop(); }

  int32_t threads() const override { return static_cast<int32_t>(threads_.size()); }

  void run(int64_t tasks, LaneWork& work) override {
    if (tasks <= 0) return;
    std::unique_lock lock(mutex_);
    if (work_ != nullptr) throw Error("[lanes] needs one call at a time, got a second while one runs");
    work_ = &work;
    tasks_ = tasks;
    next_.store(0, std::memory_order_relaxed);
    failed_task_ = tasks;
    failure_ = nullptr;
    busy_ = threads();
    ++generation_;
    wake_.notify_all();
    done_.wait(lock, [this] { return busy_ == 0; });
    work_ = nullptr;
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

 private:
  void serve(int32_t lane) {
    // oneDNN fixes a primitive's threads when it is made, some look again when run: this thread only ever has one.
    omp_set_num_threads(1);
    uint64_t seen = 0;
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return stop_ || generation_ != seen; });
      if (stop_) return;
      seen = generation_;
      lock.unlock();
      work_until_done(lane);
      lock.lock();
      if (--busy_ == 0) done_.notify_one();
    }
  }

  void work_until_done(int32_t lane) {
    for (int64_t task; (task = next_.fetch_add(1, std::memory_order_relaxed)) < tasks_;) {
      try {
        work_->run(task, lane);
      } catch (...) {
        std::scoped_lock lock(mutex_);
        if (task < failed_task_) {
          failed_task_ = task;
          failure_ = std::current_exception();
        }
      }
    }
  }

  void stop() {
    {
      std::scoped_lock lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> threads_;
  LaneWork* work_ = nullptr;
  int64_t tasks_ = 0;
  std::atomic<int64_t> next_{0};
  int32_t busy_ = 0;
  uint64_t generation_ = 0;
  bool stop_ = false;
  int64_t failed_task_ = 0;
  std::exception_ptr failure_;
};

}  // namespace

Lanes* Lanes::create(int32_t threads) {
  if (threads < 1 || threads > 1024) {
    throw Error("[lanes] needs 1 to 1024 threads, got " + std::to_string(threads));
  }
  return new ThreadLanes(threads);
}

}  // namespace ghostbatch
