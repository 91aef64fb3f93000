// The matrix of signs against loops over its elements, and the same bits on any number of lanes.
#include "ghostbatch/sign_matrix.h"

#include "common/check.h"
#include "ghostbatch/philox.h"
#include "ghostbatch/vector.h"
#include "tests/support.h"

namespace ghostbatch::tests {
namespace {

constexpr int64_t kBlock = VectorKernels::kBlock;
constexpr uint64_t kSeed = 0xFEDCBA9876543210u;

/// Element (i, j) as the header describes it.
double sign(uint64_t seed, int64_t i, int64_t j) {
  const Philox4 words = philox(seed, 6u << 24, static_cast<uint32_t>(i), static_cast<uint32_t>(i >> 32),
                               static_cast<uint32_t>(2 + j / 128));
  return ((words.v[j % 128 / 32] >> (j % 32)) & 1) != 0 ? 1 : -1;
}

/// A [rows, columns], row after row.
std::vector<double> elements_of(int64_t rows, int64_t columns) {
  std::vector<double> elements;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) elements.push_back(sign(kSeed, i, j));
  return elements;
}

struct Shape {
  int64_t rows, columns;
};

/// Columns around bytes, words and groups; rows around words, and around a block.
const Shape kShapes[] = {{1, 1},      {3, 2},       {63, 7},     {64, 8},          {65, 9},     {1000, 63},
                         {129, 64},   {127, 65},    {200, 100},  {77, 127},        {100, 128},  {1001, 129},
                         {300, 257},  {130, 1023},  {66, 1024},  {kBlock - 1, 8},  {kBlock, 1}, {kBlock + 1, 100},
                         {2 * kBlock + 777, 13}};

::testing::Message describe(const Shape& shape) {
  return ::testing::Message() << "[" << shape.rows << ", " << shape.columns << "]";
}

TEST(SignMatrix, RefusesBadArguments) {
  expect_error([] { own(SignMatrix::create(0, 1, 1)); }, "[sign_matrix] needs rows in [1, 281474976710656], got 0");
  expect_error([] { own(SignMatrix::create(kMaxElements + 1, 1, 1)); }, "[sign_matrix] needs rows in [1,");
  expect_error([] { own(SignMatrix::create(1, 0, 1)); }, "[sign_matrix] needs columns in [1, 1024], got 0");
  expect_error([] { own(SignMatrix::create(1, 1025, 1)); }, "[sign_matrix] needs columns in [1, 1024], got 1025");
  const auto matrix = own(SignMatrix::create(8, 3, 1));
  EXPECT_EQ(matrix->rows(), 8);
  EXPECT_EQ(matrix->columns(), 3);
  const Buffer x(DataType::f64, std::vector<double>(8, 1.0)), longer(DataType::f64, 9), floats(DataType::f32, 8);
  double y[3] = {};
  expect_error([&] { matrix->multiply(nullptr, nullptr, x.view()); }, "[sign_matrix] needs y, got null");
  expect_error([&] { matrix->multiply(nullptr, y, longer.view()); }, "[sign_matrix] needs x of 8 f64, got 9 f64");
  expect_error([&] { matrix->multiply(nullptr, y, floats.view()); }, "[sign_matrix] needs x of 8 f64, got 8 f32");
  expect_error([&] { matrix->multiply(nullptr, y, View(nullptr, 8, DataType::f64)); }, "x with memory, got null");
  expect_error([&] { matrix->multiply_transposed(nullptr, x.view(), nullptr); }, "[sign_matrix] needs y, got null");
  expect_error([&] { matrix->multiply_transposed(nullptr, longer.view(), y); }, "[sign_matrix] needs x of 8 f64");
  expect_error([&] { matrix->multiply_transposed(nullptr, floats.view(), y); }, "[sign_matrix] needs x of 8 f64");
  expect_error([&] { matrix->gram(nullptr, nullptr); }, "[sign_matrix] needs gram, got null");
}

TEST(SignMatrix, MatchesLoopsOverItsElements) {
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(describe(shape));
    const auto [rows, columns] = shape;
    const auto matrix = own(SignMatrix::create(rows, columns, kSeed));
    const std::vector<double> elements = elements_of(rows, columns);
    Random random(static_cast<uint32_t>(rows + columns));
    const std::vector<double> along = random.normals(columns), start = random.normals(rows);
    std::vector<double> product = start, transposed(static_cast<size_t>(columns), 0.0);
    for (size_t i = 0, at = 0; i < product.size(); ++i) {
      for (size_t j = 0; j < along.size(); ++j, ++at) {
        product[i] += elements[at] * along[j];
        transposed[j] += elements[at] * start[i];
      }
    }
    const Buffer x(DataType::f64, start), y(DataType::f64, columns);
    matrix->multiply_transposed(nullptr, x.view(), y.view().as<double>());
    expect_close("A'x", y.values(), transposed, Tolerance::kVectorSum);
    const Buffer from(DataType::f64, along);
    matrix->multiply(nullptr, from.view().as<double>(), x.view());
    expect_close("x + A y", x.values(), product, Tolerance::kDouble);
  }
}

