// CUDA's kernels over flat vectors on the host, against the reference; and the groups that all kernels are cut into.
#include "cuda/elementwise.h"

#include "tests/cuda_support.h"

namespace ghostbatch::tests {
namespace {

using namespace cuda::elementwise;
using cuda::At;
using cuda::Extent;
using cuda::Lead;
using cuda::RowRange;

const int64_t kSizes[] = {0, 1, 7, 8, 9, 15, 16, 17, 33, 1000, 5003};

struct Count {
  std::vector<int>* visits;
  int64_t first, end;

  template <int kCount, bool kWhole>
  void operator()(const At<kCount, kWhole>& at) const {
    for (int k = at.begin; k < at.end; ++k) {
      ASSERT_GE(at.first + k, first);
      ASSERT_LT(at.first + k, end);
      ++(*visits)[static_cast<size_t>(at.first + k)];
    }
    ASSERT_TRUE(!kWhole || at.end - at.begin == kCount);
  }
};

TEST(CudaGroups, HoldEveryElementOnce) {
  for (const int64_t first : {0, 1, 3, 8, 21}) {
    for (const int64_t length : {0, 1, 5, 8, 16, 40, 1001}) {
      for (int32_t lead = 0; lead < 8; ++lead) {
        for (const bool aligned : {false, true}) {
          for (const int64_t stride : {1, 3, 64}) {
            std::vector<int> visits(static_cast<size_t>(first + length), 0);
            for (int64_t start = 0; start < stride; ++start) {
              const Count count{&visits, first, first + length};
              cuda::for_groups<8>(first, first + length, Lead{lead, aligned}, start, stride, count);
            }
            for (int64_t i = 0; i < first + length; ++i) {
              ASSERT_EQ(visits[static_cast<size_t>(i)], i >= first ? 1 : 0) << "element " << i << " lead " << lead;
            }
          }
        }
      }
    }
  }
}

TEST(CudaGroups, LeadIsWhatFitsAllOperands) {
  alignas(16) float floats[16] = {};
  alignas(16) double doubles[16] = {};
  alignas(16) uint8_t bytes[32] = {};
  const auto expect = [](const Lead& lead, int32_t elements, bool aligned) {
    EXPECT_EQ(lead.elements, elements);
    EXPECT_EQ(lead.aligned, aligned);
  };
  expect(cuda::lead_of<4>(floats, floats), 0, true);
  expect(cuda::lead_of<4>(floats + 1, floats + 5), 1, true);
  expect(cuda::lead_of<4>(floats + 3), 3, true);
  expect(cuda::lead_of<4>(floats + 1, floats + 2), 0, false);
  expect(cuda::lead_of<4>(floats + 1, static_cast<float*>(nullptr)), 1, true);
  expect(cuda::lead_of<4>(floats + 1, doubles + 1), 1, true);
  expect(cuda::lead_of<4>(floats + 3, doubles + 1), 3, true);
  expect(cuda::lead_of<4>(floats + 2, doubles + 1), 0, false);
  expect(cuda::lead_of<4>(floats + 1, bytes + 1), 1, true);
  expect(cuda::lead_of<4>(floats + 1, bytes + 9), 1, true);
  expect(cuda::lead_of<4>(floats + 1, bytes + 10), 0, false);
}

std::vector<double> make_values(int64_t n, uint32_t seed) {
  Random random(seed);
  std::vector<double> values = random.values(n);
  const double extremes[] = {NAN, -0.0, 0.0, 1e-38, -1e-38, INFINITY, -INFINITY};
  for (size_t i = 2; i < values.size(); i += 5) values[i] = extremes[i / 5 % 7];
  return values;
}

TEST(CudaElementwise, MatchesTheReference) {
  const auto reference = own(make_device("reference")->elementwise());
  for_activation_types([&](auto element) {
    using T = decltype(element);
    const DataType type = type_of<T>();
    for (const int64_t n : kSizes) {
      const Extent extent{nullptr, n, 1};
      const std::vector<double> a = make_values(n, 1), b = Random(2).values(n);
      const Buffer x(type, a), y(type, b), expected(type, n), bytes(DataType::u8, n);
      for (const Offsets& offsets : kOffsets) {
        for (const cuda::Order order : kOrders) {
          SCOPED_TRACE(::testing::Message() << "n=" << n << " offsets " << offsets.v[1] << "," << offsets.v[2]);
          const Operand<T> u(a, offsets.v[0]), v(b, offsets.v[1]), to(n, offsets.v[2]);
          const Operand<uint8_t> signs(n, offsets.v[3]);
          reference->relu(x.view(), expected.view(), n);
          run_on_host(map(Relu<T>{u.data(), to.data()}, extent), order);
          expect_equal("relu", to.values(), expected.values());
          reference->relu_backward(x.view(), y.view(), expected.view(), n);
          run_on_host(map(ReluBackward<T>{u.data(), v.data(), to.data()}, extent), order);
          expect_equal("relu_backward", to.values(), expected.values());
          for (const bool relu : {false, true}) {
            reference->add(x.view(), y.view(), expected.view(), n, relu);
            run_on_host(map(Add<T>{u.data(), v.data(), to.data(), relu}, extent), order);
            expect_equal("add", to.values(), expected.values());
          }
          reference->sign(x.view(), bytes.view(), n);
          run_on_host(sign_launch(u.data(), signs.data(), extent), order);
          expect_equal("sign", signs.values(), bytes.values());
          run_on_host(map(Add<T>{v.data(), u.data(), v.data(), true}, extent), order);
          reference->add(x.view(), y.view(), expected.view(), n, true);
          expect_equal("add in place", v.values(), expected.values());
          run_on_host(map(Relu<T>{u.data(), u.data()}, extent), order);
          reference->relu(x.view(), expected.view(), n);
          expect_equal("relu in place", u.values(), expected.values());
        }
      }
    }
  });
}

TEST(CudaElementwise, KeepsToTheRowsThatDeviceMemoryCounts) {
  for_activation_types([&](auto element) {
    using T = decltype(element);
    constexpr int64_t kMost = 6;
    for (const int64_t row : {1, 7, 16, 24}) {
      const std::vector<double> a = Random(3).values(kMost * row), zeros(a.size(), 0.0);
      for (int64_t count = 0; count <= kMost; ++count) {
        SCOPED_TRACE(::testing::Message() << "row " << row << " count " << count);
        const RowRange rows{2, count};
        const Extent extent{&rows, kMost, row};
        const Operand<T> src(a), dst(kMost * row, 0);
        run_on_host(map(Add<T>{src.data(), src.data(), dst.data(), false}, extent));
        std::vector<double> expected;
        for (int64_t i = 0; i < count * row; ++i) expected.push_back(2 * a[static_cast<size_t>(i)]);
        expect_equal("add", dst.values(), with_unwritten(expected, kMost * row));

        // Signs go to the rows' places in the batch.
        const Operand<uint8_t> signs(10 * row, 0);
        run_on_host(sign_launch(src.data(), signs.data(), extent));
        std::vector<double> all(static_cast<size_t>(10 * row), 255.0);
        for (int64_t i = 0; i < count * row; ++i) {
          const double x = a[static_cast<size_t>(i)];
          all[static_cast<size_t>(2 * row + i)] = x > 0 ? 2 : x < 0 ? 0 : 1;
        }
        expect_equal("signs", signs.values(), all);

        for (const int64_t offset : {0, 3}) {
          const Operand<T> cleared(a, offset);
          const Extent bytes{&rows, kMost, row * static_cast<int64_t>(sizeof(T))};
          run_on_host(zero_rows_launch(cleared.data(), bytes));
          std::vector<double> kept(a.begin(), a.begin() + count * row);
          kept.resize(a.size(), 0.0);
          expect_equal("zeroed", cleared.values(), kept);
        }
      }
    }
  });
}

TEST(CudaElementwise, ZeroesMoreThanItsBlocksHoldAtOnce) {
  constexpr int64_t kElements = 3 * ZeroRows::kMostBlocks * ZeroRows::kThreads * ZeroRows::kCount + 5;
  const Operand<uint8_t> bytes(kElements, 1);
  const RowRange rows{0, 7};
  const auto launch = zero_rows_launch(bytes.data(), Extent{&rows, kElements, 1});
  EXPECT_EQ(launch.blocks, ZeroRows::kMostBlocks);
  run_on_host(launch);
  for (int64_t i = 0; i < kElements; ++i) ASSERT_EQ(bytes.data()[i], i < 7 ? 255 : 0) << i;
}

TEST(CudaDropout, MasksAreThoseOfTheReference) {
  const auto reference = own(make_device("reference")->elementwise());
  for_activation_types([&](auto element) {
    using T = decltype(element);
    const DataType type = type_of<T>();
    for (const int64_t row_elements : {1, 3, 4, 8, 12, 16, 17, 64, 129}) {
      for (const double rate : {0.0, 0.25, 0.5, 0.999}) {
        for (const Offsets& offsets : kOffsets) {
          SCOPED_TRACE(::testing::Message() << "row " << row_elements << " rate " << rate << " from " << offsets.v[1]);
          constexpr int64_t kRows = 5, kMost = 7;
          const RowRange rows{40, kRows};
          const DropoutState state{0x123456789ABCDEFu, 0x1FFFFFFFFu, 60, 1};
          const Extent extent{&rows, kMost, row_elements};
          Random random(1);
          std::vector<double> values(static_cast<size_t>(kMost * row_elements));
          for (double& x : values) x = random.nonzero();
          const Buffer from(type, values), expected(type, kMost * row_elements);
          DropoutKey key;
          key.seed = state.seed;
          key.layer = 7;
          key.step = state.step;
          key.first_row = 100;
          reference->dropout(from.view(), expected.view(), kRows, row_elements, rate, key);
          const Operand<T> src(values, offsets.v[0]), dst(kMost * row_elements, offsets.v[1]);
          run_on_host(dropout_launch(src.data(), dst.data(), rate, 7, &state, extent));
          expect_close_as(type, "dst", dst.values(), expected.values(), Tolerance::kRounded);
          const std::vector<double> actual = dst.values(), wanted = expected.values();
          for (size_t i = 0; i < actual.size(); ++i) ASSERT_EQ(actual[i] == 0, wanted[i] == 0) << "mask of " << i;
          run_on_host(dropout_launch(src.data(), src.data(), rate, 7, &state, extent));
          std::vector<double> in_place = dst.values();
          const auto written = static_cast<size_t>(kRows * row_elements);
          for (size_t i = written; i < in_place.size(); ++i) in_place[i] = from.at(static_cast<int64_t>(i));
          expect_equal("dst in place", src.values(), in_place);
        }
      }
    }
  });
}

TEST(CudaDropout, IsTheIdentityWhereItIsSwitchedOff) {
  const std::vector<double> values = Random(4).values(45);
  const Operand<float> src(values), dst(45, 0);
  const DropoutState state{1, 2, 3, 0};
  run_on_host(dropout_launch(src.data(), dst.data(), 0.5, 0, &state, Extent{nullptr, 5, 9}));
  expect_equal("dst", dst.values(), values);
}

}  // namespace
}  // namespace ghostbatch::tests
