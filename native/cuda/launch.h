// Kernels of emulate.h on the device: a barrier between their phases, of a block or of its cluster. For .cu files.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/emulate.h"

namespace ghostbatch::cuda {
namespace detail {

// Of all threads of a cluster. What one has done to its shared memory before it arrives, others see after their wait.
__device__ __forceinline__ void arrive_at_cluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
#endif
}
__device__ __forceinline__ void wait_for_cluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
#endif
}

template <class Kernel, int kPhase>
__device__ __forceinline__ void run_from(const Kernel& kernel, Place place, typename Kernel::Shared& shared,
                                         typename Kernel::Registers& registers) {
  kernel.template phase<kPhase>(place, shared, registers);
  bool meets = false;
  if constexpr (InClusters<Kernel>::value) {
    meets = kPhase == Kernel::kMeet;
    if (meets || kPhase == Kernel::kLeave) arrive_at_cluster();
    if (meets || kPhase + 1 == Kernel::kPhases) wait_for_cluster();
  }
  if constexpr (kPhase + 1 < Kernel::kPhases) {
    if (!meets) __syncthreads();
    run_from<Kernel, kPhase + 1>(kernel, place, shared, registers);
  }
}

}  // namespace detail

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads) run(const __grid_constant__ Kernel kernel) {
  extern __shared__ __align__(16) unsigned char shared[];
  const Place place{static_cast<int32_t>(blockIdx.x), static_cast<int32_t>(threadIdx.x),
                    static_cast<int32_t>(gridDim.x), static_cast<int32_t>(blockDim.x)};
  typename Kernel::Registers registers;
  detail::run_from<Kernel, 0>(kernel, place, *reinterpret_cast<typename Kernel::Shared*>(shared), registers);
}

/// The same in clusters of `ranks` blocks, two blocks a multiprocessor where their shared memory fits; nothing where
/// there are no clusters.
template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads, 2)
    run_in_clusters(const __grid_constant__ Kernel kernel, const int32_t ranks) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ __align__(16) unsigned char shared[];
  const auto block = static_cast<int32_t>(blockIdx.x);
  const Place place{block,         static_cast<int32_t>(threadIdx.x), static_cast<int32_t>(gridDim.x),
                    static_cast<int32_t>(blockDim.x), block % ranks, ranks};
  typename Kernel::Registers registers;
  detail::run_from<Kernel, 0>(kernel, place, *reinterpret_cast<typename Kernel::Shared*>(shared), registers);
#endif
}

namespace detail {

/// Grants a kernel so much dynamic shared memory.
inline cudaError_t grant(const void* run, int64_t bytes) {
  constexpr int64_t kWithoutAsking = 48 * 1024;
  if (bytes <= kWithoutAsking) return cudaSuccess;
  return cudaFuncSetAttribute(run, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
}

template <class Kernel>
cudaError_t launch_clusters(const Kernel& kernel, int blocks, int threads, cudaStream_t stream) {
  constexpr int kPortable = 8;  // blocks that every GPU with clusters takes
  const void* const run = reinterpret_cast<const void*>(run_in_clusters<Kernel>);
  const int64_t bytes = shared_bytes(kernel);
  const int32_t ranks = blocks_of_cluster(kernel);
  cudaError_t error = grant(run, bytes);
  if (error == cudaSuccess) {  // not what two blocks leave of it to the first-level cache
    error = cudaFuncSetAttribute(run, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
  }
  if (error == cudaSuccess && ranks > kPortable) {
    error = cudaFuncSetAttribute(run, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
  }
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = static_cast<unsigned>(ranks);
  attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<size_t>(bytes);
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  Kernel argument = kernel;
  int32_t of_cluster = ranks;
  void* arguments[] = {&argument, &of_cluster};
  return cudaLaunchKernelExC(&config, run, arguments);
}

}  // namespace detail

/// Enqueues `kernel` on `stream`; may be captured. Returns the launch's error, invalid arguments among them.
template <class Kernel>
cudaError_t launch(const Kernel& kernel, int blocks, int threads, cudaStream_t stream) {
  static_assert(std::is_trivially_copyable_v<Kernel> && sizeof(Kernel) <= 4096 - sizeof(int32_t));
  if constexpr (InClusters<Kernel>::value) {
    return detail::launch_clusters(kernel, blocks, threads, stream);
  } else {
    const int64_t bytes = shared_bytes(kernel);
    const cudaError_t error = detail::grant(reinterpret_cast<const void*>(run<Kernel>), bytes);
    if (error != cudaSuccess) return error;
    run<Kernel>
        <<<static_cast<unsigned>(blocks), static_cast<unsigned>(threads), static_cast<size_t>(bytes), stream>>>(kernel);
    return cudaGetLastError();
  }
}

}  // namespace ghostbatch::cuda
