// L-BFGS-B. The model about an iterate x is q(z) = g z + 1/2 z B z with B = theta I - W M W^T, and W has a row for each
// variable: its components of every pair, (y, s) behind (y, s), so that the walk along the break points, which meets
// variables in any order, reads whole rows, as the passes over all of them do. (In the paper W = [Y, theta S]; here the
// factor theta is in M.) Matrices of the size of a row are made on the calling thread.
#include "ghostbatch/lbfgsb.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <limits>
#include <vector>

#include "common/blocks.h"
#include "common/check.h"
#include "common/line_search.h"
#include "common/memory.h"

namespace ghostbatch {
namespace {

constexpr const char* kName = "lbfgsb";
constexpr int64_t kBlock = 16384;
constexpr int32_t kMaxMemory = 64;
constexpr int64_t kMaxWidth = 2 * kMaxMemory;
constexpr int64_t kPart = 4;   // rows are padded to a multiple of it, so that loops over them have no rest
constexpr int64_t kRows = 32;  // of free variables, gathered before they are multiplied
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kRounding = std::numeric_limits<double>::epsilon();
constexpr double kLongestStep = 1e10;  // where no bound limits it

// Break points go to buckets of 1/64 of an octave, which are sorted as far as the walk comes.
constexpr int64_t kBuckets = 2048;
constexpr int kBucketShift = 52 - 6;
constexpr int kOctavesBelow = 24;         // the first bucket also has all below, the last one all above
constexpr int64_t kWaveBuckets = 64;      // that lanes work on together
constexpr int64_t kWaveBreaks = 1 << 15;  // about, in these
constexpr int64_t kAhead = 8;             // rows out of order are fetched so many before they are read

// Loops over rows, in parts of a fixed length.

void add_row(double factor, const double* __restrict row, int64_t width, double* __restrict sum) {
  for (int64_t k = 0; k < width; k += kPart) {
    for (int64_t j = k; j < k + kPart; ++j) sum[j] += factor * row[j];
  }
}

double dot(const double* a, const double* b, int64_t width) {
  double sums[kPart] = {};
  for (int64_t k = 0; k < width; k += kPart) {
    for (int64_t j = 0; j < kPart; ++j) sums[j] += a[k + j] * b[k + j];
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/// y = A x, A symmetric [width, width].
void multiply(const double* __restrict a, const double* __restrict x, int64_t width, double* __restrict y) {
  std::fill(y, y + width, 0.0);
  for (int64_t i = 0; i < width; i += kPart) {
    const double* const a0 = a + i * width;
    const double* const a1 = a0 + width;
    const double* const a2 = a1 + width;
    const double* const a3 = a2 + width;
    for (int64_t k = 0; k < width; k += kPart) {
      for (int64_t j = k; j < k + kPart; ++j) {
        y[j] += (a0[j] * x[i] + a1[j] * x[i + 1]) + (a2[j] * x[i + 2] + a3[j] * x[i + 3]);
      }
    }
  }
}

/// sum[a, b] += rows[i, a] rows[i, b] over `count` rows, for b up to the end of a's part.
void add_products(const double* __restrict rows, int64_t count, int64_t width, double* __restrict sum) {
  for (int64_t a = 0; a < width; a += kPart) {
    for (int64_t b = 0; b <= a; b += kPart) {
      double tile[kPart][kPart] = {};
      for (int64_t i = 0; i < count; ++i) {
        const double* const row = rows + i * width;
        for (int64_t p = 0; p < kPart; ++p) {
          for (int64_t q = 0; q < kPart; ++q) tile[p][q] += row[a + p] * row[b + q];
        }
      }
      for (int64_t p = 0; p < kPart; ++p) {
        for (int64_t q = 0; q < kPart; ++q) sum[(a + p) * width + b + q] += tile[p][q];
      }
    }
  }
}

/// A square matrix in memory that others use too.
class Square {
 public:
  Square(std::vector<double>& data, int64_t size) : data_(data.data()), size_(size) {}
  double& operator()(int64_t i, int64_t j) const { return data_[i * size_ + j]; }
  double* row(int64_t i) const { return data_ + i * size_; }

  /// Lower triangle L in place of a symmetric matrix L diag(-1 .. -1, 1 .. 1) L^T, the first `negatives` of them -1.
  /// False where its signs are others.
  bool factor(int64_t size, int64_t negatives) const {
    for (int64_t j = 0; j < size; ++j) {
      for (int64_t i = j; i < size; ++i) {
        double rest = (*this)(i, j);
        for (int64_t k = 0; k < j; ++k) {
          rest -= k < negatives ? -(*this)(i, k) * (*this)(j, k) : (*this)(i, k) * (*this)(j, k);
        }
        if (j < negatives) rest = -rest;
        if (i == j && !(rest > 0 && rest < kInfinity)) return false;
        (*this)(i, j) = i == j ? std::sqrt(rest) : rest / (*this)(j, j);
      }
    }
    return true;
  }

 private:
  double* data_;
  int64_t size_;
};

/// The pairs' part of B. Rows of W have `width()` columns in use.
class Pairs {
 public:
  explicit Pairs(int64_t capacity)
      : capacity_(capacity), ss_(static_cast<size_t>(capacity * capacity)), sy_(ss_.size()),
        middle_(static_cast<size_t>(max_width() * max_width())), inverse_(middle_.size()), reduced_(middle_.size()) {}

  void clear(double theta) {
    count_ = next_ = 0;
    theta_ = theta;
  }
  bool empty() const { return count_ == 0; }
  double theta() const { return theta_; }
  int64_t max_width() const { return padded(capacity_); }
  int64_t width() const { return padded(count_); }

  /// Column of W for y of the next pair; its s is behind it.
  int64_t next_column() const { return 2 * next_; }
  int64_t width_with_next() const { return padded(std::min(count_ + 1, capacity_)); }
  /// Counts the pair that lies there, from its W^T s and y^T y.
  void add(const double* products, double yy);

  /// Makes M. False where rounding has left B indefinite.
  bool factor();
  /// M, [width, width].
  const double* middle() const { return middle_.data(); }
  /// x = (inverse(M) - gram / theta)^-1 b, where gram [width, width] = W^T W over the free variables, of which the
  /// lower triangle is read. False where rounding has left B indefinite.
  bool solve(const double* gram, const double* b, double* x);

 private:
  static int64_t padded(int64_t pairs) { return (2 * pairs + kPart - 1) / kPart * kPart; }
  Square by_slot(std::vector<double>& products) const { return {products, capacity_}; }
  /// Slot of the pair number `age`, the oldest first.
  int64_t slot(int64_t age) const { return (next_ - count_ + age + capacity_) % capacity_; }

  const int64_t capacity_;
  int64_t count_ = 0, next_ = 0;
  double theta_ = 1;
  std::vector<double> ss_, sy_;  // s_i s_j; s_i y_j where y_j came with s_i or before it
  // inverse(M) = A diag(-I, I) A^T, y before s and both by age; `inverse_` [2 pairs, width] = A^-1 with W's columns.
  std::vector<double> middle_, inverse_, reduced_;
};

void Pairs::add(const double* products, double yy) {
  count_ = std::min(count_ + 1, capacity_);
  const Square ss = by_slot(ss_), sy = by_slot(sy_);
  for (int64_t j = 0; j < count_; ++j) {
    sy(next_, j) = products[2 * j];
    ss(next_, j) = ss(j, next_) = products[2 * j + 1];
  }
  theta_ = yy / sy(next_, next_);
  next_ = (next_ + 1) % capacity_;
}

bool Pairs::factor() {
  // inverse(M) = [-D, L^T; L, theta S^T S] (equation 3.4).
  const int64_t k = count_, size = 2 * k;
  const Square a(reduced_, size), ss = by_slot(ss_), sy = by_slot(sy_);
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j < k; ++j) {
      a(i, j) = i == j ? -sy(slot(i), slot(i)) : 0;
      a(k + i, j) = i > j ? sy(slot(i), slot(j)) : 0;
      a(k + i, k + j) = theta_ * ss(slot(i), slot(j));
    }
  }
  if (!a.factor(size, k)) return false;

  const Square inverse(inverse_, width()), middle(middle_, width());
  std::fill(inverse_.begin(), inverse_.end(), 0.0);
  for (int64_t j = 0; j < size; ++j) {
    const int64_t column = j < k ? 2 * slot(j) : 2 * slot(j - k) + 1;
    for (int64_t i = j; i < size; ++i) {
      double rest = i > j ? 0 : j < k ? 1 : theta_;
      for (int64_t l = j; l < i; ++l) rest -= a(i, l) * inverse(l, column);
      inverse(i, column) = rest / a(i, i);
    }
  }
  std::fill(middle_.begin(), middle_.end(), 0.0);
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t j = 0; j < width(); ++j) {
      add_row(i < k ? -inverse(i, j) : inverse(i, j), inverse.row(i), width(), middle.row(j));
    }
  }
  return true;
}

