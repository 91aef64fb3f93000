#include "common/host_ghost_batch_norm.h"

#include <algorithm>

#include "common/thread_buffer.h"

namespace ghostbatch {
namespace {

constexpr const char* kKernel = "ghost_batch_norm";

thread_local ThreadBuffer sums_buffer;

template <typename T>
void store(const View& view, int64_t first, const double* values, int64_t count) {
  T* const to = view.as<T>() + first;
  for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(values[i]);
}

/// Writes doubles into elements [first, first + count) of f32 or f64.
void store(const View& view, int64_t first, const double* values, int64_t count) {
  if (view.type == DataType::f64) {
    store<double>(view, first, values, count);
  } else {
    store<float>(view, first, values, count);
  }
}

}  // namespace

void HostGhostBatchNorm::do_forward(const View& src, const View& gamma, const View& beta, const View* residual,
                                    const View& dst, const View& mean, const View& variance, const int32_t* offsets,
                                    int32_t ghosts) const {
  const int64_t channels = spec_.channels;
  double* const ghost_mean = sums_buffer.at_least(kKernel, 2 * channels);
  double* const ghost_variance = ghost_mean + channels;
  for (int32_t ghost = 0; ghost < ghosts; ++ghost) {
    const Range range{offsets[ghost], offsets[ghost + 1] - offsets[ghost], ghost};
    range_statistics(src, range, ghost_mean, ghost_variance);
    const auto places = static_cast<double>(range.rows * spec_.spatial());
    for (int64_t c = 0; c < channels; ++c) ghost_variance[c] /= places;
    store(mean, ghost * channels, ghost_mean, channels);
    store(variance, ghost * channels, ghost_variance, channels);
    // The ghost is still in cache.
    range_normalize(src, mean, variance, gamma, beta, residual, dst, range);
  }
}

void HostGhostBatchNorm::do_normalize(const View& src, const View& mean, const View& variance, const View& gamma,
                                      const View& beta, const View* residual, const View& dst, const int32_t* offsets,
                                      int32_t ghosts) const {
  for (int32_t ghost = 0; ghost < ghosts; ++ghost) {
    range_normalize(src, mean, variance, gamma, beta, residual, dst,
                    Range{offsets[ghost], offsets[ghost + 1] - offsets[ghost], ghost});
  }
}

void HostGhostBatchNorm::do_backward(const View& src, const View* dst, const View& diff_dst, const View* diff_dst2,
                                     const View& mean, const View& variance, const View& gamma, const View& beta,
                                     const View& diff_src, const View* diff_residual, const View& diff_gamma,
                                     const View& diff_beta, const int32_t* offsets, int32_t ghosts,
                                     bool constant_statistics) const {
  const int64_t channels = spec_.channels;
  double* const sum_g = sums_buffer.at_least(kKernel, 4 * channels);
  double* const sum_g_xhat = sum_g + channels;
  double* const total_g = sum_g_xhat + channels;
  double* const total_g_xhat = total_g + channels;
  std::fill_n(total_g, 2 * channels, 0.0);
  for (int32_t ghost = 0; ghost < ghosts; ++ghost) {
    const Range range{offsets[ghost], offsets[ghost + 1] - offsets[ghost], ghost};
    range_backward_sums(src, dst, diff_dst, diff_dst2, mean, variance, gamma, beta, diff_residual, range, sum_g,
                        sum_g_xhat);
    for (int64_t c = 0; c < channels; ++c) {
      total_g[c] += sum_g[c];
      total_g_xhat[c] += sum_g_xhat[c];
    }
    range_backward_apply(src, diff_dst, mean, variance, gamma, beta, diff_residual,
                         constant_statistics ? nullptr : sum_g, constant_statistics ? nullptr : sum_g_xhat, range.rows,
                         diff_src, range);
  }
  store(diff_gamma, 0, total_g_xhat, channels);
  store(diff_beta, 0, total_g, channels);
}

void HostGhostBatchNorm::do_statistics(const View& src, int64_t rows, const View& partial) const {
  double* const mean = partial.as<double>();
  range_statistics(src, Range{0, rows, 0}, mean, mean + spec_.channels);
}

void HostGhostBatchNorm::do_combine(const View& partials, const int32_t* rows, int32_t count, const View& mean,
                                    const View& variance) const {
  const int64_t channels = spec_.channels;
  double* const total_mean = sums_buffer.at_least(kKernel, 2 * channels);
  double* const total_m2 = total_mean + channels;
  std::copy_n(partials.as<double>(), 2 * channels, total_mean);
  double n_a = static_cast<double>(rows[0]) * static_cast<double>(spec_.spatial());
  for (int32_t i = 1; i < count; ++i) {
    const double* const partial_mean = partials.as<double>() + 2 * i * channels;
    const double* const partial_m2 = partial_mean + channels;
    const double n_b = static_cast<double>(rows[i]) * static_cast<double>(spec_.spatial());
    const double n = n_a + n_b;
    for (int64_t c = 0; c < channels; ++c) {
      const double delta = partial_mean[c] - total_mean[c];
      total_mean[c] += delta * (n_b / n);
      total_m2[c] += partial_m2[c] + delta * delta * (n_a * (n_b / n));
    }
    n_a = n;
  }
  for (int64_t c = 0; c < channels; ++c) total_m2[c] /= n_a;
  store(mean, 0, total_mean, channels);
  store(variance, 0, total_m2, channels);
}

void HostGhostBatchNorm::do_backward_sums(const View& src, const View* dst, const View& diff_dst, const View* diff_dst2,
                                          const View& mean, const View& variance, const View& gamma, const View& beta,
                                          const View* diff_residual, int64_t rows, const View& sums) const {
  double* const sum_g = sums.as<double>();
  range_backward_sums(src, dst, diff_dst, diff_dst2, mean, variance, gamma, beta, diff_residual, Range{0, rows, 0},
                      sum_g, sum_g + spec_.channels);
}

void HostGhostBatchNorm::do_backward_apply(const View& src, const View& diff_dst, const View& mean,
                                           const View& variance, const View& gamma, const View& beta,
                                           const View* diff_residual, const View& sums, int64_t ghost_rows,
                                           int64_t rows, const View& diff_src) const {
  const double* const sum_g = sums.as<double>();
  range_backward_apply(src, diff_dst, mean, variance, gamma, beta, diff_residual, sum_g, sum_g + spec_.channels,
                       ghost_rows, diff_src, Range{0, rows, 0});
}

}  // namespace ghostbatch
