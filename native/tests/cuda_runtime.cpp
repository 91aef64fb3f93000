// The CUDA runtime of tests: memory of the host, and streams that run what is enqueued at once, or keep it while they
// are captured. Memory that is given out is NaN, as it may be on a GPU.
#include "cuda/runtime.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "common/check.h"
#include "cuda/enqueue.h"
#include "tests/cuda_runtime.h"

struct CUstream_st {
  bool captured = false;
  std::vector<std::function<void()>> kept;
};
struct CUgraphExec_st {
  std::vector<std::function<void()>> work;
};

namespace ghostbatch::cuda {
namespace {

std::mutex mutex;
std::map<void*, int64_t> blocks;
int64_t used = 0, limit = int64_t{4} << 30;

void* take(int64_t bytes) {
  const std::scoped_lock lock(mutex);
  if (used + bytes > limit) return nullptr;
  const auto size = static_cast<size_t>((std::max<int64_t>(bytes, 1) + 255) / 256 * 256);
  void* const data = std::aligned_alloc(256, size);
  if (data == nullptr) return nullptr;
  std::memset(data, 0xFF, size);
  blocks.emplace(data, bytes);
  used += bytes;
  return data;
}

void give_back(void* data) noexcept {
  if (data == nullptr) return;
  const std::scoped_lock lock(mutex);
  const auto block = blocks.find(data);
  if (block == blocks.end()) std::abort();  // never given out, or given back twice
  used -= block->second;
  blocks.erase(block);
  std::free(data);
}

}  // namespace

void submit(Stream stream, std::function<void()> work) {
  if (stream->captured) {
    stream->kept.push_back(std::move(work));
  } else {
    work();
  }
}

void set_device(int32_t ordinal) {
  if (ordinal != 0) fail("cuda", "its GPU to work", text("number ", ordinal));
}

void* allocate_memory(int64_t bytes) { return take(bytes); }
void release_memory(void* data) noexcept { give_back(data); }
int64_t free_memory() {
  const std::scoped_lock lock(mutex);
  return limit - used;
}
void* allocate_pinned(int64_t bytes) { return take(bytes); }
void release_pinned(void* data) noexcept { give_back(data); }

Stream create_stream() { return new CUstream_st(); }
void destroy_stream(Stream stream) noexcept { delete stream; }
void synchronize(Stream stream) {
  if (stream->captured) fail("cuda", "what was enqueued to work", "a stream that is captured");
}

void copy_memory(void* dst, const void* src, int64_t bytes, Stream stream) {
  if (bytes > 0) submit(stream, [=] { std::memcpy(dst, src, static_cast<size_t>(bytes)); });
}
void fill_memory(void* dst, int byte, int64_t bytes, Stream stream) {
  if (bytes > 0) submit(stream, [=] { std::memset(dst, byte, static_cast<size_t>(bytes)); });
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
  const std::scoped_lock lock(cuda::mutex);
  return cuda::used;
}
MemoryLimit::MemoryLimit(int64_t bytes) : before_(cuda::limit) { cuda::limit = bytes; }
MemoryLimit::~MemoryLimit() { cuda::limit = before_; }

}  // namespace ghostbatch::tests

// For stand-ins of NVIDIA's libraries: what they enqueue.
extern "C" __attribute__((visibility("default"))) void ghostbatch_submit(void* stream, void (*run)(void*), void* what) {
  ghostbatch::cuda::submit(static_cast<CUstream_st*>(stream), [=] { run(what); });
}
