// What the host side of this backend asks of the CUDA runtime. runtime.cu answers with CUDA; in tests, host memory
// does, and kernels run as phases (emulate.h): so device, kernels and engine are tested where there is no GPU.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

struct CUstream_st;
struct CUgraphExec_st;

namespace ghostbatch::cuda {

using Stream = CUstream_st*;  // cudaStream_t, without the header of the runtime

// Each is an Error "[cuda] needs ..., got what CUDA says" where it fails.

/// Makes a GPU that of the calling thread.
void set_device(int32_t ordinal);
/// What tells one kind of GPU from another, in a line: "NVIDIA H200, 132 multiprocessors".
std::string gpu_name(int32_t ordinal);

/// What blocks of kernels may have on a GPU.
struct BlockLimits {
  int64_t shared_bytes = 99 << 10;  // of shared memory; every GPU from compute capability 8.0 on gives these
  int32_t cluster = 0;              // blocks of the largest cluster of blocks that take so much; 0: no clusters
};
/// Those of the calling thread's GPU.
BlockLimits block_limits();

/// Device memory, at least 256 bytes aligned; null where too little is free.
void* allocate_memory(int64_t bytes);
/// Waits for what was enqueued on the GPU, as it may use this memory.
void release_memory(void* data) noexcept;
int64_t free_memory();
/// Host memory that the GPU reads and writes by itself; null where there is none.
void* allocate_pinned(int64_t bytes);
void release_pinned(void* data) noexcept;

Stream create_stream();
void destroy_stream(Stream stream) noexcept;
/// Waits until all that was enqueued is done. Here a kernel's failure shows.
void synchronize(Stream stream);

/// Enqueues; either address may be the host's or the device's. Memory of the host that is not pinned has been read, or
/// written, when this returns.
void copy_memory(void* dst, const void* src, int64_t bytes, Stream stream);
void fill_memory(void* dst, int byte, int64_t bytes, Stream stream);

/// Seconds that the GPU takes for what `work` enqueues; waits for it.
double elapsed(Stream stream, const std::function<void()>& work);

/// What was enqueued between `begin_capture` and its making, by the same thread, without being run: to be run as one.
class CapturedGraph {
 public:
  /// Ends the capture.
  explicit CapturedGraph(Stream stream);
  CapturedGraph(const CapturedGraph&) = delete;
  CapturedGraph& operator=(const CapturedGraph&) = delete;
  ~CapturedGraph();
  /// Enqueues it all once more.
  void launch(Stream stream) const;

 private:
  CUgraphExec_st* graph_ = nullptr;
};
void begin_capture(Stream stream);
/// Gives up a capture, after an error in it; nothing where there is none.
void abandon_capture(Stream stream) noexcept;

}  // namespace ghostbatch::cuda
