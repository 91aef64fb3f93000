// Own SIMD kernels: every instruction set of this CPU against plain loops in double and against the portable one,
// aliasing, determinism, and no access outside the buffers. The parity grid over backends is elsewhere.
#include "cpu/simd.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "common/bfloat16.h"
#include "common/dropout_mask.h"
#include "ghostbatch/samples.h"

namespace ghostbatch {
namespace {

/// Elements that end where the memory ends: a read or a write past the last one is a crash.
template <typename T>
class Guarded {
 public:
  explicit Guarded(int64_t count) : count_(count) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
    size_ = (bytes + page - 1) / page * page + page;
    base_ = static_cast<char*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base_ + size_ - page, page, PROT_NONE);
    data_ = reinterpret_cast<T*>(base_ + size_ - page - bytes);
  }
  explicit Guarded(const std::vector<T>& values) : Guarded(static_cast<int64_t>(values.size())) {
    std::copy(values.begin(), values.end(), data_);
  }
  Guarded(const Guarded& other) : Guarded(other.count_) { std::copy(other.data_, other.data_ + count_, data_); }
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { munmap(base_, size_); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  int64_t size() const { return count_; }
  T& operator[](int64_t i) { return data_[i]; }
  const T& operator[](int64_t i) const { return data_[i]; }

 private:
  int64_t count_;
  size_t size_;
  char* base_;
  T* data_;
};

using Floats = Guarded<float>;

Floats random_floats(int64_t count, uint32_t seed, double centre = 0, double deviation = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal(centre, deviation);
  Floats values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(normal(generator));
  return values;
}

template <typename T>
void expect_same_bits(const Guarded<T>& a, const Guarded<T>& b, const std::string& what) {
  ASSERT_EQ(a.size(), b.size());
  EXPECT_EQ(0, std::memcmp(a.data(), b.data(), static_cast<size_t>(a.size()) * sizeof(T))) << what;
}

void expect_near(const Floats& got, const Floats& wanted, double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), wanted.size());
  for (int64_t i = 0; i < got.size(); ++i) {
    const double w = static_cast<double>(wanted[i]);
    ASSERT_NEAR(static_cast<double>(got[i]), w, tolerance * (1 + std::abs(w))) << what << " at " << i;
  }
}

const char* const kIsas[] = {"portable", "avx2", "avx512", "avx512bf16"};

class SimdTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (simd_tables(GetParam()) == nullptr) GTEST_SKIP() << "this CPU has no " << GetParam();
  }
  const SimdTables& tables() const { return *simd_tables(GetParam()); }
  const SimdTables& portable() const { return *simd_tables("portable"); }
};

INSTANTIATE_TEST_SUITE_P(Isas, SimdTest, testing::ValuesIn(kIsas),
                         [](const testing::TestParamInfo<const char*>& param) { return std::string(param.param); });

// Ghost batch norm.

struct NormShape {
  int64_t places, channels;
  std::string text() const { return "[" + std::to_string(places) + "," + std::to_string(channels) + "]"; }
};

std::vector<NormShape> norm_shapes() {
  std::vector<NormShape> shapes;
  for (int64_t channels : {1, 3, 10, 15, 16, 17, 31, 32, 33, 64, 100}) {
    for (int64_t places : {2, 7, 33, 700}) shapes.push_back({places, channels});
  }
  shapes.push_back({3000, 16});
  shapes.push_back({2500, 64});  // more than one run downwards
  shapes.push_back({40, 512});
  shapes.push_back({9, 2048});
  shapes.push_back({9, 2049});
  shapes.push_back({5, 4113});
  return shapes;
}

/// Everything that a norm kernel reads; statistics are those of src.
struct NormData {
  NormShape shape;
  Floats src, residual, diff_dst, diff_dst2, gamma, beta, mean, variance;

  explicit NormData(NormShape shape_)
      : shape(shape_),
        src(random_floats(shape.places * shape.channels, 1, 0.5, 2)),
        residual(random_floats(shape.places * shape.channels, 2)),
        diff_dst(random_floats(shape.places * shape.channels, 3)),
        diff_dst2(random_floats(shape.places * shape.channels, 4)),
        gamma(random_floats(shape.channels, 5, 1, 0.3)),
        beta(random_floats(shape.channels, 6, 0, 0.3)),
        mean(shape.channels),
        variance(shape.channels) {
    for (int64_t c = 0; c < shape.channels; ++c) {
      double sum = 0, squares = 0;
      for (int64_t i = 0; i < shape.places; ++i) sum += value(src, i, c);
      const double centre = sum / static_cast<double>(shape.places);
      for (int64_t i = 0; i < shape.places; ++i) squares += std::pow(value(src, i, c) - centre, 2);
      mean[c] = static_cast<float>(centre);
      variance[c] = static_cast<float>(squares / static_cast<double>(shape.places));
    }
  }

  double value(const Floats& values, int64_t place, int64_t c) const {
    return static_cast<double>(values[place * shape.channels + c]);
  }

