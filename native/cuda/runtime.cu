#include "cuda/runtime.h"

#include <cuda_runtime_api.h>

#include <type_traits>

#include "common/check.h"

namespace ghostbatch::cuda {
namespace {

static_assert(std::is_same_v<Stream, cudaStream_t> && std::is_same_v<CUgraphExec_st*, cudaGraphExec_t>);

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // an error that is not sticky does not show once more
  fail("cuda", text(what, " to work"), text(cudaGetErrorName(error), ": ", cudaGetErrorString(error)));
}

/// Memory, or null where none is free.
void* allocated(cudaError_t error, void* data) {
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(error, "an allocation");
  return data;
}

/// A point in time of a stream.
class Event {
 public:
  Event() { check(cudaEventCreate(&event_), "an event"); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { cudaEventDestroy(event_); }

  void record(Stream stream) { check(cudaEventRecord(event_, stream), "an event"); }
  double seconds_since(const Event& start) const {
    check(cudaEventSynchronize(event_), "what was enqueued");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, start.event_, event_), "a time between events");
    return static_cast<double>(milliseconds) / 1000;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace

void set_device(int32_t ordinal) {
  check(cudaSetDevice(ordinal), "its GPU");
}

std::string gpu_name(int32_t ordinal) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, ordinal), "its GPU");
  return text(properties.name, ", ", properties.multiProcessorCount, " multiprocessors");
}

void* allocate_memory(int64_t bytes) {
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, static_cast<size_t>(bytes));
  return allocated(error, data);
}
void release_memory(void* data) noexcept {
  cudaFree(data);
}
int64_t free_memory() {
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "the amount of free memory");
  return static_cast<int64_t>(free);
}
void* allocate_pinned(int64_t bytes) {
  void* data = nullptr;
  const cudaError_t error = cudaMallocHost(&data, static_cast<size_t>(bytes));
  return allocated(error, data);
}
void release_pinned(void* data) noexcept {
  cudaFreeHost(data);
}

Stream create_stream() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
  return stream;
}
void destroy_stream(Stream stream) noexcept {
  cudaStreamDestroy(stream);
}
void synchronize(Stream stream) {
  check(cudaStreamSynchronize(stream), "what was enqueued");
}

void copy_memory(void* dst, const void* src, int64_t bytes, Stream stream) {
  if (bytes > 0) check(cudaMemcpyAsync(dst, src, static_cast<size_t>(bytes), cudaMemcpyDefault, stream), "a copy");
}
void fill_memory(void* dst, int byte, int64_t bytes, Stream stream) {
  if (bytes > 0) check(cudaMemsetAsync(dst, byte, static_cast<size_t>(bytes), stream), "a fill");
}

double elapsed(Stream stream, const std::function<void()>& work) {
  Event start, end;
  start.record(stream);
  work();
  end.record(stream);
  return end.seconds_since(start);
}

void begin_capture(Stream stream) {
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "a capture");
}

void abandon_capture(Stream stream) noexcept {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  if (cudaStreamIsCapturing(stream, &status) != cudaSuccess || status != cudaStreamCaptureStatusNone) {
    cudaGraph_t graph = nullptr;
    cudaStreamEndCapture(stream, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
  }
  cudaGetLastError();
}

CapturedGraph::CapturedGraph(Stream stream) {
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(stream, &graph), "what was captured");
  const cudaError_t error = cudaGraphInstantiateWithFlags(&graph_, graph, 0);
  cudaGraphDestroy(graph);
  check(error, "what was captured as a graph");
}
CapturedGraph::~CapturedGraph() {
  cudaGraphExecDestroy(graph_);
}
void CapturedGraph::launch(Stream stream) const {
  check(cudaGraphLaunch(graph_, stream), "a graph");
}

}  // namespace ghostbatch::cuda
