// ReLU, sums, dropout, zeroing and signs; softmax with cross-entropy.
#include "ghostbatch/elementwise.h"

#include "ghostbatch/philox.h"
#include "tests/cuda_device.h"

namespace ghostbatch::tests {
namespace {

const int64_t kSizes[] = {0, 1, 15, 16, 17, 33, 1000};

/// Elements [0, n) of a buffer that is one longer; the last is not to be touched.
void expect_head(const char* what, const Buffer& actual, const std::vector<double>& expected) {
  std::vector<double> head = actual.values();
  EXPECT_TRUE(std::isnan(head.back())) << what << " written beyond the elements asked for";
  head.pop_back();
  expect_equal(what, head, expected);
}

std::vector<double> one_longer(std::vector<double> values) {
  values.push_back(NAN);
  return values;
}

TEST(Elementwise, RefusesBadArguments) {
  for (const char* name : kAllDevices) {
    SCOPED_TRACE(name);
    const auto device = make_any_device(name);
    const auto kernel = own(device->elementwise());
    const Buffer x(DataType::f32, 8), y(DataType::f32, 8), small(DataType::f32, 4), bytes(DataType::u8, 8);
    const View v = x.view(), w = y.view();
    expect_error([&] { kernel->relu(v, w, 9); }, "[relu] needs src of at least 9 f32, got 8 f32");
    expect_error([&] { kernel->relu(v, w, -1); }, "elements in [0,");
    expect_error([&] { kernel->relu(v, small.view(), 8); }, "dst of at least 8 f32, got 4 f32");
    expect_error([&] { kernel->relu(bytes.view(), bytes.view(), 8); }, "got u8");
    expect_error([&] { kernel->relu(View(nullptr, 8, DataType::f32), w, 8); }, "src with memory, got null");
    expect_error([&] { kernel->relu_backward(v, v, bytes.view(), 8); }, "[relu_backward] needs diff_src");
    expect_error([&] { kernel->add(v, small.view(), w, 8, true); }, "[add] needs b");
    expect_error([&] { kernel->sign(v, bytes.view(), 9); }, "[sign] needs src of at least 9 f32, got 8 f32");
    expect_error([&] { kernel->sign(v, w, 8); }, "[sign] needs dst of at least 8 u8, got 8 f32");
    expect_error([&] { kernel->sign(bytes.view(), bytes.view(), 8); }, "got u8");
    expect_error([&] { kernel->zero(w, 5, 4); }, "[zero] needs dst of at least 9");
    expect_error([&] { kernel->zero(w, std::numeric_limits<int64_t>::max(), 1); }, "first in [0,");
    expect_error([&] { kernel->zero(w, 1, std::numeric_limits<int64_t>::max()); }, "elements in [0,");
    for (const double rate : {-0.1, 1.0, 2.0, static_cast<double>(NAN)}) {
      expect_error([&] { kernel->dropout(v, w, 2, 4, rate, DropoutKey()); }, "rate in [0, 1)");
    }
    expect_error([&] { kernel->dropout(v, w, 3, 4, 0.5, DropoutKey()); }, "src of at least 12");
    expect_error([&] { kernel->dropout(v, w, 2000000000, 2000000000, 0.5, DropoutKey()); }, "at most 2^48");
    expect_error([&] { kernel->dropout(v, w, 2, 0, 0.5, DropoutKey()); }, "row_elements in [1,");
    DropoutKey key;
    key.first_row = -1;
    expect_error([&] { kernel->dropout(v, w, 2, 4, 0.5, key); }, "first_row in [0,");
  }
  for (const char* name : {"cpu", "cuda"}) {
    const auto device = make_any_device(name);
    const auto kernel = own(device->elementwise());
    const Buffer doubles(DataType::f64, 8);
    expect_error([&] { kernel->relu(doubles.view(), doubles.view(), 8); }, "f64");
    expect_error([&] { kernel->add(doubles.view(), doubles.view(), doubles.view(), 8, false); }, "f64");
    expect_error([&] { kernel->zero(doubles.view(), 0, 8); }, "f64");
  }
}

TEST(Elementwise, RectifiesAndMasks) {
  for (const Backend& backend : all_backends_and_cuda()) {
    SCOPED_TRACE(describe(backend));
    const auto device = make_any_device(backend.name);
    const auto kernel = own(device->elementwise());
    for (const int64_t n : kSizes) {
      Random random(static_cast<uint32_t>(n));
      std::vector<double> values = random.values(n), gradient = random.values(n), expected = values;
      if (n > 3) values[2] = NAN, values[3] = -INFINITY;
      std::vector<double> expected_gradient = gradient;
      for (size_t i = 0; i < values.size(); ++i) {
        expected[i] = values[i] < 0 ? 0 : values[i];
        if (!(values[i] > 0)) expected_gradient[i] = 0;
      }
      const Buffer src(backend.type, one_longer(values)), dst(backend.type, n + 1);
      const Buffer diff_dst(backend.type, one_longer(gradient)), diff_src(backend.type, n + 1);
      kernel->relu(src.view(), dst.view(), n);
      expect_head("dst", dst, expected);
      kernel->relu_backward(dst.view(), diff_dst.view(), diff_src.view(), n);
      expect_head("diff_src", diff_src, expected_gradient);
      kernel->relu_backward(dst.view(), diff_dst.view(), diff_dst.view(), n);
      expect_head("diff_src in place", diff_dst, expected_gradient);
      kernel->relu(src.view(), src.view(), n);
      expect_head("dst in place", src, expected);
    }
  }
}

TEST(Elementwise, AddsAndZeroes) {
  for (const Backend& backend : all_backends_and_cuda()) {
    SCOPED_TRACE(describe(backend));
    const auto device = make_any_device(backend.name);
    const auto kernel = own(device->elementwise());
    for (const int64_t n : kSizes) {
      for (const bool relu : {false, true}) {
        Random random(static_cast<uint32_t>(n));
        const std::vector<double> left = random.values(n), right = random.values(n);
        std::vector<double> expected = left;
        for (size_t i = 0; i < left.size(); ++i) {
          expected[i] = left[i] + right[i];
          if (relu) expected[i] = std::max(0.0, expected[i]);
        }
        expected = rounded(backend.type, expected);
        const Buffer a(backend.type, one_longer(left)), b(backend.type, one_longer(right)), dst(backend.type, n + 1);
        kernel->add(a.view(), b.view(), dst.view(), n, relu);
        expect_head("dst", dst, expected);
        kernel->add(a.view(), b.view(), a.view(), n, relu);
        expect_head("dst in place", a, expected);
        if (n < 2) continue;
        kernel->zero(dst.view(), 1, n - 1);
        std::fill(expected.begin() + 1, expected.end(), 0.0);
        expect_head("zeroed", dst, expected);
      }
    }
  }
}

TEST(Elementwise, GivesSigns) {
  for (const Backend& backend : all_backends_and_cuda()) {
    SCOPED_TRACE(describe(backend));
    const auto device = make_any_device(backend.name);
    const auto kernel = own(device->elementwise());
    for (const int64_t n : kSizes) {
      Random random(static_cast<uint32_t>(n));
      std::vector<double> values = random.values(n);
      const double extremes[] = {NAN, -0.0, 0.0, 1e-38, -1e-38, INFINITY, -INFINITY};
      for (size_t i = 0; i < values.size(); i += 2) values[i] = extremes[i / 2 % 7];
      std::vector<double> expected;
      for (const double x : values) expected.push_back(x > 0 ? 2 : x < 0 ? 0 : 1);
      const Buffer src(backend.type, values), dst(DataType::u8, n + 1);
      kernel->sign(src.view(), dst.view(), n);
      std::vector<double> actual = dst.values();
      EXPECT_EQ(actual.back(), 0xFF) << "written beyond the elements asked for";
      actual.pop_back();
      expect_equal("signs", actual, expected);
    }
  }
}

TEST(Dropout, MasksAreThoseOfPhiloxOnEveryBackend) {
  for (const Backend& backend : all_backends_and_cuda()) {
    SCOPED_TRACE(describe(backend));
    const auto device = make_any_device(backend.name);
    const auto kernel = own(device->elementwise());
    for (const int64_t row_elements : {1, 3, 16, 17, 64, 129}) {
      for (const double rate : {0.0, 0.25, 0.5, 0.999}) {
        const int64_t rows = 5;
        DropoutKey key;
        key.seed = 0x123456789ABCDEFu;
        key.layer = 7;
        key.step = 0x1FFFFFFFFu;
        key.first_row = 100;
        Random random(1);
        std::vector<double> values(static_cast<size_t>(rows * row_elements)), expected;
        for (double& x : values) x = random.nonzero();
        values = rounded(backend.type, values);
        for (int64_t row = 0; row < rows; ++row)
          for (int64_t e = 0; e < row_elements; ++e) {
            const uint32_t word = philox(key.seed, (4u << 24) | 7u, 0xFFFFFFFFu, static_cast<uint32_t>(100 + row),
                                         static_cast<uint32_t>(e / 4))
                                      .v[e % 4];
            const bool kept = static_cast<double>(word) >= std::floor(rate * 4294967296.0);
            expected.push_back(kept ? values[static_cast<size_t>(row * row_elements + e)] / (1 - rate) : 0.0);
          }
        const Buffer src(backend.type, one_longer(values)), dst(backend.type, rows * row_elements + 1);
        kernel->dropout(src.view(), dst.view(), rows, row_elements, rate, key);
        for (size_t i = 0; i < expected.size(); ++i) {
          ASSERT_EQ(dst.at(static_cast<int64_t>(i)) == 0, expected[i] == 0) << "mask of element " << i;
        }
        std::vector<double> actual = dst.values();
        EXPECT_TRUE(std::isnan(actual.back()));
        actual.pop_back();
        expect_close_as(backend.type, "dst", actual, rounded(backend.type, expected),
                        backend.type == DataType::f64 ? Tolerance::kDouble : Tolerance::kRounded);
        kernel->dropout(src.view(), src.view(), rows, row_elements, rate, key);
        expect_equal("dst in place", src.values(), dst.values());
      }
    }
  }
}

TEST(Dropout, IsOneMaskHoweverTheBatchIsCut) {
  for (const Backend& backend : all_backends_and_cuda()) {
    const auto device = make_any_device(backend.name);
    const auto kernel = own(device->elementwise());
    const DataType type = backend.type;
    Random random(2);
    const Buffer src(type, random.values(6 * 21)), whole(type, 6 * 21), part(type, 2 * 21);
    DropoutKey key;
    kernel->dropout(src.view(), whole.view(), 6, 21, 0.5, key);
    key.first_row = 4;
    const View tail(src.view().as<char>() + 4 * 21 * size_of(type), 2 * 21, type);
    kernel->dropout(tail, part.view(), 2, 21, 0.5, key);
    for (int64_t i = 0; i < 2 * 21; ++i) ASSERT_EQ(part.at(i), whole.at(4 * 21 + i)) << describe(backend);
  }
}

// Softmax with cross-entropy.

struct SoftmaxData {
  std::vector<double> logits, labels, weights;
  int64_t rows, classes;
  double label_smoothing, scale;
};

struct SoftmaxResult {
  double loss = 0, correct = 0;
  std::vector<double> diff_logits;
};

SoftmaxResult formula(const SoftmaxData& data) {
  SoftmaxResult result;
  for (int64_t row = 0; row < data.rows; ++row) {
    const double* const x = data.logits.data() + row * data.classes;
    const auto label = static_cast<int64_t>(data.labels[static_cast<size_t>(row)]);
    const double weight = data.weights.empty() ? 1 : data.weights[static_cast<size_t>(row)];
    double largest = x[0], sum = 0;
    int64_t first = 0;
    for (int64_t c = 1; c < data.classes; ++c) {
      if (x[c] > largest) largest = x[c], first = c;
    }
    if (first == label) ++result.correct;
    for (int64_t c = 0; c < data.classes; ++c) sum += std::exp(x[c] - largest);
    for (int64_t c = 0; c < data.classes; ++c) {
      const double log_p = x[c] - largest - std::log(sum);
      const double t =
          (1 - data.label_smoothing) * (c == label ? 1 : 0) + data.label_smoothing / static_cast<double>(data.classes);
      result.loss -= weight * t * log_p;
      result.diff_logits.push_back(data.scale * weight * (std::exp(log_p) - t));
    }
  }
  return result;
}

SoftmaxResult run(Device& device, DataType type, const SoftmaxData& data, bool in_place = false) {
  const auto kernel = own(device.softmax_cross_entropy());
  const Buffer logits(type, one_longer(data.logits)), labels(DataType::s32, data.labels);
  const Buffer weights(DataType::f32, data.weights), diff(type, static_cast<int64_t>(data.logits.size()) + 1);
  const View weights_view = weights.view(), diff_view = in_place ? logits.view() : diff.view();
  LossResult loss{-1, -1};
  SoftmaxResult result;
  kernel->run(logits.view(), labels.view(), data.weights.empty() ? nullptr : &weights_view, data.rows, data.classes,
              data.label_smoothing, data.scale, &diff_view, loss);
  result.loss = loss.loss;
  result.correct = static_cast<double>(loss.correct);
  result.diff_logits = (in_place ? logits : diff).values();
  EXPECT_TRUE(std::isnan(result.diff_logits.back()));
  result.diff_logits.pop_back();
  if (!in_place) {  // the loss alone
    kernel->run(logits.view(), labels.view(), data.weights.empty() ? nullptr : &weights_view, data.rows, data.classes,
                data.label_smoothing, data.scale, nullptr, loss);
    expect_equal("loss alone", {loss.loss}, {result.loss});
    EXPECT_EQ(static_cast<double>(loss.correct), result.correct);
  }
  return result;
}

SoftmaxData make_softmax(int64_t rows, int64_t classes, double label_smoothing, bool weighted, uint32_t seed) {
  Random random(seed);
  SoftmaxData data;
  data.rows = rows;
  data.classes = classes;
  data.label_smoothing = label_smoothing;
  data.scale = 1.0 / static_cast<double>(rows);
  data.logits = random.values(rows * classes, 5);
  for (int64_t row = 0; row < rows; ++row) data.labels.push_back(static_cast<double>(random.below(classes)));
  if (weighted) data.weights = random.values(rows, 0.5, 1);
  return data;
}

TEST(SoftmaxCrossEntropy, RefusesBadArguments) {
  for (const char* name : kAllDevices) {
    SCOPED_TRACE(name);
    const auto device = make_any_device(name);
    const auto kernel = own(device->softmax_cross_entropy());
    const Buffer logits(DataType::f32, std::vector<double>(12, 0.0)), weights(DataType::f32, 2);
    const Buffer labels(DataType::s32, std::vector<double>{0, 3, 1}),
        wrong(DataType::s32, std::vector<double>{0, 4, 1});
    const Buffer negative(DataType::s32, std::vector<double>{0, 1, -1});
    LossResult result;
    const View x = logits.view(), y = labels.view(), w = weights.view();
    const auto refuse = [&](const View& a, const View& b, const View* c, int64_t rows, int64_t classes,
                            double smoothing, double scale, const View* d, const char* part) {
      expect_error([&] { kernel->run(a, b, c, rows, classes, smoothing, scale, d, result); }, part);
    };
    refuse(x, wrong.view(), nullptr, 3, 4, 0, 1, nullptr, "labels in [0, 4), got 4 in row 1");
    refuse(x, negative.view(), nullptr, 3, 4, 0, 1, nullptr, "got -1 in row 2");
    refuse(x, y, nullptr, 4, 4, 0, 1, nullptr, "logits of at least 16 f32");
    refuse(x, y, nullptr, 3, 0, 0, 1, nullptr, "classes in [1,");
    refuse(x, y, nullptr, -1, 4, 0, 1, nullptr, "rows in [0,");
    refuse(x, y, nullptr, 2147483647, 2147483647, 0, 1, nullptr, "at most 2^48 elements");
    refuse(x, x, nullptr, 3, 4, 0, 1, nullptr, "labels of at least 3 s32, got 12 f32");
    refuse(x, y, &w, 3, 4, 0, 1, nullptr, "weights of at least 3 f32");
    refuse(x, y, nullptr, 3, 4, 1, 1, nullptr, "label_smoothing in [0, 1)");
    refuse(x, y, nullptr, 3, 4, 0, INFINITY, nullptr, "a finite scale");
    refuse(x, y, nullptr, 3, 4, 0, 1, &w, "diff_logits of at least 12 f32");
    refuse(y, y, nullptr, 1, 3, 0, 1, nullptr, "got s32");
    EXPECT_EQ(result.loss, 0);
    EXPECT_EQ(result.correct, 0);
  }
}

TEST(SoftmaxCrossEntropy, MatchesTheFormulaOverTheGrid) {
  uint32_t seed = 1;
  for (const Backend& backend : all_backends_and_cuda()) {
    const auto device = make_any_device(backend.name);
    for (const int64_t rows : {1, 7}) {
      for (const int64_t classes : {1, 2, 3, 10, 15, 16, 17, 100, 1000}) {
        for (const double smoothing : {0.0, 0.1}) {
          SCOPED_TRACE(::testing::Message() << describe(backend) << " rows=" << rows << " classes=" << classes);
          SoftmaxData data = make_softmax(rows, classes, smoothing, seed % 2 == 0, seed);
          data.logits = rounded(backend.type, data.logits);
          ++seed;
          const SoftmaxResult expected = formula(data), actual = run(*device, backend.type, data);
          const double tolerance = backend.type == DataType::f64 ? Tolerance::kDouble : Tolerance::kSoftmax;
          expect_close_in(std::max(1.0, std::abs(expected.loss)), "loss", {actual.loss}, {expected.loss}, tolerance);
          EXPECT_EQ(actual.correct, expected.correct);
          const double scale = std::max(data.scale, magnitude(expected.diff_logits));
          if (backend.type == DataType::bf16) {
            expect_close_in_bfloat16("diff_logits", actual.diff_logits, rounded(DataType::bf16, expected.diff_logits),
                                     tolerance * scale / magnitude(expected.diff_logits));
          } else {
            expect_close_in(scale, "diff_logits", actual.diff_logits, expected.diff_logits, tolerance);
          }
          const SoftmaxResult again = run(*device, backend.type, data, true);
          expect_equal("diff_logits in place", again.diff_logits, actual.diff_logits);
          EXPECT_EQ(again.loss, actual.loss);
        }
      }
    }
  }
}

TEST(SoftmaxCrossEntropy, HoldsAtExtremes) {
  for (const Backend& backend : all_backends_and_cuda()) {
    SCOPED_TRACE(describe(backend));
    const auto device = make_any_device(backend.name);
    SoftmaxData data = make_softmax(1, 17, 0, false, 1);
    // Far apart: no overflow, and the loss is the distance.
    std::fill(data.logits.begin(), data.logits.end(), -9984.0);  // bf16 holds it
    data.logits[5] = 9984;
    data.labels[0] = 0;
    SoftmaxResult result = run(*device, backend.type, data);
    EXPECT_EQ(result.loss, 2 * 9984);
    EXPECT_EQ(result.correct, 0);
    EXPECT_EQ(result.diff_logits[5], 1);
    EXPECT_EQ(result.diff_logits[0], -1);
    // Equal logits: the first is the largest.
    std::fill(data.logits.begin(), data.logits.end(), 0.25);
    EXPECT_EQ(run(*device, backend.type, data).correct, 1);
    data.labels[0] = 16;
    result = run(*device, backend.type, data);
    EXPECT_EQ(result.correct, 0);
    EXPECT_NEAR(result.loss, std::log(17.0), 1e-5);
    // NaN anywhere: the loss is NaN and the row counts as wrong.
    for (const size_t place : {0u, 5u, 16u}) {
      data.logits.assign(17, 0.0);
      data.labels[0] = 3;
      data.logits[3] = 1;
      data.logits[place] = NAN;
      result = run(*device, backend.type, data);
      EXPECT_TRUE(std::isnan(result.loss)) << place;
      EXPECT_EQ(result.correct, 0) << place;
    }
  }
}

TEST(SoftmaxCrossEntropy, GradientIsThatOfDifferences) {
  const auto reference = make_device("reference");
  SoftmaxData data = make_softmax(3, 5, 0.1, true, 4);
  data.scale = 1;
  const SoftmaxResult result = run(*reference, DataType::f64, data);
  const auto loss = [&] { return run(*reference, DataType::f64, data).loss; };
  expect_close("diff_logits", result.diff_logits, numeric_gradient(data.logits, loss), Tolerance::kGradient);
}

}  // namespace
}  // namespace ghostbatch::tests