  NormCall call(bool relu) const {
    NormCall call{};
    call.places = call.ghost_places = shape.places;
    call.channels = shape.channels;
    call.relu = relu;
    call.epsilon = 1e-5;
    call.mean = mean.data();
    call.variance = variance.data();
    call.gamma = gamma.data();
    call.beta = beta.data();
    call.src = src.data();
    return call;
  }
};

TEST_P(SimdTest, StatisticsOfDataOffCentre) {
  for (const NormShape& shape : norm_shapes()) {
    for (double centre : {0.0, 100.0, -100.0}) {
      const Floats src = random_floats(shape.places * shape.channels, 7, centre, 1);
      Guarded<double> mean(shape.channels), m2(shape.channels);
      tables().ghost_batch_norm_f32->statistics(src.data(), shape.places, shape.channels, mean.data(), m2.data());
      for (int64_t c = 0; c < shape.channels; ++c) {
        long double sum = 0, squares = 0;
        for (int64_t i = 0; i < shape.places; ++i) sum += src[i * shape.channels + c];
        const long double exact = sum / static_cast<long double>(shape.places);
        for (int64_t i = 0; i < shape.places; ++i) {
          const long double d = src[i * shape.channels + c] - exact;
          squares += d * d;
        }
        const double wanted = static_cast<double>(squares);
        ASSERT_NEAR(mean[c], static_cast<double>(exact), 4e-7) << shape.text() << " channel " << c;
        // Short runs have few roundings to average out, and those of fewer than 8 places are shifted by the first.
        const double tolerance = shape.places > 2000 ? 2e-7 : shape.places < 8 ? 1e-5 : 1e-6;
        ASSERT_NEAR(m2[c], wanted, tolerance * wanted + 1e-9) << shape.text() << " channel " << c;
      }
    }
  }
}

TEST_P(SimdTest, StatisticsOfAConstantHaveNoVariance) {
  const int64_t places = 777, channels = 17;
  Floats src(places * channels);
  for (int64_t i = 0; i < src.size(); ++i) src[i] = 0.1f * static_cast<float>(i % channels);
  Guarded<double> mean(channels), m2(channels);
  tables().ghost_batch_norm_f32->statistics(src.data(), places, channels, mean.data(), m2.data());
  for (int64_t c = 0; c < channels; ++c) {
    EXPECT_EQ(mean[c], static_cast<double>(src[c]));
    EXPECT_EQ(m2[c], 0.0);
  }
}

TEST_P(SimdTest, NormalizeAgreesWithPortable) {
  for (const NormShape& shape : norm_shapes()) {
    const NormData data(shape);
    for (bool relu : {false, true}) {
      for (bool residual : {false, true}) {
        NormCall call = data.call(relu);
        call.residual = residual ? data.residual.data() : nullptr;
        Floats got(data.src.size()), wanted(data.src.size());
        call.out = got.data();
        tables().ghost_batch_norm_f32->normalize(call);
        call.out = wanted.data();
        portable().ghost_batch_norm_f32->normalize(call);
        expect_near(got, wanted, 1e-6, shape.text());
      }
    }
  }
}

TEST_P(SimdTest, NormalizeInPlaceHasTheSameBits) {
  for (const NormShape& shape : {NormShape{100, 3}, NormShape{50, 17}, NormShape{300, 64}}) {
    const NormData data(shape);
    NormCall call = data.call(true);
    call.residual = data.residual.data();
    Floats apart(data.src.size()), on_src(data.src), on_residual(data.residual);
    call.out = apart.data();
    tables().ghost_batch_norm_f32->normalize(call);
    call.src = on_src.data();
    call.out = on_src.data();
    tables().ghost_batch_norm_f32->normalize(call);
    call.src = data.src.data();
    call.residual = on_residual.data();
    call.out = on_residual.data();
    tables().ghost_batch_norm_f32->normalize(call);
    expect_same_bits(apart, on_src, "dst on src");
    expect_same_bits(apart, on_residual, "dst on residual");
  }
}

TEST_P(SimdTest, MaskOfBackwardIsExactlyThatOfForward) {
  const NormShape shape{4000, 19};
  NormData data(shape);
  // Around zero: the sign of dst hangs on the last bit.
  for (int64_t i = 0; i < data.src.size(); ++i) {
    const int64_t c = i % shape.channels;
    const double rstd = 1 / std::sqrt(static_cast<double>(data.variance[c]) + 1e-5);
    const double root = static_cast<double>(data.mean[c]) -
                        static_cast<double>(data.beta[c]) / (static_cast<double>(data.gamma[c]) * rstd);
    data.src[i] = static_cast<float>(root) * (1.0f + 1e-7f * static_cast<float>(i % 7 - 3));
    data.diff_dst[i] = 1;
  }
  NormCall call = data.call(true);
  Floats dst(data.src.size()), diff_src(data.src.size());
  call.out = dst.data();
  tables().ghost_batch_norm_f32->normalize(call);
  call.diff_dst = data.diff_dst.data();
  call.out = diff_src.data();
  tables().ghost_batch_norm_f32->backward_apply(call);  // constant statistics: gamma * rstd * g
  int64_t open = 0;
  for (int64_t i = 0; i < dst.size(); ++i) {
    ASSERT_EQ(dst[i] > 0, diff_src[i] != 0) << i;
    open += dst[i] > 0;
  }
  EXPECT_GT(open, dst.size() / 10);
  EXPECT_LT(open, dst.size() - dst.size() / 10);
}

