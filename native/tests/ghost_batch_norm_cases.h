// What the tests of ghost batch norm share: cases, data, and the unfused formula in double, written apart from the
// kernels.
#pragma once

#include <algorithm>

#include "ghostbatch/ghost_batch_norm.h"
#include "tests/support.h"

namespace ghostbatch::tests {

struct NormCase {
  GhostBatchNormSpec spec;
  std::vector<int32_t> offsets;
  bool second_gradient = false;      // diff_dst2
  bool constant_statistics = false;  // mode `running`: statistics given, of one ghost

  int32_t ghosts() const { return static_cast<int32_t>(offsets.size()) - 1; }
  int64_t used() const { return offsets.back() * spec.spatial() * spec.channels; }
};

struct NormData {
  std::vector<double> src, residual, gamma, beta, diff_dst, diff_dst2;
  std::vector<double> mean, variance;  // given, for constant statistics
};

struct NormResult {
  std::vector<double> dst, mean, variance, diff_src, diff_residual, diff_gamma, diff_beta;
  double largest_sum =
      0;  // of the magnitudes that go into a value of diff_gamma or diff_beta: the scale of its rounding
};

inline std::string describe(const NormCase& test) {
  std::ostringstream out;
  out << "[" << test.spec.batch << "," << test.spec.height << "," << test.spec.width << "," << test.spec.channels
      << "] relu=" << test.spec.relu << " residual=" << test.spec.residual << " second=" << test.second_gradient
      << " constant=" << test.constant_statistics << " offsets=";
  for (const int32_t offset : test.offsets) out << offset << " ";
  return out.str();
}

/// gamma (x - mean) / sqrt(variance + epsilon) + beta, rectified sum, chain rule: one operation after another.
inline NormResult formula(const NormCase& test, const NormData& data) {
  const GhostBatchNormSpec& spec = test.spec;
  const int64_t channels = spec.channels, spatial = spec.spatial();
  NormResult result;
  const size_t elements = data.src.size();
  result.dst.assign(elements, NAN);
  result.diff_src.assign(elements, NAN);
  result.diff_residual.assign(spec.residual ? elements : 0, NAN);
  result.diff_gamma.assign(static_cast<size_t>(channels), 0);
  result.diff_beta.assign(static_cast<size_t>(channels), 0);
  std::vector<double> sums(static_cast<size_t>(channels), 0.0);
  for (int32_t ghost = 0; ghost < test.ghosts(); ++ghost) {
    for (int64_t c = 0; c < channels; ++c) {
      std::vector<size_t> places;  // elements of this ghost and channel
      for (int64_t row = test.offsets[static_cast<size_t>(ghost)]; row < test.offsets[static_cast<size_t>(ghost) + 1];
           ++row)
        for (int64_t place = 0; place < spatial; ++place)
          places.push_back(static_cast<size_t>((row * spatial + place) * channels + c));
      const auto m = static_cast<double>(places.size());
      double mean = 0, variance = 0;
      if (test.constant_statistics) {
        mean = data.mean[static_cast<size_t>(c)];
        variance = data.variance[static_cast<size_t>(c)];
      } else {
        for (const size_t i : places) mean += data.src[i];
        mean /= m;
        for (const size_t i : places) variance += (data.src[i] - mean) * (data.src[i] - mean);
        variance /= m;
      }
      result.mean.push_back(mean);
      result.variance.push_back(variance);

      const double rstd = 1 / std::sqrt(variance + spec.epsilon);
      const double gamma = data.gamma[static_cast<size_t>(c)], beta = data.beta[static_cast<size_t>(c)];
      double sum_g = 0, sum_g_xhat = 0;
      for (const size_t i : places) {
        const double sum = gamma * ((data.src[i] - mean) * rstd) + beta + (spec.residual ? data.residual[i] : 0.0);
        result.dst[i] = spec.relu ? std::max(0.0, sum) : sum;
        double g = data.diff_dst[i] + (test.second_gradient ? data.diff_dst2[i] : 0.0);
        if (spec.relu && sum <= 0) g = 0;
        if (spec.residual) result.diff_residual[i] = g;
        result.diff_src[i] = g;
        sum_g += g;
        sum_g_xhat += g * ((data.src[i] - mean) * rstd);
        sums[static_cast<size_t>(c)] += std::abs(g) * (1 + std::abs(data.src[i] - mean) * rstd);
      }
      result.diff_gamma[static_cast<size_t>(c)] += sum_g_xhat;
      result.diff_beta[static_cast<size_t>(c)] += sum_g;
      for (const size_t i : places) {
        // d sum / d x through xhat directly, through the mean and through the variance.
        const double xhat = (data.src[i] - mean) * rstd;
        const double through_statistics = test.constant_statistics ? 0.0 : (sum_g + xhat * sum_g_xhat) / m;
        result.diff_src[i] = gamma * rstd * (result.diff_src[i] - through_statistics);
      }
    }
  }
  result.largest_sum = magnitude(sums);
  return result;
}

/// Rows that no ghost holds are NaN. Gradients are zero where the sum before ReLU is so near zero that f32 may see
/// the other side of the kink. Activations are numbers that `type` holds.
inline NormData make_data(const NormCase& test, double sigmas, uint32_t seed, DataType type = DataType::f32) {
  const GhostBatchNormSpec& spec = test.spec;
  Random random(seed);
  NormData data;
  data.src.resize(static_cast<size_t>(spec.elements()));
  std::vector<double> centres(static_cast<size_t>(spec.channels)), widths(static_cast<size_t>(spec.channels));
  for (size_t c = 0; c < centres.size(); ++c) {
    widths[c] = std::abs(random.value()) + 0.5;
    centres[c] = (random.value() > 0 ? sigmas : -sigmas) * widths[c];
  }
  for (size_t i = 0; i < data.src.size(); ++i) {
    const size_t c = i % centres.size();
    data.src[i] = static_cast<double>(static_cast<float>(centres[c] + widths[c] * random.normal()));
  }
  data.src = rounded(type, data.src);
  data.residual = spec.residual ? rounded(type, random.normals(spec.elements())) : std::vector<double>();
  data.gamma = random.values(spec.channels, 0.5, 1);
  data.beta = random.values(spec.channels, 0.5);
  data.diff_dst = rounded(type, random.normals(spec.elements()));
  data.diff_dst2 = rounded(type, random.normals(spec.elements()));
  if (test.constant_statistics) {
    for (size_t c = 0; c < centres.size(); ++c) {
      data.mean.push_back(static_cast<double>(static_cast<float>(centres[c] + 0.25)));
      data.variance.push_back(static_cast<double>(static_cast<float>(widths[c] * widths[c])));
    }
  }
  GhostBatchNormSpec linear = spec;
  linear.relu = false;
  const NormResult before = formula({linear, test.offsets, test.second_gradient, test.constant_statistics}, data);
  for (size_t i = 0; i < data.src.size(); ++i) {
    if (static_cast<int64_t>(i) >= test.used()) {
      data.src[i] = data.diff_dst[i] = data.diff_dst2[i] = NAN;
      if (spec.residual) data.residual[i] = NAN;
    } else if (spec.relu && std::abs(before.dst[i]) < 1e-3) {
      data.diff_dst[i] = data.diff_dst2[i] = 0;
    }
  }
  return data;
}

inline NormResult run(Device& device, DataType type, const NormCase& test, const NormData& data) {
  GhostBatchNormSpec spec = test.spec;
  spec.type = type;
  const auto kernel = own(device.ghost_batch_norm(spec));
  const DataType parameter = parameter_type(type);
  const int64_t statistics = test.ghosts() * spec.channels;
  const Buffer src(type, data.src), residual(type, data.residual), gamma(parameter, data.gamma);
  const Buffer beta(parameter, data.beta), dst(type, spec.elements());
  const Buffer mean(parameter,
                    test.constant_statistics ? data.mean : std::vector<double>(static_cast<size_t>(statistics), NAN));
  const Buffer variance(
      parameter, test.constant_statistics ? data.variance : std::vector<double>(static_cast<size_t>(statistics), NAN));
  const View residual_view = residual.view();
  const View* const optional_residual = spec.residual ? &residual_view : nullptr;
  NormResult result;
  if (test.constant_statistics) {
    kernel->normalize(src.view(), mean.view(), variance.view(), gamma.view(), beta.view(), optional_residual,
                      dst.view(), test.offsets.data(), test.ghosts());
  } else {
    kernel->forward(src.view(), gamma.view(), beta.view(), optional_residual, dst.view(), mean.view(), variance.view(),
                    test.offsets.data(), test.ghosts());
  }
  result.dst = dst.values();
  result.mean = mean.values();
  result.variance = variance.values();

  const Buffer diff_dst(type, data.diff_dst), diff_dst2(type, data.diff_dst2), diff_src(type, spec.elements());
  const Buffer diff_residual(type, spec.residual ? spec.elements() : 0);
  const Buffer diff_gamma(parameter, spec.channels), diff_beta(parameter, spec.channels);
  const View dst_view = dst.view(), second = diff_dst2.view(), diff_residual_view = diff_residual.view();
  kernel->backward(src.view(), spec.relu && spec.residual ? &dst_view : nullptr, diff_dst.view(),
                   test.second_gradient ? &second : nullptr, mean.view(), variance.view(), gamma.view(), beta.view(),
                   diff_src.view(), spec.residual ? &diff_residual_view : nullptr, diff_gamma.view(), diff_beta.view(),
                   test.offsets.data(), test.ghosts(), test.constant_statistics);
  result.diff_src = diff_src.values();
  result.diff_residual = diff_residual.values();
  result.diff_gamma = diff_gamma.values();
  result.diff_beta = diff_beta.values();
  return result;
}

/// `actual` against what the formula gives.
inline void expect_all_close(const NormResult& actual, const NormResult& expected, double tolerance) {
  expect_close("mean", actual.mean, expected.mean, std::min(tolerance, Tolerance::kNorm));
  expect_close("variance", actual.variance, expected.variance, std::min(tolerance, Tolerance::kNormBlocks));
  expect_close("dst", actual.dst, expected.dst, tolerance);
  expect_close("diff_src", actual.diff_src, expected.diff_src, tolerance);
  expect_close("diff_residual", actual.diff_residual, expected.diff_residual, tolerance);
  expect_close_in(expected.largest_sum, "diff_gamma", actual.diff_gamma, expected.diff_gamma, tolerance);
  expect_close_in(expected.largest_sum, "diff_beta", actual.diff_beta, expected.diff_beta, tolerance);
}

/// bf16 against bf16: activations that both sides rounded alike, statistics and gradients of parameters as in f32.
inline void expect_all_close_in_bfloat16(const NormResult& actual, const NormResult& expected) {
  expect_close("mean", actual.mean, expected.mean, Tolerance::kNormBlocks);
  expect_close("variance", actual.variance, expected.variance, Tolerance::kNormBlocks);
  expect_close_in_bfloat16("dst", actual.dst, expected.dst, Tolerance::kNormBlocks);
  expect_close_in_bfloat16("diff_src", actual.diff_src, expected.diff_src, Tolerance::kNormBlocks);
  expect_equal("diff_residual", actual.diff_residual, expected.diff_residual);
  expect_close_in(expected.largest_sum, "diff_gamma", actual.diff_gamma, expected.diff_gamma, Tolerance::kNormBlocks);
  expect_close_in(expected.largest_sum, "diff_beta", actual.diff_beta, expected.diff_beta, Tolerance::kNormBlocks);
}

inline void expect_same_bits(const NormResult& actual, const NormResult& expected) {
  expect_equal("mean", actual.mean, expected.mean);
  expect_equal("variance", actual.variance, expected.variance);
  expect_equal("dst", actual.dst, expected.dst);
  expect_equal("diff_src", actual.diff_src, expected.diff_src);
  expect_equal("diff_residual", actual.diff_residual, expected.diff_residual);
  expect_equal("diff_gamma", actual.diff_gamma, expected.diff_gamma);
  expect_equal("diff_beta", actual.diff_beta, expected.diff_beta);
}

/// Sizes of ghosts one after another: offsets.
inline std::vector<int32_t> offsets_of(const std::vector<int32_t>& sizes) {
  std::vector<int32_t> offsets{0};
  for (const int32_t size : sizes) offsets.push_back(offsets.back() + size);
  return offsets;
}

inline NormCase make_case(int64_t batch, int64_t height, int64_t width, int64_t channels,
                          const std::vector<int32_t>& sizes) {
  NormCase test;
  test.spec.batch = batch;
  test.spec.height = height;
  test.spec.width = width;
  test.spec.channels = channels;
  test.offsets = offsets_of(sizes);
  return test;
}

/// Channels around the vector width, with and without space, one and many ghosts, ragged, rows left over; all fusions.
inline std::vector<NormCase> grid() {
  std::vector<NormCase> cases;
  for (const int64_t channels : {1, 3, 15, 16, 17, 64}) {
    const std::vector<NormCase> shapes{
        make_case(9, 5, 4, channels, {9}),            // one ghost
        make_case(10, 3, 3, channels, {4, 3, 2}),     // ragged, a row left over
        make_case(37, 1, 1, channels, {13, 12, 12}),  // [N, C]
        make_case(3, 4, 4, channels, {1, 1, 1}),      // a row each
        make_case(3, 33, 17, channels, {2, 1}),       // more places than one block of sums
    };
    for (const NormCase& shape : shapes) {
      for (int variant = 0; variant < 10; ++variant) {
        NormCase test = shape;
        test.spec.relu = variant % 2 != 0;
        test.spec.residual = variant % 5 >= 2;
        test.second_gradient = variant % 5 == 3;
        test.constant_statistics = variant % 5 == 1 || variant % 5 == 4;
        if (test.constant_statistics) test.offsets = {0, shape.offsets.back()};
        cases.push_back(test);
      }
    }
  }
  return cases;
}

}  // namespace ghostbatch::tests
