// The CUDA runtime of tests: memory of the host, and streams that run what is enqueued at once, or as late as they may
// where a test asks for that, and keep it while they are captured.
#include "cuda/runtime.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "common/check.h"
#include "cuda/enqueue.h"
#include "tests/cuda_runtime.h"

struct CUstream_st {
  bool captured = false;
  std::vector<std::function<void()>> kept;  // of the capture
  std::vector<std::function<void()>> late;  // enqueued, and not waited for yet
};
struct CUgraphExec_st {
  std::vector<std::function<void()>> work;
};

namespace ghostbatch::cuda {
namespace {

constexpr int64_t kAlignment = 256;
std::atomic<int64_t> launches = 0, unpinned = 0, timings = 0;
std::atomic<bool> is_late = false;
double clock = 0;  // seconds; what is enqueued moves it
BlockLimits limits;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kProtected = false;  // the sanitizer knows the ends of what malloc gives
#else
constexpr bool kProtected = true;
#endif

/// Device memory: of the host, which cannot touch it but in what is enqueued, so that a forgotten copy shows.
class Memory {
 public:
  /// While one lives, memory can be touched.
  class Access {
   public:
    explicit Access(Memory& memory) : memory_(memory), lock_(memory.accesses_) {
      if (memory_.depth_++ == 0) memory_.protect(PROT_READ | PROT_WRITE);
    }
    ~Access() {
      if (--memory_.depth_ == 0) memory_.protect(PROT_NONE);
    }
    Access(const Access&) = delete;
    Access& operator=(const Access&) = delete;

   private:
    Memory& memory_;
    std::unique_lock<std::recursive_mutex> lock_;
  };