TEST_P(SimdTest, BackwardAgreesWithFormula) {
  for (const NormShape& shape : norm_shapes()) {
    const NormData data(shape);
    for (bool relu : {false, true}) {
      for (bool residual : {false, true}) {
        for (bool second : {false, true}) {
          if (second && !residual) continue;
          const std::string what =
              shape.text() + (relu ? " relu" : "") + (residual ? " residual" : "") + (second ? " second" : "");
          NormCall call = data.call(relu);
          Floats dst(data.src.size()), g(data.src.size()), diff_src(data.src.size());
          call.residual = residual ? data.residual.data() : nullptr;
          call.out = dst.data();
          tables().ghost_batch_norm_f32->normalize(call);
          call.dst = relu && residual ? dst.data() : nullptr;
          call.diff_dst = data.diff_dst.data();
          call.diff_dst2 = second ? data.diff_dst2.data() : nullptr;
          call.out = residual ? g.data() : nullptr;
          Guarded<double> sum_g(shape.channels), sum_g_xhat(shape.channels);
          tables().ghost_batch_norm_f32->backward_sums(call, sum_g.data(), sum_g_xhat.data());

          NormCall apply = data.call(relu && !residual);
          apply.diff_dst = residual ? g.data() : data.diff_dst.data();
          apply.sum_g = sum_g.data();
          apply.sum_g_xhat = sum_g_xhat.data();
          apply.out = diff_src.data();
          tables().ghost_batch_norm_f32->backward_apply(apply);

          for (int64_t c = 0; c < shape.channels; ++c) {
            const double rstd = 1 / std::sqrt(static_cast<double>(data.variance[c]) + 1e-5);
            std::vector<double> masked, xhat;
            double sum = 0, product = 0, size = 0;
            for (int64_t i = 0; i < shape.places; ++i) {
              double d = data.value(data.diff_dst, i, c) + (second ? data.value(data.diff_dst2, i, c) : 0);
              if (relu && !(data.value(dst, i, c) > 0)) d = 0;
              masked.push_back(d);
              xhat.push_back((data.value(data.src, i, c) - static_cast<double>(data.mean[c])) * rstd);
              sum += d;
              product += d * xhat.back();
              size += std::abs(d);
              if (residual) {
                ASSERT_FLOAT_EQ(g[i * shape.channels + c], static_cast<float>(d)) << what;
              }
            }
            const double m = static_cast<double>(shape.places);
            ASSERT_NEAR(sum_g[c], sum, 1e-6 * (1 + size)) << what << " channel " << c;
            ASSERT_NEAR(sum_g_xhat[c], product, 4e-6 * (1 + size)) << what << " channel " << c;
            for (int64_t i = 0; i < shape.places; ++i) {
              const size_t k = static_cast<size_t>(i);
              const double wanted =
                  static_cast<double>(data.gamma[c]) * rstd * (masked[k] - sum / m - xhat[k] * product / m);
              const double scale = 1 + std::abs(static_cast<double>(data.gamma[c]) * rstd) * 10;
              ASSERT_NEAR(data.value(diff_src, i, c), wanted, 2e-6 * scale) << what << " channel " << c;
            }
          }
        }
      }
    }
  }
}

TEST_P(SimdTest, BackwardInPlaceHasTheSameBits) {
  for (const NormShape& shape : {NormShape{100, 3}, NormShape{50, 17}, NormShape{600, 64}}) {
    const NormData data(shape);
    const GhostBatchNormTable& table = *tables().ghost_batch_norm_f32;
    Guarded<double> sum_g(shape.channels), sum_g_xhat(shape.channels), again(shape.channels),
        again_xhat(shape.channels);
    NormCall call = data.call(true);
    call.diff_dst = data.diff_dst.data();
    table.backward_sums(call, sum_g.data(), sum_g_xhat.data());
    call.sum_g = sum_g.data();
    call.sum_g_xhat = sum_g_xhat.data();
    Floats apart(data.src.size()), in_place(data.diff_dst);
    call.out = apart.data();
    table.backward_apply(call);
    call.diff_dst = in_place.data();
    call.out = in_place.data();
    table.backward_apply(call);
    expect_same_bits(apart, in_place, "diff_src on diff_dst");

    NormCall sums = data.call(true);
    sums.dst = data.residual.data();
    sums.diff_dst = data.diff_dst.data();
    sums.diff_dst2 = data.diff_dst2.data();
    Floats g(data.src.size()), g_in_place(data.diff_dst);
    sums.out = g.data();
    table.backward_sums(sums, sum_g.data(), sum_g_xhat.data());
    sums.diff_dst = g_in_place.data();
    sums.out = g_in_place.data();
    table.backward_sums(sums, again.data(), again_xhat.data());
    expect_same_bits(g, g_in_place, "diff_residual on diff_dst");
    expect_same_bits(sum_g, again, "sum g");
    expect_same_bits(sum_g_xhat, again_xhat, "sum g xhat");
  }
}

