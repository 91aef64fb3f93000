// Kernels of emulate.h on the device: a barrier between their phases. For .cu files.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/emulate.h"

namespace ghostbatch::cuda {
namespace detail {

template <class Kernel, int kPhase>
__device__ __forceinline__ void run_from(const Kernel& kernel, Place place, typename Kernel::Shared& shared,
                                         typename Kernel::Registers& registers) {
  kernel.template phase<kPhase>(place, shared, registers);
  if constexpr (kPhase + 1 < Kernel::kPhases) {
    __syncthreads();
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

/// Enqueues `kernel` on `stream`; may be captured. Returns the launch's error, invalid arguments among them.
template <class Kernel>
cudaError_t launch(const Kernel& kernel, int blocks, int threads, cudaStream_t stream) {
  static_assert(std::is_trivially_copyable_v<Kernel> && sizeof(Kernel) <= 4096);
  constexpr int64_t kWithoutAsking = 48 * 1024;
  const int64_t bytes = shared_bytes(kernel);
  if (bytes > kWithoutAsking) {
    const cudaError_t error =
        cudaFuncSetAttribute(reinterpret_cast<const void*>(run<Kernel>), cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(bytes));
    if (error != cudaSuccess) return error;
  }
  run<Kernel>
      <<<static_cast<unsigned>(blocks), static_cast<unsigned>(threads), static_cast<size_t>(bytes), stream>>>(kernel);
  return cudaGetLastError();
}

}  // namespace ghostbatch::cuda
