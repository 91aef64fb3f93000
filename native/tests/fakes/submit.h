// How the stand-ins enqueue: the tests that open them may keep what is enqueued on a stream and run it again.
#pragma once

#include <dlfcn.h>

#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace ghostbatch::tests {

/// Runs `work`, which holds all that it needs, in the order of `stream`: at once; or, where the stream is captured,
/// whenever its graph is launched, for which it is kept as long as the library. At once on the stream null, and where
/// there is no `ghostbatch_submit`.
inline void submit(void* stream, std::function<void()> work) {
  struct Job {
    std::function<void()> work;
    bool ran = false;
  };
  using Hook = void (*)(void* stream, void (*run)(void*), void* what);
  static const auto hook = reinterpret_cast<Hook>(dlsym(RTLD_DEFAULT, "ghostbatch_submit"));
  if (hook == nullptr || stream == nullptr) return work();
  auto job = std::make_unique<Job>(Job{std::move(work)});
  hook(
      stream,
      [](void* what) {
        static_cast<Job*>(what)->ran = true;
        static_cast<Job*>(what)->work();
      },
      job.get());
  if (job->ran) return;
  static std::mutex mutex;
  static std::vector<std::unique_ptr<Job>> captured;
  const std::lock_guard<std::mutex> lock(mutex);
  captured.push_back(std::move(job));
}

/// What runs has taken so long, by the clock of the tests.
inline void pass_time(double seconds) {
  using Hook = void (*)(double seconds);
  static const auto hook = reinterpret_cast<Hook>(dlsym(RTLD_DEFAULT, "ghostbatch_pass_time"));
  if (hook != nullptr) hook(seconds);
}

}  // namespace ghostbatch::tests
