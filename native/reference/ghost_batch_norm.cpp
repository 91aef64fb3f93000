#include <algorithm>
#include <cmath>

#include "common/host_ghost_batch_norm.h"
#include "reference/kernels.h"

namespace ghostbatch::reference {
namespace {

template <typename T>
class ReferenceGhostBatchNorm final : public HostGhostBatchNorm {
 public:
  explicit ReferenceGhostBatchNorm(const GhostBatchNormSpec& spec) : HostGhostBatchNorm(spec) {}

  const char* implementation() const override { return "loops"; }

 protected:
  // Two passes: the mean, then squared deviations from it.
  void range_statistics(const View& src, Range range, double* mean, double* m2) const override {
    const T* const x = src.as<T>();
    const auto places = static_cast<double>(range.rows * spec_.spatial());
    std::fill_n(mean, spec_.channels, 0.0);
    std::fill_n(m2, spec_.channels, 0.0);
    for_elements(range, [&](int64_t i, int64_t c) { mean[c] += static_cast<double>(x[i]); });
    for (int64_t c = 0; c < spec_.channels; ++c) mean[c] /= places;
    for_elements(range, [&](int64_t i, int64_t c) {
      const double deviation = static_cast<double>(x[i]) - mean[c];
      m2[c] += deviation * deviation;
    });
  }

  void range_normalize(const View& src, const View& mean, const View& variance, const View& gamma, const View& beta,
                       const View* residual, const View& dst, Range range) const override {
    const Normalized normalized(*this, src, mean, variance, gamma, beta, range);
    for_elements(range, [&](int64_t i, int64_t c) {
      double y = normalized.y(i, c);
      if (residual != nullptr) y += static_cast<double>(residual->as<T>()[i]);
      dst.as<T>()[i] = static_cast<T>(spec_.relu ? rectify(y) : y);
    });
  }

  void range_backward_sums(const View& src, const View* dst, const View& diff_dst, const View* diff_dst2,
                           const View& mean, const View& variance, const View& gamma, const View& beta,
                           const View* diff_residual, Range range, double* sum_g, double* sum_g_xhat) const override {
    const Normalized normalized(*this, src, mean, variance, gamma, beta, range);
    std::fill_n(sum_g, spec_.channels, 0.0);
    std::fill_n(sum_g_xhat, spec_.channels, 0.0);
    for_elements(range, [&](int64_t i, int64_t c) {
      auto g = static_cast<double>(diff_dst.as<T>()[i]);
      if (diff_dst2 != nullptr) g = static_cast<Parameter<T>>(g + static_cast<double>(diff_dst2->as<T>()[i]));
      if (dst != nullptr) {
        if (!(static_cast<double>(dst->as<T>()[i]) > 0)) g = 0;
      } else {
        g = masked(g, normalized, i, c);
      }
      if (diff_residual != nullptr) diff_residual->as<T>()[i] = static_cast<T>(g);
      sum_g[c] += g;
      sum_g_xhat[c] += g * normalized.xhat(i, c);
    });
  }

  void range_backward_apply(const View& src, const View& diff_dst, const View& mean, const View& variance,
                            const View& gamma, const View& beta, const View* diff_residual, const double* sum_g,
                            const double* sum_g_xhat, int64_t ghost_rows, const View& diff_src,
                            Range range) const override {
    const Normalized normalized(*this, src, mean, variance, gamma, beta, range);
    const auto m = static_cast<double>(ghost_rows * spec_.spatial());
    for_elements(range, [&](int64_t i, int64_t c) {
      double centred = diff_residual != nullptr ? static_cast<double>(diff_residual->as<T>()[i])
                                                : masked(static_cast<double>(diff_dst.as<T>()[i]), normalized, i, c);
      if (sum_g != nullptr) centred -= (sum_g[c] + normalized.xhat(i, c) * sum_g_xhat[c]) / m;
      diff_src.as<T>()[i] = static_cast<T>(normalized.scale(c) * centred);
    });
  }

 private:
  /// xhat = (x - mean) rstd and y = gamma xhat + beta of the elements of one ghost.
  class Normalized {
   public:
    Normalized(const ReferenceGhostBatchNorm& norm, const View& src, const View& mean, const View& variance,
               const View& gamma, const View& beta, Range range)
        : x_(src.as<T>()),
          mean_(mean.as<Parameter<T>>() + range.ghost * norm.spec_.channels),
          variance_(variance.as<Parameter<T>>() + range.ghost * norm.spec_.channels),
          gamma_(gamma.as<Parameter<T>>()),
          beta_(beta.as<Parameter<T>>()),
          epsilon_(norm.spec_.epsilon) {}

    double rstd(int64_t c) const { return 1.0 / std::sqrt(static_cast<double>(variance_[c]) + epsilon_); }
    double scale(int64_t c) const { return static_cast<double>(gamma_[c]) * rstd(c); }
    double xhat(int64_t i, int64_t c) const {
      return (static_cast<double>(x_[i]) - static_cast<double>(mean_[c])) * rstd(c);
    }
    double y(int64_t i, int64_t c) const {
      return static_cast<double>(gamma_[c]) * xhat(i, c) + static_cast<double>(beta_[c]);
    }

   private:
    const T* x_;
    const Parameter<T>* mean_;
    const Parameter<T>* variance_;
    const Parameter<T>* gamma_;
    const Parameter<T>* beta_;
    double epsilon_;
  };

  /// g where ReLU let it through: the mask is computed again from src.
  double masked(double g, const Normalized& normalized, int64_t i, int64_t c) const {
    return spec_.relu && !(normalized.y(i, c) > 0) ? 0.0 : g;
  }

  /// body(i, c) for every element i of the range, of channel c.
  template <typename Body>
  void for_elements(Range range, const Body& body) const {
    const int64_t row_elements = spec_.spatial() * spec_.channels;
    int64_t i = range.first * row_elements;
    for (int64_t place = 0; place < range.rows * spec_.spatial(); ++place) {
      for (int64_t c = 0; c < spec_.channels; ++c) body(i++, c);
    }
  }
};

}  // namespace

GhostBatchNorm* make_ghost_batch_norm(const GhostBatchNormSpec& spec) {
  return with_type("ghost_batch_norm", spec.type, [&](auto element) -> GhostBatchNorm* {
    return new ReferenceGhostBatchNorm<decltype(element)>(spec);
  });
}

}  // namespace ghostbatch::reference
