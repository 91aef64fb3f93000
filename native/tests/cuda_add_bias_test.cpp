// Bias and ReLU in place: the kernel's phases on the host, against the formula.
#include "cuda/add_bias.h"
#include "tests/support.h"

namespace ghostbatch::tests {
namespace {

using cuda::AddBias;

/// dst [rows, channels] after the kernel, at blocks of its own choice or as many as given.
template <typename T, int kWidth>
std::vector<double> run(DataType type, const std::vector<double>& dst, const std::vector<double>& bias,
                        int64_t channels, bool relu, cuda::Order order, int32_t blocks = 0, int32_t threads = 256) {
  const Buffer memory(type, dst), shift(DataType::f32, bias);
  const auto rows = static_cast<int64_t>(dst.size()) / channels;
  const AddBias<T, kWidth> kernel{memory.view().as<T>(), bias.empty() ? nullptr : shift.view().as<float>(), rows,
                                  channels, relu};
  emulate(kernel, blocks == 0 ? kernel.blocks() : blocks, threads, order);
  return memory.values();
}

std::vector<double> formula(DataType type, std::vector<double> dst, const std::vector<double>& bias, int64_t channels,
                            bool relu) {
  for (size_t i = 0; i < dst.size(); ++i) {
    dst[i] =
        static_cast<double>(static_cast<float>(dst[i] + (bias.empty() ? 0 : bias[i % static_cast<size_t>(channels)])));
    if (relu && dst[i] < 0) dst[i] = 0;
  }
  return rounded(type, dst);
}

template <typename T, int kWidth>
void check(DataType type, int64_t rows, int64_t channels) {
  SCOPED_TRACE(testing::Message() << rows << " rows of " << channels << ", width " << kWidth);
  Random random(static_cast<uint32_t>(rows * 1000 + channels));
  const std::vector<double> dst = rounded(type, random.normals(rows * channels)), bias = random.normals(channels);
  for (const bool relu : {false, true}) {
    const std::vector<double> expected = formula(type, dst, bias, channels, relu);
    for (const cuda::Order order : {cuda::Order::up, cuda::Order::down}) {
      expect_equal("dst", run<T, kWidth>(type, dst, bias, channels, relu, order), expected);
    }
    expect_equal("without bias", run<T, kWidth>(type, dst, {}, channels, relu, cuda::Order::up),
                 formula(type, dst, {}, channels, relu));
  }
}

TEST(CudaAddBias, MatchesTheFormulaOverTheGrid) {
  for (const int64_t rows : {1, 2, 31, 257}) {
    for (const int64_t channels : {1, 3, 15, 17, 300, 2500}) {
      check<float, 1>(DataType::f32, rows, channels);
      check<uint16_t, 1>(DataType::bf16, rows, channels);
    }
    for (const int64_t channels : {8, 16, 24, 512, 2560}) {
      check<float, 4>(DataType::f32, rows, channels);
      check<uint16_t, 8>(DataType::bf16, rows, channels);
    }
  }
}

TEST(CudaAddBias, TakesAnyGridThatHoldsARow) {
  Random random(7);
  const std::vector<double> dst = random.normals(100 * 24), bias = random.normals(24);
  const std::vector<double> expected = formula(DataType::f32, dst, bias, 24, true);
  for (const int32_t threads : {6, 7, 32}) {
    for (const int32_t blocks : {1, 3, 500}) {
      const auto actual = run<float, 4>(DataType::f32, dst, bias, 24, true, cuda::Order::up, blocks, threads);
      expect_equal("dst", actual, expected);
    }
  }
}

TEST(CudaAddBias, KeepsNaN) {
  const std::vector<double> dst(8, NAN);
  expect_equal("dst", run<float, 4>(DataType::f32, dst, {1, 2, 3, 4}, 4, true, cuda::Order::up), dst);
  expect_equal("dst", run<uint16_t, 8>(DataType::bf16, dst, {}, 8, true, cuda::Order::up), dst);
}

TEST(CudaAddBias, LaunchesBlocksForARowAtLeastAndAFewThousandAtMost) {
  const auto blocks = [](int64_t rows, int64_t channels) {
    return AddBias<float, 4>{nullptr, nullptr, rows, channels, true}.blocks();
  };
  EXPECT_EQ(blocks(1, 4), 1);
  EXPECT_EQ(blocks(1, 4096), 4);
  EXPECT_EQ(blocks(16, 4096), 8);
  EXPECT_EQ(blocks(1 << 20, 4096), 4096);
  EXPECT_EQ(blocks(1, int64_t{4} << 21), 8192);  // one row, more than that
}

}  // namespace
}  // namespace ghostbatch::tests
