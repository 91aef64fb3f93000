// What the tests of CUDA kernels stand on: phases on the host, and packs.
#include <vector>

#include "cuda/emulate.h"
#include "cuda/pack.h"
#include "cuda/runtime.h"
#include "tests/support.h"

namespace ghostbatch::tests {
namespace {

/// Each thread passes its number to the one before it, with a barrier between or without.
template <bool kBarrier>
struct PassOn {
  static constexpr int kPhases = 2, kThreads = 64;
  struct Shared {
    float v[kThreads];
  };
  struct Registers {
    int32_t mine;
  };

  float* dst;

  template <int kPhase>
  void phase(cuda::Place place, Shared& shared, Registers& registers) const {
    const int32_t next = (place.thread + 1) % place.threads;
    float& to = dst[place.block * place.threads + place.thread];
    if constexpr (kPhase == 0) {
      registers.mine = place.thread;
      shared.v[place.thread] = static_cast<float>(place.block * 1000 + place.thread);
      if (!kBarrier) to = shared.v[next];
    } else {
      EXPECT_EQ(registers.mine, place.thread);
      if (kBarrier) to = shared.v[next];
    }
  }
};

template <bool kBarrier>
std::vector<double> passed_on(cuda::Order order, int32_t blocks, int32_t threads) {
  std::vector<float> dst(static_cast<size_t>(blocks * threads), -1);
  cuda::emulate(PassOn<kBarrier>{dst.data()}, blocks, threads, order);
  return std::vector<double>(dst.begin(), dst.end());
}

TEST(CudaEmulate, RunsPhaseByPhase) {
  const std::vector<double> expected{1, 2, 3, 0, 1001, 1002, 1003, 1000};
  expect_equal("up", passed_on<true>(cuda::Order::up, 2, 4), expected);
  expect_equal("down", passed_on<true>(cuda::Order::down, 2, 4), expected);
}

TEST(CudaEmulate, ShowsAMissingBarrier) {
  const std::vector<double> up = passed_on<false>(cuda::Order::up, 1, 4);
  const std::vector<double> down = passed_on<false>(cuda::Order::down, 1, 4);
  EXPECT_TRUE(std::isnan(up[0])) << "shared memory that nobody wrote";
  EXPECT_EQ(down[0], 1);
}

/// Each thread reads what its neighbour in the next block of the cluster has, right or in one of three wrong ways.
template <int kMeetAfter, int kLeaveAfter, bool kOverwrites = false>
struct PassAcross {
  static constexpr int kPhases = 4, kThreads = 64, kMeet = kMeetAfter, kLeave = kLeaveAfter;
  struct Shared {
    float v[kThreads];
  };
  struct Registers {};

  float* dst;
  int32_t ranks;