bool Pairs::solve(const double* gram, const double* b, double* x) {
  // A^-1 (inverse(M) - gram / theta) A^-T has the signs of diag(-I, I) too, as B is positive on the free variables.
  const int64_t k = count_, size = 2 * k;
  const Square inverse(inverse_, width()), a(reduced_, size);
  double product[kMaxWidth], right[kMaxWidth];
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t column = 0; column < width(); ++column) {
      product[column] = 0;
      for (int64_t j = 0; j < width(); ++j) {
        product[column] += gram[std::max(column, j) * width() + std::min(column, j)] * inverse(i, j);
      }
    }
    for (int64_t j = 0; j <= i; ++j) {
      const double unit = i != j ? 0 : i < k ? -1 : 1;
      a(i, j) = unit - dot(product, inverse.row(j), width()) / theta_;
    }
    right[i] = dot(b, inverse.row(i), width());
  }
  if (!a.factor(size, k)) return false;

  for (int64_t i = 0; i < size; ++i) {
    for (int64_t j = 0; j < i; ++j) right[i] -= a(i, j) * right[j];
    right[i] /= a(i, i);
  }
  for (int64_t i = 0; i < k; ++i) right[i] = -right[i];
  for (int64_t i = size - 1; i >= 0; --i) {
    for (int64_t j = i + 1; j < size; ++j) right[i] -= a(j, i) * right[j];
    right[i] /= a(i, i);
  }
  std::fill(x, x + width(), 0.0);
  for (int64_t i = 0; i < size; ++i) add_row(right[i], inverse.row(i), width(), x);
  return true;
}