TEST_P(SimdTest, StatisticsDependNeitherOnAlignmentNorOnTheRun) {
  const NormShape shape{1111, 24};
  const Floats src = random_floats(shape.places * shape.channels, 8);
  std::vector<float> moved(static_cast<size_t>(src.size()) + 16);
  Guarded<double> mean(shape.channels), m2(shape.channels), other_mean(shape.channels), other_m2(shape.channels);
  tables().ghost_batch_norm_f32->statistics(src.data(), shape.places, shape.channels, mean.data(), m2.data());
  for (size_t offset = 0; offset < 5; ++offset) {
    std::copy(src.data(), src.data() + src.size(), moved.data() + offset);
    tables().ghost_batch_norm_f32->statistics(moved.data() + offset, shape.places, shape.channels, other_mean.data(),
                                              other_m2.data());
    expect_same_bits(mean, other_mean, "mean");
    expect_same_bits(m2, other_m2, "m2");
  }
}

TEST_P(SimdTest, Bf16IsTheF32KernelRounded) {
  for (const NormShape& shape : {NormShape{40, 3}, NormShape{33, 17}, NormShape{64, 64}, NormShape{2, 2051}}) {
    NormData data(shape);
    Guarded<uint16_t> src(data.src.size()), residual(data.src.size()), diff_dst(data.src.size());
    Guarded<uint16_t> got(data.src.size()), wanted(data.src.size());
    for (int64_t i = 0; i < src.size(); ++i) {
      src[i] = to_bfloat16(data.src[i]);
      residual[i] = to_bfloat16(data.residual[i]);
      diff_dst[i] = to_bfloat16(data.diff_dst[i]);
      data.src[i] = from_bfloat16(src[i]);
      data.residual[i] = from_bfloat16(residual[i]);
      data.diff_dst[i] = from_bfloat16(diff_dst[i]);
    }
    Guarded<double> mean(shape.channels), m2(shape.channels), mean_f32(shape.channels), m2_f32(shape.channels);
    tables().ghost_batch_norm_bf16->statistics(src.data(), shape.places, shape.channels, mean.data(), m2.data());
    tables().ghost_batch_norm_f32->statistics(data.src.data(), shape.places, shape.channels, mean_f32.data(),
                                              m2_f32.data());
    expect_same_bits(mean, mean_f32, "mean");
    expect_same_bits(m2, m2_f32, "m2");
    NormCall call = data.call(true);
    Floats dst(data.src.size());
    call.residual = data.residual.data();
    call.out = dst.data();
    tables().ghost_batch_norm_f32->normalize(call);
    call.src = src.data();
    call.residual = residual.data();
    call.out = got.data();
    tables().ghost_batch_norm_bf16->normalize(call);
    for (int64_t i = 0; i < dst.size(); ++i) wanted[i] = to_bfloat16(dst[i]);
    expect_same_bits(got, wanted, "normalize " + shape.text());

    Guarded<double> sum_g(shape.channels), sum_g_xhat(shape.channels);
    NormCall backward = data.call(true);
    backward.diff_dst = data.diff_dst.data();
    tables().ghost_batch_norm_f32->backward_sums(backward, mean_f32.data(), m2_f32.data());
    backward.sum_g = mean_f32.data();
    backward.sum_g_xhat = m2_f32.data();
    backward.out = dst.data();
    tables().ghost_batch_norm_f32->backward_apply(backward);
    backward.src = src.data();
    backward.diff_dst = diff_dst.data();
    backward.out = nullptr;
    tables().ghost_batch_norm_bf16->backward_sums(backward, sum_g.data(), sum_g_xhat.data());
    expect_same_bits(sum_g, mean_f32, "sum g " + shape.text());
    expect_same_bits(sum_g_xhat, m2_f32, "sum g xhat " + shape.text());
    backward.out = got.data();
    tables().ghost_batch_norm_bf16->backward_apply(backward);
    for (int64_t i = 0; i < dst.size(); ++i) wanted[i] = to_bfloat16(dst[i]);
    expect_same_bits(got, wanted, "backward " + shape.text());
  }
}

TEST_P(SimdTest, Bf16RoundsToNearestTiesToEven) {
  // Every number of bf16 plus what lies just below, at, and just above the middle to the next, as the sum of two.
  for (const float share : {-0.99609375f, 0.0f, 0.498046875f, 0.5f, 0.50390625f, 1.0f}) {
    Guarded<uint16_t> a(65536), b(65536), got(65536);
    for (int64_t i = 0; i < 65536; ++i) {
      a[i] = static_cast<uint16_t>(i);
      const float value = from_bfloat16(a[i]);
      const bool normal = std::isnormal(value);
      b[i] = to_bfloat16(normal ? std::ldexp(share, std::ilogb(value) - 7) : 0.0f);
    }
    tables().elementwise_bf16->add(a.data(), b.data(), got.data(), 65536, false);
    for (int64_t i = 0; i < 65536; ++i) {
      const float sum = from_bfloat16(a[i]) + from_bfloat16(b[i]), result = from_bfloat16(got[i]);
      // Instructions for bf16 take numbers below 2^-126 for zero.
      if (std::abs(sum) < 2 * std::numeric_limits<float>::min()) continue;
      if (std::isnan(sum)) {
        ASSERT_TRUE(std::isnan(result)) << i;
      } else {
        ASSERT_EQ(got[i], to_bfloat16(sum)) << from_bfloat16(a[i]) << " + " << from_bfloat16(b[i]);
      }
    }
  }
}

