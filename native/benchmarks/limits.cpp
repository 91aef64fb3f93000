// What the machine can do at most: multiply-adds in registers, bytes copied.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <vector>

#include "benchmarks/limit_kernels.h"
#include "benchmarks/memory.h"
#include "benchmarks/team.h"
#include "benchmarks/work.h"
#include "common/check.h"

namespace ghostbatch::benchmarks {

#define GHOSTBATCH_DECLARE_LIMITS(isa) \
  namespace isa {                      \
  extern const LimitKernels kernels;   \
  }
GHOSTBATCH_DECLARE_LIMITS(portable)
#if defined(__x86_64__)
GHOSTBATCH_DECLARE_LIMITS(avx2)
GHOSTBATCH_DECLARE_LIMITS(avx512)
GHOSTBATCH_DECLARE_LIMITS(avx512bf16)
#endif

namespace {

#if defined(__x86_64__)
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd");
}
#endif

/// Best first.
std::vector<const LimitKernels*> available_kernels() {
  std::vector<const LimitKernels*> found;
#if defined(__x86_64__)
  if (has_avx512() && __builtin_cpu_supports("avx512bf16")) found.push_back(&avx512bf16::kernels);
  if (has_avx512()) found.push_back(&avx512::kernels);
  if (has_avx2()) found.push_back(&avx2::kernels);
#endif
  found.push_back(&portable::kernels);
  return found;
}

/// Multiply-adds on every thread, in registers.
class Fma final : public Work {
 public:
  explicit Fma(const Case& wanted)
      : team_(wanted.threads),
        kernels_(limit_kernels(wanted.spelling.c_str())),
        dot_(wanted.bf16() && kernels_.dot != nullptr),
        results_(static_cast<size_t>(wanted.threads)) {}

  std::string kernel() const override { return std::string(dot_ ? "dot_bf16:" : "fma_f32:") + kernels_.isa; }
  double flops() const override {
    const int64_t of_step = dot_ ? kernels_.dot_per_step : kernels_.fma_per_step;
    return 2.0 * static_cast<double>(kSteps * of_step) * team_.threads();
  }
  double bytes() const override { return 0; }
  void run() override { team_.run(job_); }

 private:
  static constexpr int64_t kSteps = 1 << 17;  // under half a millisecond: starting and meeting do not count

  struct alignas(64) Result {
    volatile float value = 0;  // so that nothing is left out
  };

  Team team_;
  const LimitKernels& kernels_;
  const bool dot_;
  std::vector<Result> results_;
  const Team::Job job_ = [this](int thread) {
    results_[static_cast<size_t>(thread)].value = dot_ ? kernels_.dot(kSteps) : kernels_.fma(kSteps);
  };
};

/// Every thread copies a buffer of its own into another, with ordinary stores or past the caches, whichever is faster
/// at this size: in cache the ordinary ones are, by far; beyond it they first read what they overwrite. Tried rather
/// than told by the size of the cache, of which virtual machines give that of the whole host.
class Copy final : public Work {
 public:
  explicit Copy(const Case& wanted) : team_(wanted.threads), kernels_(limit_kernels(wanted.spelling.c_str())) {
    const int64_t bytes = sizes(wanted.shape, "BYTES", 13)[0];
    share_ = bytes / 2 / team_.threads() / kCopyBlock * kCopyBlock;
    if (share_ == 0) {
      fail("bench", text("at least ", 2 * kCopyBlock * team_.threads(), " bytes to copy"), text(bytes));
    }
    repeats_ = std::max<int64_t>(1, kBytesOfRun / (2 * share_ * team_.threads()));
    buffers_.resize(static_cast<size_t>(team_.threads()));
    for (Memory& buffer : buffers_) buffer = Memory(2 * share_);
    // Memory lies near the thread that touches it first.
    team_.run([this](int thread) { std::memset(buffers_[static_cast<size_t>(thread)].data(), 1, 2 * size_t(share_)); });
    choose();
  }

  std::string kernel() const override {
    return std::string(copy_ == kernels_.copy ? "copy:" : "copy_non_temporal:") + kernels_.isa;
  }
  double flops() const override { return 0; }
  /// Of all the times that one run copies the same, where that is little.
  double bytes() const override {
    return 2.0 * static_cast<double>(share_) * static_cast<double>(repeats_) * team_.threads();
  }
  void run() override { team_.run(job_); }

 private:
  static constexpr int64_t kBytesOfRun = 1 << 24;  // some 100 microseconds: starting and meeting do not count

  void choose() {
    copy_ = kernels_.copy;
    if (kernels_.stream == nullptr) return;
    using Clock = std::chrono::steady_clock;
    constexpr std::chrono::milliseconds kEnough(100);
    constexpr int kTrials = 5;
    Clock::duration best[2] = {Clock::duration::max(), Clock::duration::max()};
    const auto start = Clock::now();
    for (int trial = 0; trial < kTrials || Clock::now() - start < kEnough; ++trial) {
      for (const bool stream : {false, true}) {
        copy_ = stream ? kernels_.stream : kernels_.copy;
        if (trial == 0 || repeats_ > 1) run();  // the other has left the caches in another state
        const auto begin = Clock::now();
        run();
        best[stream] = std::min(best[stream], Clock::now() - begin);
      }
    }
    copy_ = best[1] < best[0] ? kernels_.stream : kernels_.copy;
  }

  Team team_;
  const LimitKernels& kernels_;
  int64_t share_ = 0;  // bytes that a thread reads
  int64_t repeats_ = 1;
  std::vector<Memory> buffers_;
  void (*copy_)(const void* src, void* dst, int64_t bytes) = nullptr;
  const Team::Job job_ = [this](int thread) {
    char* const src = buffers_[static_cast<size_t>(thread)].data();
    for (int64_t i = 0; i < repeats_; ++i) copy_(src, src + share_, share_);
  };
};

}  // namespace

const LimitKernels& limit_kernels(const char* isa) {
  const std::vector<const LimitKernels*> available = available_kernels();
  std::string names;
  for (const LimitKernels* kernels : available) {
    if (*isa == '\0' || std::strcmp(isa, kernels->isa) == 0) return *kernels;
    names += std::string(names.empty() ? "" : ", ") + kernels->isa;
  }
  fail("bench", "as spelling of a limit an instruction set that this CPU has (" + names + ")", isa);
}

std::unique_ptr<Work> make_limit(const Case& wanted) {
  wanted.bf16();  // checks the word
  if (wanted.name == "fma") return std::make_unique<Fma>(wanted);
  if (wanted.name == "copy") return std::make_unique<Copy>(wanted);
  fail("bench", "limit fma or copy", "\"" + wanted.name + "\"");
}

}  // namespace ghostbatch::benchmarks