/// Where the path x(t) = P(x - t g) has brought a variable to a bound.
struct Break {
  double t;
  int64_t index;
  bool operator<(const Break& other) const { return t != other.t ? t < other.t : index < other.index; }
};

/// The path from one break point to the next: with d its direction there, p = W^T d and W^T (x(t) - x) = t p - r.
struct Path {
  double t;   // where it begins
  double gg;  // g^T g over the variables that move
  double p[kMaxWidth], r[kMaxWidth];
};

/// What the break points of a bucket change in a path, as sums; t is the last of them.
struct Change : Path {
  double spread[kMaxWidth];  // of |g| |w|: no part of the bucket changes p by more
};

class HostLbfgsb final : public Lbfgsb {
 public:
  HostLbfgsb(int64_t n, const LbfgsbSpec& spec);
  ~HostLbfgsb() override { release_huge(memory_, bytes_); }

  void start(Lanes* lanes, const View& x, const View& lower, const View& upper) override;
  LbfgsbStatus advance(Lanes* lanes, double f, const View& gradient, const View& x) override;
  void best(Lanes* lanes, const View& x) const override;

  const char* reason() const override { return reason_; }
  double value() const override { return f_; }
  double projected_gradient_norm() const override { return norm_; }
  int64_t iterations() const override { return iterations_; }
  int64_t evaluations() const override { return evaluations_; }
  int64_t bytes() const override { return bytes_; }

 private:
  enum class Phase { idle, first, searching, done };

  // What every pass is made of.
  template <typename Body>
  void each(Lanes* lanes, const Body& body) const;
  template <typename Body>
  const double* sum(Lanes* lanes, int64_t sums, int64_t minima, const Body& body);

  // From one call to the next.
  LbfgsbStatus take(Lanes* lanes, double f, const double* gradient, double* x);
  LbfgsbStatus search(Lanes* lanes, LbfgsbStatus status, double* x);
  LbfgsbStatus finish(Lanes* lanes, LbfgsbStatus status, double* x);

  // From an iterate to the target of its line search.
  bool find_target(Lanes* lanes);
  void find_cauchy_point(Lanes* lanes);
  void sort_breaks_to_buckets(Lanes* lanes, double around);
  void walk(Lanes* lanes, Path& path);
  void sum_bucket(int64_t bucket, Change& change) const;
  bool may_end(const Path& path, const Change& change) const;
  bool walk_bucket(int64_t bucket, Path& path) const;
  double minimizer(const Path& path, double pmp, double pmr) const;
  bool find_subspace_step(Lanes* lanes);
  void write_target(Lanes* lanes, double fraction);

  double* row(int64_t i) const { return w_ + i * stride_; }
  void prefetch(int64_t i) const {
    __builtin_prefetch(&g_[i]);
    for (int64_t k = 0; k < pairs_.width(); k += 8) __builtin_prefetch(row(i) + k);
  }
  /// t where the path reaches a bound: 0 if x is at it, infinity if there is none.
  double break_of(int64_t i) const {
    const double g = g_[i];
    return g == 0 ? kInfinity : (x_[i] - (g < 0 ? upper_[i] : lower_[i])) / g;
  }
  double cauchy_point(int64_t i) const {
    const double g = g_[i];
    if (break_of(i) <= t_) return g < 0 ? upper_[i] : lower_[i];
    return std::clamp(x_[i] - t_ * g, lower_[i], upper_[i]);
  }
  /// On the line to the target, which is met exactly, inside the box.
  double on_line(int64_t i, double step) const {
    return step == 1 ? target_[i] : std::clamp(x_[i] + step * (target_[i] - x_[i]), lower_[i], upper_[i]);
  }

  const int64_t n_;
  const LbfgsbSpec spec_;
  Pairs pairs_;
  const int64_t stride_;  // of W's rows

  // One piece of memory: [n] each, and W; the target takes the place of the break points.
  int64_t bytes_ = 0;
  void* memory_ = nullptr;
  double *lower_ = nullptr, *upper_ = nullptr, *x_ = nullptr, *g_ = nullptr, *target_ = nullptr, *w_ = nullptr;
  Break* breaks_ = nullptr;
  double* block_sums_ = nullptr;
  uint32_t* places_ = nullptr;          // [blocks, buckets]: the number of break points, then where the next one goes
  std::vector<int64_t> bucket_begins_;  // [buckets + 1]
  std::vector<Change> changes_;         // of the buckets of a wave