TEST(SignMatrix, GramIsExact) {
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(describe(shape));
    const auto [rows, columns] = shape;
    const auto matrix = own(SignMatrix::create(rows, columns, kSeed));
    const std::vector<double> elements = elements_of(rows, columns);
    std::vector<double> expected(static_cast<size_t>(columns * columns), 0.0);
    for (int64_t r = 0; r < rows; ++r) {
      const double* const row = elements.data() + r * columns;
      for (int64_t i = 0; i < columns; ++i)
        for (int64_t j = 0; j <= i; ++j) expected[static_cast<size_t>(i * columns + j)] += row[i] * row[j];
    }
    for (int64_t i = 0; i < columns; ++i)
      for (int64_t j = 0; j < i; ++j)
        expected[static_cast<size_t>(j * columns + i)] = expected[static_cast<size_t>(i * columns + j)];
    const Buffer gram(DataType::f64, columns * columns);
    matrix->gram(nullptr, gram.view().as<double>());
    expect_equal("A'A", gram.values(), expected);
  }
}

TEST(SignMatrix, HasSignsAsLikelyPlusAsMinusThatDependOnTheSeed) {
  constexpr int64_t kRows = 100'000, kColumns = 130;
  std::vector<double> sums(kColumns), others(kColumns), gram(kColumns * kColumns);
  const Buffer x(DataType::f64, std::vector<double>(kRows, 1.0));
  const auto matrix = own(SignMatrix::create(kRows, kColumns, 1));
  matrix->multiply_transposed(nullptr, x.view(), sums.data());
  const auto other = own(SignMatrix::create(kRows, kColumns, (uint64_t{1} << 32) | 1));  // in the seed's high half
  other->multiply_transposed(nullptr, x.view(), others.data());
  matrix->gram(nullptr, gram.data());
  const double six_sigma = 6 * std::sqrt(static_cast<double>(kRows));
  for (int64_t i = 0; i < kColumns; ++i) {
    EXPECT_LT(std::abs(sums[static_cast<size_t>(i)]), six_sigma) << "column " << i;
    for (int64_t j = 0; j < i; ++j) {
      EXPECT_LT(std::abs(gram[static_cast<size_t>(i * kColumns + j)]), six_sigma) << "columns " << i << " and " << j;
    }
  }
  EXPECT_NE(sums, others);
}

TEST(SignMatrix, PassesOnWhatIsNotFinite) {
  const auto matrix = own(SignMatrix::create(100, 10, kSeed));
  std::vector<double> along(10, 1.0);
  along[9] = INFINITY;
  const Buffer x(DataType::f64, std::vector<double>(100, 0.0));
  matrix->multiply(nullptr, along.data(), x.view());
  for (int64_t i = 0; i < 100; ++i) EXPECT_EQ(x.at(i), sign(kSeed, i, 9) * INFINITY) << i;
  Buffer one(DataType::f64, std::vector<double>(100, 1.0));
  one.set(42, INFINITY);
  matrix->multiply_transposed(nullptr, one.view(), along.data());
  for (int64_t j = 0; j < 10; ++j) EXPECT_EQ(along[static_cast<size_t>(j)], sign(kSeed, 42, j) * INFINITY) << j;
  one.set(42, NAN);
  matrix->multiply_transposed(nullptr, one.view(), along.data());
  for (const double sum : along) EXPECT_TRUE(std::isnan(sum));
}

/// Runs the last task first: an order in which lanes may end.
class BackwardLanes final : public Lanes {
 public:
  int32_t threads() const override { return 1; }
  void run(int64_t tasks, LaneWork& work) override {
    for (int64_t task = tasks - 1; task >= 0; --task) work.run(task, 0);
  }
};

TEST(SignMatrix, HasTheSameBitsOnAnyNumberOfLanes) {
  constexpr int64_t kRows = 3 * kBlock + 17;
  for (const int64_t columns : {1, 8, 100, 129}) {
    SCOPED_TRACE(columns);
    const auto matrix = own(SignMatrix::create(kRows, columns, kSeed));
    Random random(static_cast<uint32_t>(columns));
    std::vector<double> along = random.normals(columns), start = random.normals(kRows);
    for (double& value : along) value /= 3;  // so that sums round: those of a few 24-bit numbers are exact
    for (double& value : start) value /= 3;
    const auto results_on = [&](Lanes* lanes) {
      const Buffer x(DataType::f64, start);
      std::vector<double> results(static_cast<size_t>(columns + columns * columns));
      matrix->multiply(lanes, along.data(), x.view());
      matrix->multiply_transposed(lanes, x.view(), results.data());
      matrix->gram(lanes, results.data() + columns);
      for (const double value : x.values()) results.push_back(value);
      return results;
    };
    const std::vector<double> expected = results_on(nullptr);
    for (const int32_t threads : {1, 2, 5}) {
      expect_equal("results", results_on(own(Lanes::create(threads)).get()), expected);
    }
    expect_equal("results of blocks in backward order", results_on(own(new BackwardLanes()).get()), expected);
  }
}

}  // namespace
}  // namespace ghostbatch::tests
