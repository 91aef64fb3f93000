// Kernels as phases: what one thread does between two barriers, as member functions that the device and the host run
// alike. So the arithmetic and every index of a kernel are tested where there is no GPU; see launch.h for the device.
//
// A kernel is a struct of arguments, copied to the device at the launch, with
//   struct Shared, struct Registers   what a block and what a thread keep from phase to phase: trivial, not initialized
//   kPhases, kThreads                 number of phases, and the most threads that a block may have
//   template <int kPhase> GHOSTBATCH_HD void phase(Place place, Shared& shared, Registers& registers) const
// One whose blocks work in clusters, and read one another's Shared by `shared_of`, also has
//   kMeet    the phase after which all blocks of a cluster wait for one another; -1: no clusters
//   kLeave   the last phase that reads what others have: no block ends before all have passed it
// and an overload of `blocks_of_cluster`.
#pragma once

#include <cstdint>
#include <cstring>
#include <stdexcept>
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
  int32_t rank = 0, ranks = 1;  // of the block in its cluster: neighbours
  int64_t to_next = 0;          // on the host: bytes from the Shared of a rank to that of the next
};

/// Whether blocks of a kernel work in clusters.
template <class Kernel, class = void>
struct InClusters : std::false_type {};
template <class Kernel>
struct InClusters<Kernel, std::void_t<decltype(Kernel::kMeet)>> : std::bool_constant<(Kernel::kMeet >= 0)> {};

/// Blocks of each cluster of `kernel`, by its arguments, where it has clusters.
template <class Kernel>
int32_t blocks_of_cluster(const Kernel&) {
  return 1;
}

/// What block `rank` of the cluster has where this one has `shared`.
template <class Shared>
GHOSTBATCH_HD inline const Shared& shared_of(int32_t rank, Place place, const Shared& shared) {
#if defined(__CUDA_ARCH__)
#if __CUDA_ARCH__ >= 900
  uint64_t address;
  asm("mapa.u64 %0, %1, %2;" : "=l"(address) : "l"(&shared), "r"(rank));
  return *reinterpret_cast<const Shared*>(address);
#else
  return shared;  // there are no clusters
#endif
#else
  return *reinterpret_cast<const Shared*>(reinterpret_cast<const unsigned char*>(&shared) +
                                          (rank - place.rank) * place.to_next);
#endif
}

/// Bytes of shared memory that a block of `kernel` needs. A kernel that wants more behind its Shared, by its arguments,
/// overloads this.
template <class Kernel>
int64_t shared_bytes(const Kernel&) {
  return sizeof(typename Kernel::Shared);
}

/// The order in which the host runs threads and blocks. Results that differ between the two betray a missing barrier.
enum class Order { up, down };

namespace detail {

/// Phases kFirst and on, of which there are as many as in the sequence.
template <int kFirst, class Kernel, int... kPhase>
void emulate_block(const Kernel& kernel, Place place, typename Kernel::Shared& shared,
                   typename Kernel::Registers* registers, Order order, std::integer_sequence<int, kPhase...>) {
  [[maybe_unused]] const auto all_threads = [&](auto phase) {
    for (int32_t i = 0; i < place.threads; ++i) {
      place.thread = order == Order::up ? i : place.threads - 1 - i;
      kernel.template phase<kFirst + decltype(phase)::value>(place, shared, registers[place.thread]);
    }
  };
  (all_threads(std::integral_constant<int, kPhase>()), ...);
}

struct alignas(16) Unit {
  unsigned char bytes[16];
};

/// Shared memory and registers of neighbouring blocks, NaN whatever their type.
template <class Kernel>
class Blocks {
 public:
  using Shared = typename Kernel::Shared;
  using Registers = typename Kernel::Registers;
  static_assert(std::is_trivial_v<Shared> && std::is_trivial_v<Registers> && std::is_trivially_copyable_v<Kernel>);
  static_assert(alignof(Shared) <= alignof(Unit));

  Blocks(const Kernel& kernel, int32_t blocks, int32_t threads, Order order)
      : kernel_(kernel), blocks_(blocks), threads_(threads), ranks_(blocks_of_cluster(kernel)), order_(order),
        units_((static_cast<size_t>(shared_bytes(kernel)) + sizeof(Unit) - 1) / sizeof(Unit)),
        shared_(units_ * static_cast<size_t>(ranks_)), registers_(static_cast<size_t>(ranks_ * threads)) {}

  /// The i-th cluster of so many blocks, or the i-th block.
  void run(int32_t i) {
    const int32_t clusters = blocks_ / ranks_, first = (order_ == Order::up ? i : clusters - 1 - i) * ranks_;
    std::memset(static_cast<void*>(shared_.data()), 0xFF, shared_.size() * sizeof(Unit));
    std::memset(static_cast<void*>(registers_.data()), 0xFF, registers_.size() * sizeof(Registers));
    if constexpr (!InClusters<Kernel>::value) {
      phases<0, Kernel::kPhases>(first, 0);
    } else {
      constexpr int kMet = Kernel::kMeet + 1, kLeft = Kernel::kLeave + 1;
      static_assert(kMet < kLeft && kLeft <= Kernel::kPhases);
      each([&](int32_t rank) { phases<0, kMet>(first, rank); });
      if (order_ == Order::up) {  // a block may go on before the others have read what it has
        each([&](int32_t rank) { phases<kMet, Kernel::kPhases>(first, rank); });
      } else {  // and may be gone once they have
        each([&](int32_t rank) { phases<kMet, kLeft>(first, rank); });
        each([&](int32_t rank) {
          phases<kLeft, Kernel::kPhases>(first, rank);
          std::memset(static_cast<void*>(shared_.data() + units_ * static_cast<size_t>(rank)), 0xFF,
                      units_ * sizeof(Unit));
        });
      }
    }
  }

 private:
  template <class Body>
  void each(const Body& body) const {
    for (int32_t i = 0; i < ranks_; ++i) body(order_ == Order::up ? i : ranks_ - 1 - i);
  }
  template <int kFirst, int kEnd>
  void phases(int32_t first, int32_t rank) {
    const auto at = static_cast<size_t>(rank);
    const Place place{first + rank, 0, blocks_, threads_, rank, ranks_, static_cast<int64_t>(units_ * sizeof(Unit))};
    emulate_block<kFirst>(kernel_, place, *reinterpret_cast<Shared*>(shared_.data() + units_ * at),
                          registers_.data() + static_cast<size_t>(threads_) * at, order_,
                          std::make_integer_sequence<int, kEnd - kFirst>());
  }

  const Kernel& kernel_;
  int32_t blocks_, threads_, ranks_;
  Order order_;
  size_t units_;  // of a block
  std::vector<Unit> shared_;
  std::vector<Registers> registers_;
};

}  // namespace detail

/// Runs `kernel` on the host: block after block, phase after phase, thread after thread. Shared memory and registers
/// begin as NaN. Blocks of a cluster go as far as they may without one another.
template <class Kernel>
void emulate(const Kernel& kernel, int32_t blocks, int32_t threads, Order order = Order::up) {
  const int32_t ranks = blocks_of_cluster(kernel);
  if (blocks % ranks != 0) throw std::logic_error("[cuda] needs whole clusters");
  detail::Blocks<Kernel> of(kernel, blocks, threads, order);
  for (int32_t i = 0; i < blocks / ranks; ++i) of.run(i);
}

}  // namespace ghostbatch::cuda