  // Of the iterate.
  double f_ = NAN, norm_ = NAN;
  Path begin_{};             // at t = 0
  double first_break_ = 0;   // above 0
  bool endless_ = false;     // whether some variable moves on for ever
  double t_ = 0;             // of the Cauchy point
  double model_[kMaxWidth];  // M W^T (Cauchy point - x)
  double step_[kMaxWidth];   // what a free variable's row is multiplied by for its step from the Cauchy point
  double slope_ = 0, length_ = 0, longest_ = 0;  // to the target: g^T d, ||d||, and how far the box reaches
  double inside_ = 0;        // the fraction of the steps from the Cauchy point that the box holds

  bool bounded_ = false, boxed_ = false;  // some variable has a bound; every one has two
  LineSearch line_;
  int32_t line_evaluations_ = 0;
  Phase phase_ = Phase::idle;
  int64_t iterations_ = 0, evaluations_ = 0;
  const char* reason_ = "not started";
  char text_[160] = {};
};

HostLbfgsb::HostLbfgsb(int64_t n, const LbfgsbSpec& spec)
    : n_(n), spec_(spec), pairs_(spec.memory), stride_(pairs_.max_width()), bucket_begins_(kBuckets + 1),
      changes_(kWaveBuckets) {
  const int64_t blocks = blocks_of<kBlock>(n), vector = (n + 7) / 8 * 8;  // 64 bytes
  const int64_t sums = blocks * std::max(stride_ * (stride_ + 1), 2 * stride_ + 3);
  bytes_ = 8 * (vector * (6 + stride_) + sums) + 4 * blocks * kBuckets;
  memory_ = allocate_huge(bytes_);
  lower_ = static_cast<double*>(memory_);
  upper_ = lower_ + vector;
  x_ = upper_ + vector;
  g_ = x_ + vector;
  target_ = g_ + vector;
  breaks_ = reinterpret_cast<Break*>(target_);
  w_ = target_ + 2 * vector;
  block_sums_ = w_ + stride_ * vector;
  places_ = reinterpret_cast<uint32_t*>(block_sums_ + sums);
}

/// body(first, count) on every block.
template <typename Body>
void HostLbfgsb::each(Lanes* lanes, const Body& body) const {
  for_blocks<kBlock>(lanes, n_, [&](int64_t, int64_t first, int64_t count) { body(first, count); });
}

/// body(first, count, results) on every block, which adds to `sums` numbers and lowers `minima` more behind them; then
/// these over all blocks, in order.
template <typename Body>
const double* HostLbfgsb::sum(Lanes* lanes, int64_t sums, int64_t minima, const Body& body) {
  const int64_t width = sums + minima;
  for_blocks<kBlock>(lanes, n_, [&](int64_t block, int64_t first, int64_t count) {
    double* const results = block_sums_ + block * width;
    std::fill(results, results + sums, 0.0);
    std::fill(results + sums, results + width, kInfinity);
    body(first, count, results);
  });
  double* const total = block_sums_;
  for (int64_t block = 1; block < blocks_of<kBlock>(n_); ++block) {
    const double* const results = total + block * width;
    for (int64_t k = 0; k < sums; ++k) total[k] += results[k];
    for (int64_t k = sums; k < width; ++k) total[k] = std::min(total[k], results[k]);
  }
  return total;
}

void HostLbfgsb::start(Lanes* lanes, const View& x, const View& lower, const View& upper) {
  check_view(kName, "x", x, n_, DataType::f64);
  check_view(kName, "lower", lower, n_, DataType::f64);
  check_view(kName, "upper", upper, n_, DataType::f64);
  phase_ = Phase::idle;
  reason_ = "not started";
  const double *const low = lower.as<double>(), *const high = upper.as<double>();
  double* const at = x.as<double>();
  const double* const found = sum(lanes, 2, 2, [&](int64_t first, int64_t count, double* results) {
    for (int64_t i = first; i < first + count; ++i) {
      const bool fits = low[i] <= high[i] && low[i] < kInfinity && high[i] > -kInfinity;
      const double place = static_cast<double>(i);
      if (!fits) results[2] = std::min(results[2], place);
      lower_[i] = low[i];
      upper_[i] = high[i];
      target_[i] = fits ? std::clamp(at[i], low[i], high[i]) : 0;
      if (!std::isfinite(target_[i])) results[3] = std::min(results[3], place);
      results[0] += low[i] > -kInfinity || high[i] < kInfinity ? 1 : 0;
      results[1] += low[i] > -kInfinity && high[i] < kInfinity ? 1 : 0;
    }
    std::fill(row(first), row(first + count), 0.0);
  });
  if (found[2] < kInfinity) {
    const auto i = static_cast<int64_t>(found[2]);
    fail(kName, "lower <= upper with a finite number between them", text(low[i], " and ", high[i], " at ", i));
  }
  if (found[3] < kInfinity) {
    const auto i = static_cast<int64_t>(found[3]);
    fail(kName, "a finite x", text(at[i], " at ", i));
  }
  bounded_ = found[0] > 0;
  boxed_ = found[1] == static_cast<double>(n_);
  each(lanes, [&](int64_t first, int64_t count) {
    std::copy(target_ + first, target_ + first + count, x_ + first);
    std::copy(target_ + first, target_ + first + count, at + first);
  });
  pairs_.clear(spec_.initial_scale);
  f_ = norm_ = NAN;
  iterations_ = evaluations_ = 0;
  phase_ = Phase::first;
  reason_ = "started";
}

