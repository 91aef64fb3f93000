// Slices of vectors, by one launch: on the host, whatever their sizes and places.
#include <numeric>

#include "cuda/slices.h"
#include "tests/cuda_device.h"
#include "tests/cuda_runtime.h"
#include "tests/cuda_support.h"

namespace ghostbatch::tests {
namespace {

using cuda::Slice;
using cuda::SliceTable;
using cuda::vector::kPiece;

/// As they come in a network: from multiples of 64 elements, to right behind one another; of sizes around an access and
/// a piece.
std::vector<Slice> slices_of(int64_t gap) {
  std::vector<Slice> all;
  int64_t from = 0, to = gap;
  for (const int64_t count : {int64_t{3}, int64_t{1}, int64_t{16}, kPiece, int64_t{17}, 2 * kPiece + 9, int64_t{5}}) {
    all.push_back({from, to, count});
    from += (count + 63) / 64 * 64;
    to += count;
  }
  return all;
}

std::vector<double> numbers(int64_t count, double first) {
  std::vector<double> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), first);
  for (double& value : values) value = std::fmod(value, 251);  // exact in bf16
  return values;
}

struct Case {
  std::vector<Slice> all;
  std::vector<double> x, y;

  explicit Case(int64_t gap) : all(slices_of(gap)), x(numbers(all.back().from + 64, 1)) {
    y = numbers(all.back().to + all.back().count + 3, 1000);
  }
  /// What slices [first, end) make of y.
  std::vector<double> wanted(int64_t first, int64_t end, bool add) const {
    std::vector<double> result = y;
    for (int64_t i = first; i < end; ++i) {
      const Slice& slice = all[static_cast<size_t>(i)];
      for (int64_t k = 0; k < slice.count; ++k) {
        double& to = result[static_cast<size_t>(slice.to + k)];
        to = x[static_cast<size_t>(slice.from + k)] + (add ? to : 0);
      }
    }
    return result;
  }
};

TEST(CudaSlices, AreCopiedAndAddedAndNothingElseIsTouched) {
  const cuda::Context& context = cuda_context();
  const auto lock = context.lock();
  for (const int64_t gap : {0, 1, 4, 7}) {
    const Case test(gap);
    const auto all = static_cast<int64_t>(test.all.size());
    for (const auto& [first, end] : {std::pair<int64_t, int64_t>{0, all}, {0, 3}, {2, 6}, {all - 1, all}, {4, 4}}) {
      SCOPED_TRACE(testing::Message() << "to " << gap << ", slices " << first << " to " << end);
      const Operand<float> x(test.x), y(test.y, gap);
      const Operand<uint16_t> narrow(test.y, gap);
      const SliceTable table(test.all, x.data(), DataType::f32, y.data(), context.stream());
      table.copy(first, end, context.stream());
      expect_equal("copied", y.values(), test.wanted(first, end, false));
      const SliceTable to_narrow(test.all, x.data(), DataType::bf16, narrow.data(), context.stream());
      to_narrow.copy(first, end, context.stream());
      expect_equal("as bf16", narrow.values(), test.wanted(first, end, false));
      const Operand<float> sum(test.y, gap);
      const SliceTable sums(test.all, x.data(), DataType::f32, sum.data(), context.stream());
      sums.add(first, end, context.stream());
      expect_equal("added", sum.values(), test.wanted(first, end, true));
    }
  }
}

TEST(CudaSlices, DependOnNoOrder) {
  const Case test(1);
  for (const cuda::Order order : kOrders) {
    const Operand<float> x(test.x), y(test.y);
    const std::vector<cuda::slices::Piece> pieces = cuda::slices::cut(test.all, x.data(), y.data());
    EXPECT_EQ(pieces.size(), 9U) << "of seven slices, one of which has three";
    const auto count = static_cast<int64_t>(pieces.size());
    run_on_host(cuda::slices::apply<cuda::slices::Add>(pieces.data(), count, x.data(), y.data()), order);
    expect_equal("added", y.values(), test.wanted(0, static_cast<int64_t>(test.all.size()), true));
  }
}

TEST(CudaSlices, TakeALaunchAndTheMemoryThatTheyName) {
  const cuda::Context& context = cuda_context();
  const auto lock = context.lock();
  const Case test(0);
  const Operand<float> x(test.x), y(test.y);
  const int64_t before = device_memory_in_use();
  const SliceTable table(test.all, x.data(), DataType::f32, y.data(), context.stream());
  EXPECT_EQ(device_memory_in_use() - before, SliceTable::bytes(test.all));
  const int64_t launches = launched();
  table.add(0, 7, context.stream());
  EXPECT_EQ(launched() - launches, 1);
  table.copy(3, 3, context.stream());
  EXPECT_EQ(launched() - launches, 1) << "nothing to do";
}

TEST(CudaSlices, AreAddedInF32Alone) {
  const cuda::Context& context = cuda_context();
  const auto lock = context.lock();
  const Case test(0);
  const Operand<float> x(test.x);
  const Operand<uint16_t> y(test.y);
  const SliceTable table(test.all, x.data(), DataType::bf16, y.data(), context.stream());
  expect_error([&] { table.add(0, 1, context.stream()); }, "[slices] needs f32 to add to, got bf16");
}

}  // namespace
}  // namespace ghostbatch::tests