// Elementwise.

TEST_P(SimdTest, ReluAndAdd) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (int64_t n : {1, 3, 15, 16, 17, 31, 32, 33, 1000}) {
    Floats a = random_floats(n, 1), b = random_floats(n, 2), got(n), wanted(n);
    a[n / 2] = nan;
    tables().elementwise_f32->relu(a.data(), got.data(), n);
    for (int64_t i = 0; i < n; ++i) {
      ASSERT_TRUE(std::isnan(a[i]) ? std::isnan(got[i]) : got[i] == std::max(0.0f, a[i])) << i << " of " << n;
    }
    tables().elementwise_f32->add(a.data(), b.data(), a.data(), n, true);
    tables().elementwise_f32->relu_backward(a.data(), b.data(), b.data(), n);
    for (int64_t i = 0; i < n; ++i) ASSERT_TRUE(a[i] > 0 || b[i] == 0) << i << " of " << n;
    ASSERT_TRUE(std::isnan(a[n / 2]));
  }
}

TEST_P(SimdTest, DropoutKeepsExactlyTheMask) {
  for (int64_t n : {1, 4, 63, 64, 65, 1000}) {
    const Floats src = random_floats(n, 1);
    Floats got(n);
    DropoutKey key;
    key.seed = 0x123456789ABCDEFull;
    key.layer = 3;
    key.step = 77;
    const int64_t row = 5;
    const uint32_t threshold = dropout_threshold(0.3);
    const float scale = static_cast<float>(1 / 0.7);
    tables().elementwise_f32->dropout(src.data(), got.data(), n, threshold, scale, key.seed,
                                      philox_stream(RandomPurpose::dropout, key.layer), 77, 5);
    for (int64_t i = 0; i < n; ++i) {
      const bool kept = dropout_words(key, row, i / 4).v[i % 4] >= threshold;
      ASSERT_EQ(got[i], kept ? src[i] * scale : 0.0f) << i << " of " << n;
    }
  }
}

// Softmax and cross-entropy.

TEST_P(SimdTest, SoftmaxAgreesWithDouble) {
  for (int64_t classes : {2, 3, 10, 15, 16, 17, 100, 1973}) {
    const int64_t rows = 7;
    const double smoothing = 0.1, scale = 1.0 / 7;
    Floats logits = random_floats(rows * classes, 1, 0, 4);
    logits[0] = 120;  // far ahead: the other probabilities vanish
    const Floats weights = random_floats(rows, 2, 1, 0.2);
    Guarded<int32_t> labels(rows);
    for (int64_t row = 0; row < rows; ++row) labels[row] = static_cast<int32_t>(row % classes);
    double loss = 0;
    int64_t correct = 0;
    Floats wanted(logits.size()), got(logits.size()), in_place(logits);
    for (int64_t row = 0; row < rows; ++row) {
      const float* const x = logits.data() + row * classes;
      const int64_t largest = std::max_element(x, x + classes) - x;
      double sum = 0, mean = 0;
      for (int64_t c = 0; c < classes; ++c) {
        sum += std::exp(static_cast<double>(x[c]) - static_cast<double>(x[largest]));
        mean += static_cast<double>(x[c]) / static_cast<double>(classes);
      }
      const double log_sum = static_cast<double>(x[largest]) + std::log(sum);
      const double weight = static_cast<double>(weights[row]);
      loss +=
          weight * ((1 - smoothing) * (log_sum - static_cast<double>(x[labels[row]])) + smoothing * (log_sum - mean));
      correct += largest == labels[row];
      for (int64_t c = 0; c < classes; ++c) {
        const double t = smoothing / static_cast<double>(classes) + (c == labels[row] ? 1 - smoothing : 0);
        wanted[row * classes + c] =
            static_cast<float>(scale * weight * (std::exp(static_cast<double>(x[c]) - log_sum) - t));
      }
    }
    int64_t count = 0, count_in_place = 0;
    const auto run = tables().softmax_f32->run;
    const double sum =
        run(logits.data(), labels.data(), weights.data(), rows, classes, smoothing, scale, got.data(), count);
    EXPECT_NEAR(sum, loss, 1e-6 * loss) << classes;
    EXPECT_EQ(count, correct);
    for (int64_t i = 0; i < got.size(); ++i) {
      const double w = static_cast<double>(wanted[i]);
      ASSERT_NEAR(static_cast<double>(got[i]), w, 1e-6 * std::abs(w) + 1e-8) << i << " of " << classes;
    }
    const double again = run(in_place.data(), labels.data(), weights.data(), rows, classes, smoothing, scale,
                             in_place.data(), count_in_place);
    EXPECT_EQ(sum, again);
    EXPECT_EQ(count, count_in_place);
    expect_same_bits(got, in_place, "diff_logits on logits");
  }
}