LbfgsbStatus HostLbfgsb::advance(Lanes* lanes, double f, const View& gradient, const View& x) {
  if (phase_ != Phase::first && phase_ != Phase::searching) {
    fail(kName, "start before advance", phase_ == Phase::idle ? "none" : text("a search that is over: ", reason_));
  }
  check_view(kName, "gradient", gradient, n_, DataType::f64);
  check_view(kName, "x", x, n_, DataType::f64);
  const double* const g = gradient.as<double>();
  double* const next = x.as<double>();

  if (phase_ == Phase::first) {
    const double* const found = sum(lanes, 0, 1, [&](int64_t first, int64_t count, double* results) {
      for (int64_t i = first + count - 1; i >= first; --i) {
        if (!std::isfinite(g[i])) results[0] = static_cast<double>(i);
        g_[i] = g[i];  // so that the first iterate is no change from the one before
      }
    });
    if (!std::isfinite(f)) fail(kName, "a finite value at the first point", text(f));
    if (found[0] < kInfinity) {
      const auto i = static_cast<int64_t>(found[0]);
      fail(kName, "a finite gradient at the first point", text(g[i], " at ", i));
    }
    evaluations_ = 1;
    return take(lanes, f, g, next);
  }

  ++evaluations_;
  ++line_evaluations_;
  const double slope = *sum(lanes, 1, 0, [&](int64_t first, int64_t count, double* results) {
    for (int64_t i = first; i < first + count; ++i) *results += g[i] * (target_[i] - x_[i]);
  });
  LineSearch::State state = LineSearch::State::evaluate;
  if (std::isfinite(f) && std::isfinite(slope)) {
    state = line_.advance(f, slope);
  } else {
    line_.shorten();
  }
  if (state == LineSearch::State::done) return take(lanes, f, g, next);
  if (state == LineSearch::State::evaluate && line_evaluations_ < spec_.max_line_search) {
    each(lanes, [&](int64_t first, int64_t count) {
      for (int64_t i = first; i < first + count; ++i) next[i] = on_line(i, line_.step());
    });
    reason_ = "a step of the line search";
    return LbfgsbStatus::evaluate;
  }
  if (pairs_.empty()) {
    std::snprintf(text_, sizeof text_, "no step along the projected gradient was better, of %d that were tried",
                  line_evaluations_);
    return finish(lanes, LbfgsbStatus::line_search_failed, next);
  }
  pairs_.clear(spec_.initial_scale);
  return search(lanes, LbfgsbStatus::evaluate, next);
}

/// Makes the point of the line search that was evaluated last the iterate, and goes on from there.
LbfgsbStatus HostLbfgsb::take(Lanes* lanes, double f, const double* gradient, double* next) {
  const bool first_point = phase_ == Phase::first;
  const double step = first_point ? 1 : line_.step();
  const double* found = sum(lanes, 2, 1, [&](int64_t first, int64_t count, double* results) {
    for (int64_t i = first; i < first + count; ++i) {
      const double at = on_line(i, step), g = gradient[i], y = g - g_[i];
      results[0] += (at - x_[i]) * y;
      results[1] += y * y;
      results[2] = std::min(results[2], -std::abs(std::clamp(at - g, lower_[i], upper_[i]) - at));
    }
  });
  const double yy = found[1];
  const bool add = yy > 0 && found[0] > kRounding * yy && yy < kInfinity;  // equation 3.9
  norm_ = -found[2];

  // One pass moves the iterate, writes the pair, and reads what the walk begins with.
  const int64_t width = add ? pairs_.width_with_next() : pairs_.width(), column = pairs_.next_column();
  found = sum(lanes, 2 * width + 2, 1, [&](int64_t first, int64_t count, double* results) {
    double *const products = results, *const p = results + width, *const others = results + 2 * width;
    for (int64_t i = first; i < first + count; ++i) {
      const double at = on_line(i, step), g = gradient[i];
      double* const w = row(i);
      if (add) {
        w[column] = g - g_[i];
        w[column + 1] = at - x_[i];
        add_row(at - x_[i], w, width, products);
      }
      x_[i] = at;
      g_[i] = g;
      const double t = break_of(i);
      if (g == 0 || t <= 0) continue;
      add_row(-g, w, width, p);
      others[0] += g * g;
      others[1] += t == kInfinity ? 1 : 0;
      others[2] = std::min(others[2], t);
    }
  });
  if (add) pairs_.add(found, yy);
  begin_.t = 0;
  begin_.gg = found[2 * width];
  std::copy(found + width, found + 2 * width, begin_.p);
  std::fill(begin_.r, begin_.r + width, 0.0);
  endless_ = found[2 * width + 1] > 0;
  first_break_ = found[2 * width + 2];

  const double before = f_;
  f_ = f;
  if (!first_point) ++iterations_;
  if (norm_ <= spec_.pgtol) {
    std::snprintf(text_, sizeof text_, "the projected gradient, %g, is at most %g", norm_, spec_.pgtol);
    return finish(lanes, LbfgsbStatus::converged_gradient, next);
  }
  const double unit = kRounding * std::max({std::abs(before), std::abs(f), 1.0});
  if (!first_point && before - f <= spec_.factr * unit) {
    std::snprintf(text_, sizeof text_, "the value fell by %g, at most %g roundings", before - f, spec_.factr);
    return finish(lanes, LbfgsbStatus::converged_value, next);
  }
  return search(lanes, first_point ? LbfgsbStatus::evaluate : LbfgsbStatus::iterated, next);
}

