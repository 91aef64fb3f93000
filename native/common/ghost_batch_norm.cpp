#include "ghostbatch/ghost_batch_norm.h"

#include <cmath>

#include "common/check.h"

namespace ghostbatch {
namespace {

constexpr const char* kKernel = "ghost_batch_norm";

const GhostBatchNormSpec& checked(const GhostBatchNormSpec& spec) {
  check_activation_type(kKernel, spec.type);
  check_positive(kKernel, "batch", spec.batch);
  check_positive(kKernel, "height", spec.height);
  check_positive(kKernel, "width", spec.width);
  check_positive(kKernel, "channels", spec.channels);
  if (!(spec.epsilon > 0 && spec.epsilon < 1e30)) fail(kKernel, "epsilon above 0", text(spec.epsilon));
  check_product(kKernel, "src", spec.batch, spec.height, spec.width, spec.channels);
  return spec;
}

/// A statistic of a single value would normalize every value to beta.
void check_places(int64_t places) {
  if (places < 2) fail(kKernel, "ghosts of at least 2 values per channel", "1");
}

}  // namespace

GhostBatchNorm::GhostBatchNorm(const GhostBatchNormSpec& spec) : spec_(checked(spec)) {}

void GhostBatchNorm::check_activation(const char* what, const char* role, const View& view) const {
  check_view(what, role, view, spec_.elements(), spec_.type);
}

void GhostBatchNorm::check_channels(const char* what, const char* role, const View& view, int64_t rows,
                                    DataType type) const {
  check_view_holds(what, role, view, rows * spec_.channels, type);
}

void GhostBatchNorm::check_ghosts(const char* what, const int32_t* offsets, int32_t ghosts, const View& mean,
                                  const View& variance) const {
  check_pointer(what, "offsets", offsets);
  check_range(what, "ghosts", ghosts, 1, spec_.batch);
  if (offsets[0] != 0) fail(what, "offsets from 0", text(offsets[0]));
  for (int32_t ghost = 0; ghost < ghosts; ++ghost) {
    if (offsets[ghost + 1] <= offsets[ghost]) {
      fail(what, "offsets that rise", text(offsets[ghost], " then ", offsets[ghost + 1]));
    }
    if (offsets[ghost + 1] > spec_.batch) fail(what, text("offsets up to ", spec_.batch), text(offsets[ghost + 1]));
  }
  check_channels(what, "mean", mean, ghosts, parameter_type(spec_.type));
  check_channels(what, "variance", variance, ghosts, parameter_type(spec_.type));
}

void GhostBatchNorm::forward(const View& src, const View& gamma, const View& beta, const View* residual,
                             const View& dst, const View& mean, const View& variance, const int32_t* offsets,
                             int32_t ghosts) const {
  const DataType parameter = parameter_type(spec_.type);
  check_activation(kKernel, "src", src);
  check_view(kKernel, "gamma", gamma, spec_.channels, parameter);
  check_view(kKernel, "beta", beta, spec_.channels, parameter);
  check_presence(kKernel, "residual", residual, spec_.residual);
  if (residual != nullptr) check_activation(kKernel, "residual", *residual);
  check_activation(kKernel, "dst", dst);
  check_ghosts(kKernel, offsets, ghosts, mean, variance);
  for (int32_t ghost = 0; ghost < ghosts; ++ghost) {
    check_places((offsets[ghost + 1] - offsets[ghost]) * spec_.spatial());
  }
  do_forward(src, gamma, beta, residual, dst, mean, variance, offsets, ghosts);
}

void GhostBatchNorm::normalize(const View& src, const View& mean, const View& variance, const View& gamma,
                               const View& beta, const View* residual, const View& dst, const int32_t* offsets,
                               int32_t ghosts) const {
  const DataType parameter = parameter_type(spec_.type);
  check_activation(kKernel, "src", src);
  check_view(kKernel, "gamma", gamma, spec_.channels, parameter);
  check_view(kKernel, "beta", beta, spec_.channels, parameter);
  check_presence(kKernel, "residual", residual, spec_.residual);
  if (residual != nullptr) check_activation(kKernel, "residual", *residual);
  check_activation(kKernel, "dst", dst);
  check_ghosts(kKernel, offsets, ghosts, mean, variance);
  do_normalize(src, mean, variance, gamma, beta, residual, dst, offsets, ghosts);
}

void GhostBatchNorm::backward(const View& src, const View* dst, const View& diff_dst, const View* diff_dst2,
                              const View& mean, const View& variance, const View& gamma, const View& beta,
                              const View& diff_src, const View* diff_residual, const View& diff_gamma,
                              const View& diff_beta, const int32_t* offsets, int32_t ghosts,
                              bool constant_statistics) const {
  const DataType parameter = parameter_type(spec_.type);
  const bool masked_by_dst = spec_.relu && spec_.residual;
  check_activation(kKernel, "src", src);
  if (masked_by_dst) check_pointer(kKernel, "dst", dst);
  if (masked_by_dst) check_activation(kKernel, "dst", *dst);
  check_activation(kKernel, "diff_dst", diff_dst);
  if (!spec_.residual) check_presence(kKernel, "diff_dst2", diff_dst2, false);
  if (diff_dst2 != nullptr) check_activation(kKernel, "diff_dst2", *diff_dst2);
  check_view(kKernel, "gamma", gamma, spec_.channels, parameter);
  check_view(kKernel, "beta", beta, spec_.channels, parameter);
  check_activation(kKernel, "diff_src", diff_src);
  check_presence(kKernel, "diff_residual", diff_residual, spec_.residual);
  if (diff_residual != nullptr) check_activation(kKernel, "diff_residual", *diff_residual);
  check_view(kKernel, "diff_gamma", diff_gamma, spec_.channels, parameter);
  check_view(kKernel, "diff_beta", diff_beta, spec_.channels, parameter);
  check_ghosts(kKernel, offsets, ghosts, mean, variance);
  do_backward(src, masked_by_dst ? dst : nullptr, diff_dst, diff_dst2, mean, variance, gamma, beta, diff_src,
              diff_residual, diff_gamma, diff_beta, offsets, ghosts, constant_statistics);
}

void GhostBatchNorm::statistics(const View& src, int64_t rows, const View& partial) const {
  check_range(kKernel, "rows", rows, 1, spec_.batch);
  check_activation(kKernel, "src", src);
  check_channels(kKernel, "partial", partial, 2, DataType::f64);
  do_statistics(src, rows, partial);
}

void GhostBatchNorm::combine(const View& partials, const int32_t* rows, int32_t count, const View& mean,
                             const View& variance) const {
  check_pointer(kKernel, "rows", rows);
  check_positive(kKernel, "count", count);
  check_product(kKernel, "partials", int64_t{2} * count, spec_.channels);
  check_channels(kKernel, "partials", partials, int64_t{2} * count, DataType::f64);
  check_channels(kKernel, "mean", mean, 1, parameter_type(spec_.type));
  check_channels(kKernel, "variance", variance, 1, parameter_type(spec_.type));
  double places = 0;
  for (int32_t i = 0; i < count; ++i) {
    check_positive(kKernel, "rows", rows[i]);
    places += static_cast<double>(rows[i]) * static_cast<double>(spec_.spatial());
  }
  if (places < 2) check_places(1);
  do_combine(partials, rows, count, mean, variance);
}

void GhostBatchNorm::backward_sums(const View& src, const View* dst, const View& diff_dst, const View* diff_dst2,
                                   const View& mean, const View& variance, const View& gamma, const View& beta,
                                   const View* diff_residual, int64_t rows, const View& sums) const {
  const DataType parameter = parameter_type(spec_.type);
  const bool masked_by_dst = spec_.relu && spec_.residual;
  check_range(kKernel, "rows", rows, 1, spec_.batch);
  check_activation(kKernel, "src", src);
  if (masked_by_dst) check_pointer(kKernel, "dst", dst);
  if (masked_by_dst) check_activation(kKernel, "dst", *dst);
  check_activation(kKernel, "diff_dst", diff_dst);
  if (!spec_.residual) check_presence(kKernel, "diff_dst2", diff_dst2, false);
  if (diff_dst2 != nullptr) check_activation(kKernel, "diff_dst2", *diff_dst2);
  check_channels(kKernel, "mean", mean, 1, parameter);
  check_channels(kKernel, "variance", variance, 1, parameter);
  check_view(kKernel, "gamma", gamma, spec_.channels, parameter);
  check_view(kKernel, "beta", beta, spec_.channels, parameter);
  check_presence(kKernel, "diff_residual", diff_residual, spec_.residual);
  if (diff_residual != nullptr) check_activation(kKernel, "diff_residual", *diff_residual);
  check_channels(kKernel, "sums", sums, 2, DataType::f64);
  do_backward_sums(src, masked_by_dst ? dst : nullptr, diff_dst, diff_dst2, mean, variance, gamma, beta, diff_residual,
                   rows, sums);
}

void GhostBatchNorm::backward_apply(const View& src, const View& diff_dst, const View& mean, const View& variance,
                                    const View& gamma, const View& beta, const View* diff_residual, const View& sums,
                                    int64_t ghost_rows, int64_t rows, const View& diff_src) const {
  const DataType parameter = parameter_type(spec_.type);
  check_range(kKernel, "rows", rows, 1, spec_.batch);
  check_range(kKernel, "ghost_rows", ghost_rows, rows, kMaxDimension);
  check_activation(kKernel, "src", src);
  check_activation(kKernel, "diff_dst", diff_dst);
  check_channels(kKernel, "mean", mean, 1, parameter);
  check_channels(kKernel, "variance", variance, 1, parameter);
  check_view(kKernel, "gamma", gamma, spec_.channels, parameter);
  check_view(kKernel, "beta", beta, spec_.channels, parameter);
  check_presence(kKernel, "diff_residual", diff_residual, spec_.residual);
  if (diff_residual != nullptr) check_activation(kKernel, "diff_residual", *diff_residual);
  check_channels(kKernel, "sums", sums, 2, DataType::f64);
  check_activation(kKernel, "diff_src", diff_src);
  do_backward_apply(src, diff_dst, mean, variance, gamma, beta, diff_residual, sums, ghost_rows, rows, diff_src);
}

namespace {

template <typename T>
void fold(const View& weights, const View& bias, const View& gamma, const View& beta, const View& mean,
          const View& variance, double epsilon) {
  const int64_t rows = bias.elements, row_elements = weights.elements / rows;
  for (int64_t k = 0; k < rows; ++k) {
    const double factor = gamma.as<T>()[k] / std::sqrt(static_cast<double>(variance.as<T>()[k]) + epsilon);
    T* const row = weights.as<T>() + k * row_elements;
    for (int64_t i = 0; i < row_elements; ++i) row[i] = static_cast<T>(row[i] * factor);
    T& b = bias.as<T>()[k];
    b = static_cast<T>(beta.as<T>()[k] + (static_cast<double>(b) - mean.as<T>()[k]) * factor);
  }
}

template <typename T>
void update(const View& running_mean, const View& running_variance, const View& mean, const View& variance,
            const int64_t* places, int32_t ghosts, double momentum) {
  const int64_t channels = running_mean.elements;
  for (int32_t ghost = 0; ghost < ghosts; ++ghost) {
    const double unbias = static_cast<double>(places[ghost]) / static_cast<double>(places[ghost] - 1);
    for (int64_t c = 0; c < channels; ++c) {
      T& m = running_mean.as<T>()[c];
      T& v = running_variance.as<T>()[c];
      // Rounded after each ghost: a batch in one call and in several has the same bits.
      m = static_cast<T>((1 - momentum) * m + momentum * mean.as<T>()[ghost * channels + c]);
      v = static_cast<T>((1 - momentum) * v + momentum * (unbias * variance.as<T>()[ghost * channels + c]));
    }
  }
}

}  // namespace

void fold_batch_norm(const View& weights, const View& bias, const View& gamma, const View& beta, const View& mean,
                     const View& variance, double epsilon) {
  const char* const kernel = "fold_batch_norm";
  check_parameter_type(kernel, "weights", weights.type);
  check_range(kernel, "elements of bias", bias.elements, 1, kMaxElements);
  check_view(kernel, "bias", bias, bias.elements, weights.type);
  if (weights.elements < bias.elements || weights.elements % bias.elements != 0) {
    fail(kernel, text("weights of ", bias.elements, " rows"), text(weights.elements, " elements"));
  }
  check_view(kernel, "weights", weights, weights.elements, weights.type);
  check_view(kernel, "gamma", gamma, bias.elements, weights.type);
  check_view(kernel, "beta", beta, bias.elements, weights.type);
  check_view(kernel, "mean", mean, bias.elements, weights.type);
  check_view(kernel, "variance", variance, bias.elements, weights.type);
  if (!(epsilon > 0 && epsilon < 1e30)) fail(kernel, "epsilon above 0", text(epsilon));
  if (weights.type == DataType::f64) {
    fold<double>(weights, bias, gamma, beta, mean, variance, epsilon);
  } else {
    fold<float>(weights, bias, gamma, beta, mean, variance, epsilon);
  }
}

void update_running_statistics(const View& running_mean, const View& running_variance, const View& mean,
                               const View& variance, const int64_t* places, int32_t ghosts, double momentum) {
  const char* const kernel = "update_running_statistics";
  const DataType type = running_mean.type;
  const int64_t channels = running_mean.elements;
  check_parameter_type(kernel, "running_mean", type);
  check_range(kernel, "channels", channels, 1, kMaxDimension);
  check_positive(kernel, "ghosts", ghosts);
  check_view(kernel, "running_mean", running_mean, channels, type);
  check_view(kernel, "running_variance", running_variance, channels, type);
  check_view_holds(kernel, "mean", mean, check_product(kernel, "mean", int64_t{ghosts}, channels), type);
  check_view_holds(kernel, "variance", variance, ghosts * channels, type);
  check_pointer(kernel, "places", places);
  for (int32_t ghost = 0; ghost < ghosts; ++ghost) {
    check_range(kernel, "places", places[ghost], 2, kMaxElements);
  }
  if (!(momentum >= 0 && momentum <= 1)) fail(kernel, "momentum in [0, 1]", text(momentum));
  if (type == DataType::f64) {
    update<double>(running_mean, running_variance, mean, variance, places, ghosts, momentum);
  } else {
    update<float>(running_mean, running_variance, mean, variance, places, ghosts, momentum);
  }
}

}  // namespace ghostbatch