TEST_P(SimdTest, SoftmaxCountsTheFirstLargestAndNoNan) {
  Floats logits({1, 5, 5, 0, /**/ 1, 5, 5, 0, /**/ std::numeric_limits<float>::quiet_NaN(), 5, 1, 0});
  const Guarded<int32_t> labels(std::vector<int32_t>{1, 2, 1});
  int64_t correct = 0;
  const auto run = tables().softmax_f32->run;
  EXPECT_TRUE(std::isfinite(run(logits.data(), labels.data(), nullptr, 2, 4, 0, 1, nullptr, correct)));
  EXPECT_EQ(correct, 1);
  EXPECT_TRUE(std::isnan(run(logits.data(), labels.data(), nullptr, 3, 4, 0, 1, logits.data(), correct)));
  EXPECT_EQ(correct, 2);
}

// Pooling.

struct PoolCase {
  int64_t height, width, channels, window, stride, pad;
};

PoolCall call_of(const PoolCase& shape, int64_t rows) {
  const int64_t p = (shape.height + 2 * shape.pad - shape.window) / shape.stride + 1;
  const int64_t q = (shape.width + 2 * shape.pad - shape.window) / shape.stride + 1;
  return {rows,
          shape.height,
          shape.width,
          shape.channels,
          shape.window,
          shape.window,
          shape.stride,
          shape.stride,
          shape.pad,
          shape.pad,
          p,
          q};
}

/// What goes in comes out: the gradient of every window lands inside the image.
void expect_gradient_arrives(const Floats& diff_src, const Floats& diff_dst) {
  double in = 0, out = 0;
  for (int64_t i = 0; i < diff_dst.size(); ++i) in += static_cast<double>(diff_dst[i]);
  for (int64_t i = 0; i < diff_src.size(); ++i) out += static_cast<double>(diff_src[i]);
  EXPECT_NEAR(in, out, 1e-4);
}

TEST_P(SimdTest, PoolingAgreesWithPortable) {
  for (int64_t channels : {1, 3, 15, 16, 17, 64, 65}) {
    for (const PoolCase& shape :
         {PoolCase{6, 6, channels, 2, 2, 0}, PoolCase{7, 5, channels, 3, 2, 1}, PoolCase{5, 7, channels, 3, 1, 1},
          PoolCase{5, 5, channels, 5, 5, 0}, PoolCase{7, 7, channels, 2, 3, 0}, PoolCase{5, 5, channels, 5, 1, 0},
          PoolCase{6, 6, channels, 4, 4, 1}}) {
      const int64_t rows = 2;
      const PoolCall call = call_of(shape, rows);
      const int64_t outputs = rows * call.out_height * call.out_width * channels;
      Floats src = random_floats(rows * call.height * call.width * channels, 1);
      for (int64_t i = 0; i < src.size(); ++i) src[i] = std::round(4 * src[i]);  // many equal
      src[src.size() / 3] = std::numeric_limits<float>::quiet_NaN();
      const Floats diff_dst = random_floats(outputs, 2);
      Floats dst(outputs), other_dst(outputs), diff_src(src.size()), other_diff_src(src.size());
      Guarded<uint8_t> workspace(outputs), other_workspace(outputs);
      tables().pooling_f32->max_forward(call, src.data(), dst.data(), workspace.data());
      portable().pooling_f32->max_forward(call, src.data(), other_dst.data(), other_workspace.data());
      expect_same_bits(dst, other_dst, "max");
      expect_same_bits(workspace, other_workspace, "winners");
      tables().pooling_f32->max_forward(call, src.data(), dst.data(), nullptr);
      expect_same_bits(dst, other_dst, "max without workspace");
      for (Floats* poisoned : {&diff_src, &other_diff_src}) std::fill_n(poisoned->data(), poisoned->size(), 77.0f);
      tables().pooling_f32->max_backward(call, diff_dst.data(), workspace.data(), diff_src.data());
      portable().pooling_f32->max_backward(call, diff_dst.data(), workspace.data(), other_diff_src.data());
      expect_same_bits(diff_src, other_diff_src, "max backward");
      expect_gradient_arrives(diff_src, diff_dst);
      src[src.size() / 3] = 1;
      for (Floats* poisoned : {&diff_src, &other_diff_src}) std::fill_n(poisoned->data(), poisoned->size(), 77.0f);
      tables().pooling_f32->average_forward(call, src.data(), dst.data());
      portable().pooling_f32->average_forward(call, src.data(), other_dst.data());
      expect_near(dst, other_dst, 1e-6, "average");
      tables().pooling_f32->average_backward(call, diff_dst.data(), diff_src.data());
      portable().pooling_f32->average_backward(call, diff_dst.data(), other_diff_src.data());
      expect_near(diff_src, other_diff_src, 1e-6, "average backward");
      expect_gradient_arrives(diff_src, diff_dst);
    }
  }
}