/// Begins a line search from the iterate.
LbfgsbStatus HostLbfgsb::search(Lanes* lanes, LbfgsbStatus status, double* next) {
  while (!find_target(lanes)) {
    if (pairs_.empty()) {
      std::snprintf(text_, sizeof text_, "the projected gradient, %g, is no direction of descent", norm_);
      return finish(lanes, LbfgsbStatus::line_search_failed, next);
    }
    pairs_.clear(spec_.initial_scale);
  }
  const bool from_start = iterations_ == 0;
  const double longest = !bounded_ ? kLongestStep : from_start ? 1 : std::min(longest_, kLongestStep);
  line_.start(f_, slope_, from_start && !boxed_ ? std::min(1 / length_, longest) : 1, longest);
  line_evaluations_ = 0;
  each(lanes, [&](int64_t first, int64_t count) {
    for (int64_t i = first; i < first + count; ++i) next[i] = on_line(i, line_.step());
  });
  phase_ = Phase::searching;
  reason_ = status == LbfgsbStatus::iterated ? "a new iterate" : "a step of the line search";
  return status;
}

LbfgsbStatus HostLbfgsb::finish(Lanes* lanes, LbfgsbStatus status, double* next) {
  each(lanes, [&](int64_t first, int64_t count) { std::copy(x_ + first, x_ + first + count, next + first); });
  phase_ = Phase::done;
  reason_ = text_;
  return status;
}

void HostLbfgsb::best(Lanes* lanes, const View& x) const {
  if (phase_ == Phase::idle) fail(kName, "start before best", "none");
  check_view(kName, "x", x, n_, DataType::f64);
  double* const to = x.as<double>();
  each(lanes, [&](int64_t first, int64_t count) { std::copy(x_ + first, x_ + first + count, to + first); });
}

/// The minimizer of the model. False where it is not below the iterate to first order, or B is not positive.
bool HostLbfgsb::find_target(Lanes* lanes) {
  if (!pairs_.factor()) return false;
  find_cauchy_point(lanes);
  if (!pairs_.empty() && !find_subspace_step(lanes)) return false;
  write_target(lanes, 1);
  // Steps that are projected one by one may lead up: then all are cut alike (Morales & Nocedal, Section 2).
  if (!pairs_.empty() && !(slope_ < 0)) write_target(lanes, inside_);
  return slope_ < 0 && slope_ > -kInfinity;
}

/// Algorithm CP: the first local minimizer of the model along the path.
void HostLbfgsb::find_cauchy_point(Lanes* lanes) {
  if (pairs_.empty()) {
    t_ = 1 / pairs_.theta();
    return;
  }
  const int64_t width = pairs_.width();
  double product[kMaxWidth];
  multiply(pairs_.middle(), begin_.p, width, product);
  t_ = minimizer(begin_, dot(product, begin_.p, width), 0);
  Path path = begin_;
  if (t_ >= first_break_) {
    sort_breaks_to_buckets(lanes, t_);
    walk(lanes, path);
    t_ = path.t;
  }
  for (int64_t k = 0; k < width; ++k) product[k] = t_ * path.p[k] - path.r[k];
  multiply(pairs_.middle(), product, width, model_);
}

/// t where the model's slope along this part of the path is 0, from p M p and p M r; the slope is
/// (theta gg - p M p) t - (gg - p M r).
double HostLbfgsb::minimizer(const Path& path, double pmp, double pmr) const {
  const double theta = pairs_.theta();
  return (path.gg - pmr) / std::max(theta * path.gg - pmp, kRounding * theta * begin_.gg);
}