  Memory() {
    if (!kProtected) return;
    base_ = static_cast<char*>(mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (base_ == MAP_FAILED) std::abort();
  }

  /// NaN, as it may be on a GPU; null beyond the limit.
  void* take(int64_t bytes) {
    const Access access(*this);
    if (used + bytes > limit) return nullptr;
    const int64_t size = (std::max<int64_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
    void* const data = kProtected ? place(size) : std::aligned_alloc(kAlignment, static_cast<size_t>(size));
    if (data == nullptr) return nullptr;
    std::memset(data, 0xFF, static_cast<size_t>(size));
    blocks_.emplace(data, Block{bytes, size});
    used += bytes;
    return data;
  }

  void give_back(void* data) noexcept {
    if (data == nullptr) return;
    const Access access(*this);
    const auto block = blocks_.find(data);
    if (block == blocks_.end()) std::abort();  // never given out, or given back twice
    used -= block->second.bytes;
    blocks_.erase(block);
    if (!kProtected) std::free(data);
  }

  bool holds(const void* data) {
    const std::lock_guard<std::recursive_mutex> lock(accesses_);
    return is_in(blocks_, data, [](const Block& block) { return block.size; });
  }

  /// Whether an address lies in one of the blocks, whose first byte is the key.
  template <class Blocks, class Size>
  static bool is_in(const Blocks& blocks, const void* data, const Size& size) {
    auto block = blocks.upper_bound(const_cast<void*>(data));
    if (block == blocks.begin()) return false;
    --block;
    return data < static_cast<const char*>(block->first) + size(block->second);
  }

  int64_t used = 0, limit = kReserved / 2;

 private:
  static constexpr int64_t kReserved = int64_t{8} << 30;
  struct Block {
    int64_t bytes, size;
  };

  /// The first gap that is large enough.
  void* place(int64_t size) {
    char* at = base_;
    for (const auto& [data, block] : blocks_) {
      if (static_cast<char*>(data) - at >= size) return at;
      at = static_cast<char*>(data) + block.size;
    }
    if (base_ + kReserved - at < size) return nullptr;
    if (at + size > top_) {
      top_ = at + size;
      protect(PROT_READ | PROT_WRITE);
    }
    return at;
  }

  void protect(int protection) {
    if (!kProtected || top_ == nullptr) return;
    const auto page = static_cast<int64_t>(sysconf(_SC_PAGESIZE));
    const int64_t bytes = (top_ - base_ + page - 1) / page * page;
    if (mprotect(base_, static_cast<size_t>(bytes), protection) != 0) std::abort();
  }

  char* base_ = nullptr;
  char* top_ = nullptr;  // all that was ever given out lies before it
  std::map<void*, Block> blocks_;
  std::recursive_mutex accesses_;
  int depth_ = 0;
};

/// Never destroyed: tests give memory back until the end.
Memory& memory() {
  static Memory& memory = *new Memory();
  return memory;
}

/// Streams and blocks of pinned memory; never destroyed either.
struct Known {
  std::recursive_mutex mutex;
  std::set<Stream> streams;
  std::map<void*, int64_t> pinned;
};
Known& known() {
  static Known& known = *new Known();
  return known;
}

void run(const std::function<void()>& work) {
  const Memory::Access access(memory());
  work();
}

/// Runs what was enqueued and has not run.
void finish(Stream stream) {
  if (!is_late) return;
  for (const std::function<void()>& work : std::exchange(stream->late, {})) run(work);
}
void finish_all() {
  const std::lock_guard<std::recursive_mutex> lock(known().mutex);
  for (const Stream stream : known().streams) finish(stream);
}

/// Whether a copy from or to there is done when its call returns.
bool is_unpinned(const void* data) {
  const std::lock_guard<std::recursive_mutex> lock(known().mutex);
  return !memory().holds(data) && !Memory::is_in(known().pinned, data, [](int64_t bytes) { return bytes; });
}

}  // namespace

void submit(Stream stream, std::function<void()> work) {
  if (stream->captured) {
    stream->kept.push_back(std::move(work));
    return;
  }
  ++launches;
  if (is_late) {
    stream->late.push_back(std::move(work));
  } else {
    run(work);
  }
}

void set_device(int32_t ordinal) {
  if (ordinal != 0) fail("cuda", "its GPU to work", text("number ", ordinal));
}

std::string gpu_name(int32_t) {
  const char* const name = std::getenv("GHOSTBATCH_FAKE_GPU");
  return name != nullptr ? name : "the host, 1 multiprocessor";
}
BlockLimits block_limits() { return limits; }

void* allocate_memory(int64_t bytes) { return memory().take(bytes); }
void release_memory(void* data) noexcept {
  finish_all();
  memory().give_back(data);
}
int64_t free_memory() {
  const Memory::Access access(memory());
  return memory().limit - memory().used;
}
void* allocate_pinned(int64_t bytes) {
  void* const data =
      std::aligned_alloc(kAlignment, static_cast<size_t>((bytes + kAlignment - 1) / kAlignment * kAlignment));
  const std::lock_guard<std::recursive_mutex> lock(known().mutex);
  known().pinned.emplace(data, bytes);
  return data;
}
void release_pinned(void* data) noexcept {
  finish_all();
  const std::lock_guard<std::recursive_mutex> lock(known().mutex);
  known().pinned.erase(data);
  std::free(data);
}

Stream create_stream() {
  const std::lock_guard<std::recursive_mutex> lock(known().mutex);
  return *known().streams.insert(new CUstream_st()).first;
}
void destroy_stream(Stream stream) noexcept {
  const std::lock_guard<std::recursive_mutex> lock(known().mutex);
  finish(stream);
  known().streams.erase(stream);
  delete stream;
}
void synchronize(Stream stream) {
  if (stream->captured) fail("cuda", "what was enqueued to work", "a stream that is captured");
  finish(stream);
}

void copy_memory(void* dst, const void* src, int64_t bytes, Stream stream) {
  if (bytes <= 0) return;
  submit(stream, [=] { std::memcpy(dst, src, static_cast<size_t>(bytes)); });
  if (stream->captured || (!is_unpinned(dst) && !is_unpinned(src))) return;
  ++unpinned;
  finish(stream);
}
void fill_memory(void* dst, int byte, int64_t bytes, Stream stream) {
  if (bytes > 0) submit(stream, [=] { std::memset(dst, byte, static_cast<size_t>(bytes)); });
}

double elapsed(Stream stream, const std::function<void()>& work) {
  if (stream->captured) fail("cuda", "an event to work", "a stream that is captured");
  ++timings;
  finish(stream);
  const double start = clock;
  work();
  finish(stream);
  return clock - start;
}

void begin_capture(Stream stream) {
  if (stream->captured) fail("cuda", "a capture to work", "a stream that is captured");
  stream->captured = true;
}
void abandon_capture(Stream stream) noexcept {
  stream->captured = false;
  stream->kept.clear();
}

CapturedGraph::CapturedGraph(Stream stream) {
  if (!stream->captured) fail("cuda", "what was captured to work", "a stream that is not captured");
  stream->captured = false;
  graph_ = new CUgraphExec_st{std::exchange(stream->kept, {})};
}
CapturedGraph::~CapturedGraph() { delete graph_; }
void CapturedGraph::launch(Stream stream) const {
  for (const std::function<void()>& work : graph_->work) submit(stream, work);
}

}  // namespace ghostbatch::cuda

namespace ghostbatch::tests {

int64_t device_memory_in_use() {
  const cuda::Memory::Access access(cuda::memory());
  return cuda::memory().used;
}
int64_t launched() { return cuda::launches; }
int64_t unpinned_copies() { return cuda::unpinned; }
LateStreams::LateStreams() { cuda::is_late = true; }
LateStreams::~LateStreams() {
  cuda::finish_all();
  cuda::is_late = false;
}
int64_t timed() { return cuda::timings; }
MemoryLimit::MemoryLimit(int64_t bytes) : before_(cuda::memory().limit) { cuda::memory().limit = bytes; }
MemoryLimit::~MemoryLimit() { cuda::memory().limit = before_; }
BlocksOf::BlocksOf(const cuda::BlockLimits& limits) : before_(std::exchange(cuda::limits, limits)) {}
BlocksOf::~BlocksOf() { cuda::limits = before_; }

}  // namespace ghostbatch::tests

// For stand-ins of NVIDIA's libraries: what they enqueue.
extern "C" __attribute__((visibility("default"))) void ghostbatch_submit(void* stream, void (*run)(void*), void* what) {
  ghostbatch::cuda::submit(static_cast<CUstream_st*>(stream), [=] { run(what); });
}
// And how long it takes.
extern "C" __attribute__((visibility("default"))) void ghostbatch_pass_time(double seconds) {
  ghostbatch::cuda::clock += seconds;
}
