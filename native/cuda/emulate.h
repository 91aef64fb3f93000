// Kernels as phases: what one thread does between two barriers, as member functions that the device and the host run
// alike. So the arithmetic and every index of a kernel are tested where there is no GPU; see launch.h for the device.
//
// A kernel is a struct of arguments, copied to the device at the launch, with
//   struct Shared, struct Registers   what a block and what a thread keep from phase to phase: trivial, not initialized
//   kPhases, kThreads                 number of phases, and the most threads that a block may have
//   template <int kPhase> GHOSTBATCH_HD void phase(Place place, Shared& shared, Registers& registers) const
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__CUDACC__)
#define GHOSTBATCH_HD __host__ __device__
#else
#define GHOSTBATCH_HD
#endif

namespace ghostbatch::cuda {

/// Where a thread is; blocks are counted in one dimension, which kernels divide as they need.
struct Place {
  int32_t block, thread, blocks, threads;
};

/// Bytes of shared memory that a block of `kernel` needs. A kernel that wants more behind its Shared, by its arguments,
/// overloads this.
template <class Kernel>
int64_t shared_bytes(const Kernel&) {
  return sizeof(typename Kernel::Shared);
}

/// The order in which the host runs threads and blocks. Results that differ between the two betray a missing barrier.
enum class Order { up, down };

namespace detail {

template <class Kernel, int... kPhase>
void emulate_block(const Kernel& kernel, Place place, typename Kernel::Shared& shared,
                   std::vector<typename Kernel::Registers>& registers, Order order,
                   std::integer_sequence<int, kPhase...>) {
  const auto all_threads = [&](auto phase) {
    for (int32_t i = 0; i < place.threads; ++i) {
      place.thread = order == Order::up ? i : place.threads - 1 - i;
      kernel.template phase<decltype(phase)::value>(place, shared, registers[static_cast<size_t>(place.thread)]);
    }
  };
  (all_threads(std::integral_constant<int, kPhase>()), ...);
}

}  // namespace detail

/// Runs `kernel` on the host: block after block, phase after phase, thread after thread. Shared memory and registers
/// begin as NaN, whatever their type.
template <class Kernel>
void emulate(const Kernel& kernel, int32_t blocks, int32_t threads, Order order = Order::up) {
  using Shared = typename Kernel::Shared;
  using Registers = typename Kernel::Registers;
  static_assert(std::is_trivial_v<Shared> && std::is_trivial_v<Registers> && std::is_trivially_copyable_v<Kernel>);
  struct alignas(16) Unit {
    unsigned char bytes[16];
  };
  static_assert(alignof(Shared) <= alignof(Unit));
  std::vector<Unit> shared((static_cast<size_t>(shared_bytes(kernel)) + sizeof(Unit) - 1) / sizeof(Unit));
  std::vector<Registers> registers(static_cast<size_t>(threads));
  for (int32_t i = 0; i < blocks; ++i) {
    std::memset(static_cast<void*>(shared.data()), 0xFF, shared.size() * sizeof(Unit));
    std::memset(static_cast<void*>(registers.data()), 0xFF, registers.size() * sizeof(Registers));
    const Place place{order == Order::up ? i : blocks - 1 - i, 0, blocks, threads};
    detail::emulate_block(kernel, place, *reinterpret_cast<Shared*>(shared.data()), registers, order,
                          std::make_integer_sequence<int, Kernel::kPhases>());
  }
}

}  // namespace ghostbatch::cuda