void HostLbfgsb::sort_breaks_to_buckets(Lanes* lanes, double around) {
  const int64_t origin = std::bit_cast<int64_t>(std::ldexp(around, -kOctavesBelow));
  const auto visit = [&](int64_t first, int64_t count, const auto& body) {
    uint32_t* const places = places_ + first / kBlock * kBuckets;
    for (int64_t i = first; i < first + count; ++i) {
      const double t = break_of(i);
      if (!(t > 0 && t < kInfinity)) continue;
      // Positive doubles are in the order of their bits.
      const int64_t bucket = (std::bit_cast<int64_t>(t) - origin) >> kBucketShift;
      body(places[std::clamp<int64_t>(bucket, 0, kBuckets - 1)], t, i);
    }
  };
  each(lanes, [&](int64_t first, int64_t count) {
    uint32_t* const places = places_ + first / kBlock * kBuckets;
    std::fill(places, places + kBuckets, 0);
    visit(first, count, [](uint32_t& place, double, int64_t) { ++place; });
  });
  int64_t all = 0;
  for (int64_t bucket = 0; bucket < kBuckets; ++bucket) {
    bucket_begins_[static_cast<size_t>(bucket)] = all;
    for (int64_t block = 0; block < blocks_of<kBlock>(n_); ++block) {
      uint32_t& place = places_[block * kBuckets + bucket];
      const uint32_t count = place;
      place = static_cast<uint32_t>(all);
      all += count;
    }
  }
  bucket_begins_[kBuckets] = all;
  each(lanes, [&](int64_t first, int64_t count) {
    visit(first, count, [&](uint32_t& place, double t, int64_t i) { breaks_[place++] = {t, i}; });
  });
}

/// From the beginning of a path to where the walk along its break points ends. It goes point by point, in order, only
/// where it may end; any other bucket changes the path by its sums.
void HostLbfgsb::walk(Lanes* lanes, Path& path) {
  const int64_t width = pairs_.width();
  const auto size = [&](int64_t bucket) {
    return bucket_begins_[static_cast<size_t>(bucket) + 1] - bucket_begins_[static_cast<size_t>(bucket)];
  };
  int64_t wave[kWaveBuckets];
  for (int64_t bucket = 0; bucket < kBuckets;) {
    int64_t buckets = 0;
    for (int64_t breaks = 0; bucket < kBuckets && buckets < kWaveBuckets && breaks < kWaveBreaks; ++bucket) {
      if (size(bucket) > 0) wave[buckets++] = bucket;
      breaks += size(bucket);
    }
    for_blocks<1>(lanes, buckets,
                  [&](int64_t k, int64_t, int64_t) { sum_bucket(wave[k], changes_[static_cast<size_t>(k)]); });
    for (int64_t k = 0; k < buckets; ++k) {
      const Change& change = changes_[static_cast<size_t>(k)];
      if (may_end(path, change)) {
        Path inside = path;
        if (walk_bucket(wave[k], inside)) {
          path = inside;
          return;
        }
      }
      path.t = change.t;
      path.gg -= change.gg;
      add_row(1, change.p, width, path.p);
      add_row(1, change.r, width, path.r);
    }
  }
  if (endless_) {
    double product[kMaxWidth];
    multiply(pairs_.middle(), path.p, width, product);
    path.t = std::max(path.t, minimizer(path, dot(product, path.p, width), dot(product, path.r, width)));
  }
}

void HostLbfgsb::sum_bucket(int64_t bucket, Change& change) const {
  const int64_t width = pairs_.width();
  change.t = change.gg = 0;
  std::fill(change.p, change.p + width, 0.0);
  std::fill(change.r, change.r + width, 0.0);
  std::fill(change.spread, change.spread + width, 0.0);
  const int64_t end = bucket_begins_[static_cast<size_t>(bucket) + 1];
  for (int64_t k = bucket_begins_[static_cast<size_t>(bucket)]; k < end; ++k) {
    prefetch(breaks_[std::min(k + kAhead, end - 1)].index);
    const double t = breaks_[k].t, g = g_[breaks_[k].index];
    const double* const w = row(breaks_[k].index);
    change.t = std::max(change.t, t);
    change.gg += g * g;
    for (int64_t part = 0; part < width; part += kPart) {
      for (int64_t j = part; j < part + kPart; ++j) {
        const double gw = g * w[j];
        change.p[j] += gw;
        change.r[j] += t * gw;
        change.spread[j] += std::abs(gw);
      }
    }
  }
}

/// Whether the slope of the model may reach 0 on the way to the bucket's end. It is -gg (1 - theta t) - p M c with
/// c = W^T (x(t) - x); from the begin p moves by at most `spread` in each component, and c by s p, s at most the way,
/// and at most s `spread`.
bool HostLbfgsb::may_end(const Path& path, const Change& change) const {
  const int64_t width = pairs_.width();
  const double way = change.t - path.t;
  double c[kMaxWidth], mc[kMaxWidth], mp[kMaxWidth];
  for (int64_t k = 0; k < width; ++k) c[k] = path.t * path.p[k] - path.r[k];
  multiply(pairs_.middle(), c, width, mc);
  multiply(pairs_.middle(), path.p, width, mp);
  double slope = -dot(mc, path.p, width) + std::max(0.0, -way * dot(mp, path.p, width));
  for (int64_t i = 0; i < width; ++i) {
    double spread = std::abs(mc[i]) + 2 * way * std::abs(mp[i]);
    for (int64_t j = 0; j < width; ++j) spread += way * std::abs(pairs_.middle()[i * width + j]) * change.spread[j];
    slope += change.spread[i] * spread;
  }
  double fall = kInfinity;
  for (const double gg : {path.gg, path.gg - change.gg}) {
    for (const double t : {path.t, change.t}) fall = std::min(fall, gg * (1 - pairs_.theta() * t));
  }
  return !(slope < fall);
}