TEST_P(SimdTest, MaxPoolingTakesTheFirstWinnerAndTheFirstNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const PoolCall call = call_of({2, 2, 3, 2, 2, 0}, 1);
  const Floats src({1, 2, nan, /**/ 3, nan, 1, /**/ 3, nan, nan, /**/ 0, 9, 9});
  Floats dst(3);
  Guarded<uint8_t> workspace(3);
  tables().pooling_f32->max_forward(call, src.data(), dst.data(), workspace.data());
  EXPECT_EQ(dst[0], 3);
  EXPECT_EQ(workspace[0], 1);
  EXPECT_TRUE(std::isnan(dst[1]));
  EXPECT_EQ(workspace[1], 1);
  EXPECT_TRUE(std::isnan(dst[2]));
  EXPECT_EQ(workspace[2], 0);
}

// Batch loader.

TEST_P(SimdTest, LoaderCropsAndFlips) {
  for (int64_t channels : {1, 3, 16, 17}) {
    const int64_t height = 5, width = 7, elements = height * width * channels,
                  period = channels <= 16 ? 16 * channels : 16;
    Guarded<uint8_t> bytes(elements);
    Floats floats(elements), scale(period), shift(period);
    for (int64_t i = 0; i < elements; ++i) floats[i] = bytes[i] = static_cast<uint8_t>(i * 37 + 11);
    for (int64_t i = 0; i < period; ++i) {
      const int64_t c = channels <= 16 ? i % channels : 0;
      scale[i] = 0.01f * static_cast<float>(c + 1);
      shift[i] = -0.5f * static_cast<float>(c);
    }
    for (bool flip : {false, true}) {
      for (bool repeat_edge : {false, true}) {
        for (int64_t crop_y : {-6, -2, 0, 3}) {
          for (int64_t crop_x : {-9, -3, 0, 2, 8}) {
            LoadCall call{};
            call.height = height;
            call.width = width;
            call.channels = channels;
            call.flip = flip;
            call.repeat_edge = repeat_edge;
            call.crop_y = crop_y;
            call.crop_x = crop_x;
            call.fill = 99;
            call.scale = scale.data();
            call.shift = shift.data();
            call.period = period;
            Floats of_bytes(elements), of_floats(elements);
            call.bytes = true;
            tables().loader_f32->load(call, bytes.data(), of_bytes.data());
            call.bytes = false;
            tables().loader_f32->load(call, floats.data(), of_floats.data());
            expect_same_bits(of_bytes, of_floats, "bytes and floats");
            for (int64_t i = 0; i < elements; ++i) {
              const int64_t c = i % channels, x = i / channels % width, y = i / channels / width;
              int64_t from_y = y + crop_y, from_x = (flip ? width - 1 - x : x) + crop_x;
              if (repeat_edge) {
                from_y = std::clamp<int64_t>(from_y, 0, height - 1);
                from_x = std::clamp<int64_t>(from_x, 0, width - 1);
              }
              const bool inside = from_y >= 0 && from_y < height && from_x >= 0 && from_x < width;
              const double value =
                  inside ? static_cast<double>(floats[(from_y * width + from_x) * channels + c]) : 99.0;
              const double wanted =
                  value * static_cast<double>(scale[c % period]) + static_cast<double>(shift[c % period]);
              ASSERT_NEAR(static_cast<double>(of_bytes[i]), wanted, 1e-6 * (1 + std::abs(wanted)))
                  << channels << " channels, crop " << crop_y << " " << crop_x << " at " << i;
            }
          }
        }
      }
    }
  }
}

TEST_P(SimdTest, LoaderMapsAsPortable) {
  const int64_t height = 9, width = 8, channels = 3, elements = height * width * channels;
  Guarded<uint8_t> bytes(elements);
  for (int64_t i = 0; i < elements; ++i) bytes[i] = static_cast<uint8_t>(i * 37 + 11);
  Floats scale(48), shift(48);
  for (int64_t i = 0; i < 48; ++i) scale[i] = 1.0f / 255, shift[i] = -0.5f;
  LoadCall call{};
  call.height = height;
  call.width = width;
  call.channels = channels;
  call.bytes = call.affine = true;
  call.cosine = std::cos(0.3);
  call.sine = std::sin(0.3);
  call.centre_y = 4;
  call.centre_x = 3.5;
  call.shift_y = 0.7;
  call.shift_x = -1.2;
  call.scale = scale.data();
  call.shift = shift.data();
  call.period = 48;
  Floats got(elements), wanted(elements);
  tables().loader_f32->load(call, bytes.data(), got.data());
  portable().loader_f32->load(call, bytes.data(), wanted.data());
  expect_near(got, wanted, 1e-6, "affine");
}

// Vector kernels.

