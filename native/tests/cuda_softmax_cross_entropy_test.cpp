// CUDA's softmax cross-entropy on the host, against the reference.
#include "cuda/softmax_cross_entropy.h"

#include "tests/cuda_support.h"

namespace ghostbatch::tests {
namespace {

using cuda::Extent;
using cuda::LossState;
using cuda::Order;
using cuda::RowRange;

struct Data {
  int64_t rows, classes;
  std::vector<double> logits, labels, weights;  // weights: none, or for 3 rows before these as well
  LossState state;
};

struct Result {
  double loss = 0;
  int64_t correct = 0;
  std::vector<double> diff_logits;
};

Data make_data(DataType type, int64_t rows, int64_t classes, double smoothing, bool weighted, uint32_t seed) {
  Random random(seed);
  Data data{rows, classes, rounded(type, random.values(rows * classes, 5)), {}, {}, {}};
  for (int64_t row = 0; row < rows; ++row) data.labels.push_back(static_cast<double>(random.below(classes)));
  if (weighted) data.weights = random.values(rows + 3, 0.5, 1);
  data.state = {smoothing, 1.0 / static_cast<double>(rows)};
  return data;
}

Result of_reference(DataType type, const Data& data) {
  const auto kernel = own(make_device("reference")->softmax_cross_entropy());
  const Buffer logits(type, data.logits), labels(DataType::s32, data.labels), diff(type, data.rows * data.classes);
  const Buffer weights(DataType::f32, data.weights);
  const View shifted(weights.view().as<float>() + 3, data.rows, DataType::f32), diff_view = diff.view();
  LossResult loss;
  kernel->run(logits.view(), labels.view(), data.weights.empty() ? nullptr : &shifted, data.rows, data.classes,
              data.state.label_smoothing, data.state.scale, &diff_view, loss);
  return {loss.loss, loss.correct, diff.values()};
}

enum class Gradient { apart, in_place, none };

/// In a room of two rows more, which hold NaN and stay so.
template <typename T>
Result of_cuda(const Data& data, Gradient gradient, Order order) {
  const DataType type = type_of<T>();
  const int64_t most = data.rows + 2, all = most * data.classes;
  const Buffer logits(type, with_unwritten(data.logits, all)), diff(type, all), weights(DataType::f32, data.weights);
  const Buffer labels(DataType::s32, data.labels);
  const RowRange rows{3, data.rows};
  const Extent extent{&rows, most, data.classes};
  const Buffer losses(DataType::f64, 2 * most);  // room for a LossResult a row
  auto* const of_rows = losses.view().as<LossResult>();
  LossResult result{-1, -1};
  const Buffer& to = gradient == Gradient::in_place ? logits : diff;
  T* const diff_logits = gradient == Gradient::none ? nullptr : to.view().as<T>();
  run_on_host(cuda::softmax_rows(static_cast<const T*>(logits.view().as<T>()), labels.view().as<int32_t>(),
                                 data.weights.empty() ? nullptr : weights.view().as<float>(), diff_logits, of_rows,
                                 &data.state, extent),
              order);
  run_on_host(cuda::loss_total(of_rows, extent, &result), order);
  std::vector<double> values = to.values();
  for (size_t i = data.logits.size(); i < values.size(); ++i) EXPECT_TRUE(std::isnan(values[i])) << "a row too many";
  values.resize(data.logits.size());
  return {result.loss, result.correct, values};
}

TEST(CudaSoftmaxCrossEntropy, MatchesTheReferenceOverTheGrid) {
  for_activation_types([&](auto element) {
    using T = decltype(element);
    const DataType type = type_of<T>();
    uint32_t seed = 1;
    for (const int64_t rows : {1, 7, 70}) {
      for (const int64_t classes : {1, 2, 3, 10, 15, 16, 17, 100, 1000}) {
        for (const double smoothing : {0.0, 0.1}) {
          SCOPED_TRACE(::testing::Message() << "rows=" << rows << " classes=" << classes << " e=" << smoothing);
          const Data data = make_data(type, rows, classes, smoothing, seed % 2 == 0, seed);
          ++seed;
          const Result expected = of_reference(type, data);
          const Result actual = of_cuda<T>(data, Gradient::apart, Order::up);
          expect_close_in(std::max(1.0, std::abs(expected.loss)), "loss", {actual.loss}, {expected.loss},
                          Tolerance::kSoftmax);
          EXPECT_EQ(actual.correct, expected.correct);
          const double largest = magnitude(expected.diff_logits), scale = std::max(data.state.scale, largest);
          expect_close_as(type, "diff_logits", actual.diff_logits, expected.diff_logits,
                          Tolerance::kSoftmax * scale / largest);
          for (const Gradient gradient : {Gradient::apart, Gradient::in_place, Gradient::none}) {
            const Result again = of_cuda<T>(data, gradient, Order::down);
            EXPECT_EQ(again.loss, actual.loss);
            EXPECT_EQ(again.correct, actual.correct);
            if (gradient != Gradient::none) expect_equal("diff_logits", again.diff_logits, actual.diff_logits);
          }
        }
      }
    }
  });
}

TEST(CudaSoftmaxCrossEntropy, HoldsAtExtremes) {
  for_activation_types([&](auto element) {
    using T = decltype(element);
    for (const int64_t classes : {3, 17, 200}) {
      SCOPED_TRACE(classes);
      Data data = make_data(type_of<T>(), 1, classes, 0, false, 1);
      const auto last = static_cast<size_t>(classes - 1);
      // Far apart: no overflow, and the loss is the distance.
      std::fill(data.logits.begin(), data.logits.end(), -9984.0);  // bf16 holds it
      data.logits[last] = 9984;
      data.labels[0] = 0;
      Result result = of_cuda<T>(data, Gradient::apart, Order::up);
      EXPECT_EQ(result.loss, 2 * 9984);
      EXPECT_EQ(result.correct, 0);
      EXPECT_EQ(result.diff_logits[last], 1);
      EXPECT_EQ(result.diff_logits[0], -1);
      // Equal logits, -infinity below others among them: the first is the largest.
      std::fill(data.logits.begin(), data.logits.end(), 0.25);
      data.logits[1] = -INFINITY;
      EXPECT_EQ(of_cuda<T>(data, Gradient::apart, Order::up).correct, 1);
      data.labels[0] = static_cast<double>(last);
      result = of_cuda<T>(data, Gradient::apart, Order::up);
      EXPECT_EQ(result.correct, 0);
      EXPECT_NEAR(result.loss, std::log(static_cast<double>(classes - 1)), 1e-5);
      // NaN anywhere: the loss is NaN and the row counts as wrong.
      for (const size_t place : {size_t{0}, size_t{1}, last}) {
        data.logits.assign(static_cast<size_t>(classes), 0.0);
        data.labels[0] = 1;
        data.logits[1] = 1;
        data.logits[place] = NAN;
        result = of_cuda<T>(data, Gradient::apart, Order::up);
        EXPECT_TRUE(std::isnan(result.loss)) << place;
        EXPECT_EQ(result.correct, 0) << place;
      }
    }
  });
}

TEST(CudaSoftmaxCrossEntropy, LossesAddUpInRowOrder) {
  for (const int64_t rows : {0, 1, 31, 33, 300 * 32 + 5}) {
    Random random(7);
    std::vector<LossResult> losses;
    for (int64_t row = 0; row < rows; ++row) losses.push_back({random.value(1e3), random.below(2)});
    const int64_t runs = (rows + 31) / 32, share = (runs + 255) / 256;
    double loss = 0;
    int64_t correct = 0;
    for (int64_t first = 0; first < runs; first += share) {
      double of_thread = 0;
      for (int64_t run = first; run < std::min(first + share, runs); ++run) {
        double of_run = 0;
        for (int64_t row = 32 * run; row < std::min(32 * (run + 1), rows); ++row) {
          of_run += losses[static_cast<size_t>(row)].loss;
          correct += losses[static_cast<size_t>(row)].correct;
        }
        of_thread += of_run;
      }
      loss += of_thread;
    }
    LossResult result{-1, -1};
    run_on_host(cuda::loss_total(losses.data(), Extent{nullptr, rows, 10}, &result));
    EXPECT_EQ(result.loss, loss) << rows;
    EXPECT_EQ(result.correct, correct) << rows;
  }
}

}  // namespace
}  // namespace ghostbatch::tests