/// From where the bucket begins to its end, or, if true, to the minimizer, which is then path.t.
bool HostLbfgsb::walk_bucket(int64_t bucket, Path& path) const {
  Break* const begin = breaks_ + bucket_begins_[static_cast<size_t>(bucket)];
  Break* const end = breaks_ + bucket_begins_[static_cast<size_t>(bucket) + 1];
  std::sort(begin, end);
  const int64_t width = pairs_.width();
  double product[kMaxWidth];
  multiply(pairs_.middle(), path.p, width, product);
  double pmp = dot(product, path.p, width), pmr = dot(product, path.r, width);
  for (const Break* at = begin; at < end; ++at) {
    if (at->t > path.t) {
      const double t = minimizer(path, pmp, pmr);
      if (t < at->t) {
        path.t = std::max(path.t, t);
        return true;
      }
    }
    // The variable stays: p += g w, r += t g w.
    const double g = g_[at->index], t = at->t;
    const double* const w = row(at->index);
    multiply(pairs_.middle(), w, width, product);
    const double wmw = g * g * dot(product, w, width);
    const double wmp = g * dot(product, path.p, width), wmr = g * dot(product, path.r, width);
    pmp += 2 * wmp + wmw;
    pmr += wmr + t * (wmp + wmw);
    add_row(g, w, width, path.p);
    add_row(t * g, w, width, path.r);
    path.gg -= g * g;
    path.t = t;
  }
  return false;
}

/// Minimizes the model over the variables that the Cauchy point leaves free, by the Sherman-Morrison-Woodbury formula
/// (equation 5.11): the step of one is (row M W^T z - g - theta z) / theta - row solve(W^T of that) / theta^2.
bool HostLbfgsb::find_subspace_step(Lanes* lanes) {
  const int64_t width = pairs_.width();
  const double theta = pairs_.theta();
  const double* const found = sum(lanes, width * (width + 1), 0, [&](int64_t first, int64_t count, double* results) {
    double rows[kRows * kMaxWidth];
    int64_t gathered = 0;
    for (int64_t i = first; i < first + count; ++i) {
      const double cauchy = cauchy_point(i);
      if (!(lower_[i] < cauchy && cauchy < upper_[i])) continue;
      const double* const w = row(i);
      add_row(g_[i] + theta * (cauchy - x_[i]) - dot(w, model_, width), w, width, results);
      std::copy(w, w + width, rows + gathered * width);
      if (++gathered == kRows) {
        add_products(rows, gathered, width, results + width);
        gathered = 0;
      }
    }
    add_products(rows, gathered, width, results + width);
  });
  if (!pairs_.solve(found + width, found, step_)) return false;
  for (int64_t k = 0; k < width; ++k) step_[k] = model_[k] / theta - step_[k] / (theta * theta);
  return true;
}

/// The Cauchy point, and on from there by a fraction of the subspace step, projected.
void HostLbfgsb::write_target(Lanes* lanes, double fraction) {
  const int64_t width = pairs_.width();
  const double theta = pairs_.theta();
  const bool steps = !pairs_.empty();
  const double* const found = sum(lanes, 2, 2, [&](int64_t first, int64_t count, double* results) {
    for (int64_t i = first; i < first + count; ++i) {
      const double x = x_[i], low = lower_[i], high = upper_[i], cauchy = cauchy_point(i);
      double target = cauchy;
      if (steps && low < cauchy && cauchy < high) {
        const double step = dot(row(i), step_, width) - (g_[i] + theta * (cauchy - x)) / theta;
        target = std::clamp(cauchy + fraction * step, low, high);
        if (step != 0) results[3] = std::min(results[3], ((step > 0 ? high : low) - cauchy) / step);
      }
      target_[i] = target;
      const double d = target - x;
      results[0] += g_[i] * d;
      results[1] += d * d;
      if (d != 0) results[2] = std::min(results[2], ((d > 0 ? high : low) - x) / d);
    }
  });
  slope_ = found[0];
  length_ = std::sqrt(found[1]);
  longest_ = found[2];
  inside_ = std::min(1.0, found[3]);
}

}  // namespace

Lbfgsb* Lbfgsb::create(int64_t n, const LbfgsbSpec& spec) {
  check_positive(kName, "n", n);
  check_range(kName, "memory", spec.memory, 1, kMaxMemory);
  if (!(spec.initial_scale > 0 && spec.initial_scale < kInfinity)) {
    fail(kName, "a finite initial_scale above 0", text(spec.initial_scale));
  }
  if (!(spec.pgtol >= 0 && spec.pgtol < kInfinity)) fail(kName, "a finite pgtol of at least 0", text(spec.pgtol));
  if (!(spec.factr >= 0 && spec.factr < kInfinity)) fail(kName, "a finite factr of at least 0", text(spec.factr));
  check_range(kName, "max_line_search", spec.max_line_search, 1, kMaxDimension);
  return new HostLbfgsb(n, spec);
}

}  // namespace ghostbatch