template <typename T>
void expect_same_updates(const VectorTable& got, const VectorTable& wanted) {
  for (int64_t n : {1, 7, 16, 33, 1000}) {
    const auto values = [&](uint32_t seed) {
      const Floats floats = random_floats(n, seed);
      Guarded<T> result(n);
      for (int64_t i = 0; i < n; ++i) result[i] = static_cast<T>(floats[i]);
      return result;
    };
    const Guarded<T> x = values(1), gradient = values(2);
    for (bool flag : {false, true}) {
      SgdSpec sgd;
      sgd.momentum = 0.9;
      sgd.weight_decay = 1e-3;
      sgd.gradient_scale = 0.7;
      sgd.nesterov = flag;
      AdamSpec adam;
      adam.weight_decay = 1e-2;
      adam.decoupled = flag;
      adam.step = 3;
      LarsSpec lars;
      lars.weight_decay = 1e-3;
      lars.nesterov = flag;
      LambBlock lamb;
      lamb.spec.weight_decay = 1e-2;
      lamb.unbias_m = 1.3;
      lamb.unbias_v = 1.1;
      std::vector<double> squares;
      std::vector<Guarded<T>> results;
      for (const VectorTable* table : {&got, &wanted}) {
        Guarded<T> w(x), m = values(3), v = values(4);
        for (int64_t i = 0; i < n; ++i) v[i] = std::abs(v[i]);
        table->sgd(sgd, w.data(), gradient.data(), m.data(), n);
        table->adam(adam, w.data(), gradient.data(), m.data(), v.data(), n);
        table->lars(lars, w.data(), gradient.data(), m.data(), n);
        squares.push_back(table->lamb_moments(lamb, w.data(), gradient.data(), m.data(), v.data(), true, n));
        EXPECT_EQ(table->lamb_moments(lamb, w.data(), gradient.data(), m.data(), v.data(), false, n), 0);
        table->lamb(lamb, w.data(), m.data(), v.data(), n);
        table->axpy(0.3, gradient.data(), w.data(), n);
        table->scale(1.7, w.data(), n);
        table->interpolate(0.4, w.data(), gradient.data(), w.data(), n);
        table->project_box(0.2, x.data(), w.data(), n);
        table->scale_by_magnitude(0.01, x.data(), w.data(), n);
        results.push_back(w);
      }
      expect_same_bits(results[0], results[1], "updates");
      ASSERT_NEAR(squares[0], squares[1], 1e-12 * squares[1]);
    }
    ASSERT_NEAR(got.dot(x.data(), gradient.data(), n), wanted.dot(x.data(), gradient.data(), n), 1e-11);
    ASSERT_NEAR(got.sum(x.data(), n), wanted.sum(x.data(), n), 1e-11);
    ASSERT_NEAR(got.squared_distance(x.data(), gradient.data(), n),
                wanted.squared_distance(x.data(), gradient.data(), n), 1e-10);
    T largest = 0;
    for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(x[i]));
    EXPECT_EQ(got.max_abs(x.data(), n), static_cast<double>(largest));
    Guarded<T> with_nan(x);
    with_nan[n / 2] = std::numeric_limits<T>::quiet_NaN();
    EXPECT_TRUE(std::isnan(got.max_abs(with_nan.data(), n)));
    got.fill(0.5, with_nan.data(), n);
    EXPECT_EQ(got.sum(with_nan.data(), n), 0.5 * static_cast<double>(n));
  }
}

TEST_P(SimdTest, VectorUpdatesHaveTheSameBitsOnEveryIsa) {
  expect_same_updates<float>(*tables().vector_f32, *portable().vector_f32);
  expect_same_updates<double>(*tables().vector_f64, *portable().vector_f64);
}

TEST_P(SimdTest, SumsAreFormedInDouble) {
  const int64_t n = 65536;
  Floats x(n);
  long double exact = 0;
  for (int64_t i = 0; i < n; ++i) {
    x[i] = 1.0f / static_cast<float>(i + 1);
    exact += static_cast<long double>(x[i]) * x[i];
  }
  EXPECT_NEAR(tables().vector_f32->dot(x.data(), x.data(), n), static_cast<double>(exact), 1e-14);
}

// Choice of the instruction set.

TEST(SimdChoice, KnowsItsNames) {
  EXPECT_NE(simd_tables("portable"), nullptr);
  EXPECT_EQ(simd_tables("sse9"), nullptr);
  EXPECT_EQ(simd_tables(simd_isa()), &simd_tables());
}

/// Ends the process: 0 where the choice is `wanted`, or the Error says it.
[[noreturn]] void exit_with_choice(const char* isa, const std::string& wanted) {
  setenv("GHOSTBATCH_ISA", isa, 1);
  std::string got;
  try {
    got = simd_isa();
  } catch (const Error& error) {
    got = error.what();
  }
  std::_Exit(got.find(wanted) != std::string::npos ? 0 : 1);
}

TEST(SimdChoiceDeathTest, FollowsTheEnvironment) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a process of its own, in which nothing is chosen yet
  EXPECT_EXIT(exit_with_choice("portable", "portable"), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(exit_with_choice("sse9", "got sse9"), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace ghostbatch
