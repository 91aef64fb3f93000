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
int attribute_of_device(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  check(cudaGetDevice(&device), "its GPU");
  check(cudaDeviceGetAttribute(&value, attribute, device), "a GPU's attributes");
  return value;
}

/// Stands for kernels that run in clusters.
__global__ void __launch_bounds__(256) in_a_cluster() {}

/// Multiprocessors that clusters of `blocks` keep busy, each block with so much shared memory; 0 where there are none.
int busy_multiprocessors(int32_t blocks, int64_t shared_bytes) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = static_cast<unsigned>(blocks);
  attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(256);
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.attrs = &attribute;
  config.numAttrs = 1;
  int clusters = 0;
  const cudaError_t error =
      cudaOccupancyMaxActiveClusters(&clusters, reinterpret_cast<const void*>(in_a_cluster), &config);
  if (error == cudaSuccess) return clusters * blocks;
  cudaGetLastError();  // this GPU takes no such clusters
  return 0;
}

/// Blocks of the largest cluster that leaves at most a quarter of the multiprocessors idle.
int32_t largest_cluster(int64_t shared_bytes) {
  constexpr int kCapability = 90;  // kernels that are compiled for less have no clusters, whatever the GPU
  const void* const kernel = reinterpret_cast<const void*>(in_a_cluster);
  cudaFuncAttributes compiled{};
  check(cudaFuncGetAttributes(&compiled, kernel), "a kernel's attributes");
  if (compiled.ptxVersion < kCapability || attribute_of_device(cudaDevAttrClusterLaunch) == 0) return 0;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
        "a kernel's shared memory");
  if (cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1) != cudaSuccess) {
    cudaGetLastError();  // 8 blocks are the most then
  }
  const int multiprocessors = attribute_of_device(cudaDevAttrMultiProcessorCount);
  for (int32_t blocks = 16; blocks > 1; blocks /= 2) {
    if (4 * busy_multiprocessors(blocks, shared_bytes) >= 3 * multiprocessors) return blocks;
  }
  return 0;
}

}  // namespace

BlockLimits block_limits() {
  BlockLimits limits;
  limits.shared_bytes = attribute_of_device(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  limits.cluster = largest_cluster(limits.shared_bytes);
  return limits;
}

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