  template <int kPhase>
  void phase(cuda::Place place, Shared& shared, Registers&) const {
    EXPECT_EQ(place.ranks, ranks);
    EXPECT_EQ(place.rank, place.block % ranks);
    if constexpr (kPhase == 0) {
      shared.v[place.thread] = static_cast<float>(place.block * 1000 + place.thread);
    } else if constexpr (kPhase == 2) {
      const Shared& next = cuda::shared_of((place.rank + 1) % place.ranks, place, shared);
      dst[place.block * place.threads + place.thread] = next.v[(place.thread + 1) % place.threads];
    } else if constexpr (kPhase == 3) {
      if (kOverwrites) shared.v[place.thread] = -1;
    }
  }
};
template <int kMeetAfter, int kLeaveAfter, bool kOverwrites>
int32_t blocks_of_cluster(const PassAcross<kMeetAfter, kLeaveAfter, kOverwrites>& kernel) {
  return kernel.ranks;
}

template <int kMeetAfter, int kLeaveAfter, bool kOverwrites = false>
std::vector<double> passed_across(cuda::Order order, int32_t blocks, int32_t ranks) {
  std::vector<float> dst(static_cast<size_t>(blocks) * 2, -1);
  cuda::emulate(PassAcross<kMeetAfter, kLeaveAfter, kOverwrites>{dst.data(), ranks}, blocks, 2, order);
  return std::vector<double>(dst.begin(), dst.end());
}

TEST(CudaEmulate, BlocksOfAClusterReadOneAnother) {
  for (const cuda::Order order : {cuda::Order::up, cuda::Order::down}) {
    expect_equal("two pairs", passed_across<0, 2>(order, 4, 2), {1001, 1000, 1, 0, 3001, 3000, 2001, 2000});
    expect_equal("three", passed_across<1, 2>(order, 3, 3), {1001, 1000, 2001, 2000, 1, 0});
    expect_equal("alone", passed_across<1, 3>(order, 1, 1), {1, 0});
    EXPECT_THROW((passed_across<1, 2>(order, 3, 2)), std::logic_error);
  }
}

TEST(CudaEmulate, ShowsBlocksOfAClusterThatDoNotWait) {
  for (const cuda::Order order : {cuda::Order::up, cuda::Order::down}) {
    const auto first = order == cuda::Order::up ? size_t{0} : size_t{2};
    EXPECT_TRUE(std::isnan((passed_across<2, 3>(order, 2, 2)[first]))) << "read before the cluster has met";
  }
  EXPECT_TRUE(std::isnan((passed_across<0, 1>(cuda::Order::down, 2, 2)[0]))) << "read from a block that has ended";
  EXPECT_EQ((passed_across<0, 2, true>(cuda::Order::up, 2, 2)[2]), -1) << "overwritten before all have read it";
}

TEST(CudaPack, RoundsToBfloat16AsTheHostDoes) {
  for (uint32_t high = 0; high < 0x10000u; ++high) {
    // Exact values, and those around the middle between neighbours.
    for (const uint32_t low : {0x0000u, 0x0001u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) {
      const uint32_t bits = (high << 16) | low;
      float value;
      std::memcpy(&value, &bits, sizeof value);
      ASSERT_EQ(cuda::from_float<uint16_t>(value), to_bfloat16(value)) << bits;
    }
    const float back = cuda::to_float(static_cast<uint16_t>(high)),
                expected = from_bfloat16(static_cast<uint16_t>(high));
    ASSERT_EQ(std::memcmp(&back, &expected, sizeof back), 0) << high;
  }
}

TEST(CudaPack, RefusesWhatAGpuWould) {
  alignas(16) float values[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  EXPECT_EQ(cuda::load_pack(values + 4).v[1], 5);
  EXPECT_EQ((cuda::load_pack<float, 2>(values + 2).v[1]), 3);
  EXPECT_EQ((cuda::load_pack<float, 1>(values + 3).v[0]), 3);
  EXPECT_THROW(cuda::load_pack(values + 1), std::logic_error);
  EXPECT_THROW((cuda::load_pack<float, 2>(values + 1)), std::logic_error);
  const cuda::Pack<float> pack{{20, 21, 22, 23}};
  EXPECT_THROW(cuda::store_pack(values + 2, pack), std::logic_error);
  cuda::store_pack(values + 8, pack);
  EXPECT_EQ(values[7], 7);
  EXPECT_EQ(values[11], 23);
}

#if !defined(__SANITIZE_ADDRESS__)
TEST(CudaRuntimeDeathTest, TheHostCannotTouchDeviceMemory) {
  void* const data = cuda::allocate_memory(1000);
  const cuda::Stream stream = cuda::create_stream();
  char value = 1;
  cuda::fill_memory(data, 0, 1000, stream);
  cuda::copy_memory(&value, data, 1, stream);
  EXPECT_EQ(value, 0);
  EXPECT_DEATH(static_cast<volatile char*>(data)[999] = 1, "");
  cuda::destroy_stream(stream);
  cuda::release_memory(data);
}
#endif

}  // namespace
}  // namespace ghostbatch::tests
