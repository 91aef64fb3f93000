// Ghost batch normalization (Hoffer, Hubara, Soudry 2017, arXiv 1705.08741, Algorithm 1), fused with ReLU and residual.
#pragma once

#include "ghostbatch/types.h"

namespace ghostbatch {

/// How batch norm gets its statistics.
enum class NormMode : int32_t {
  train = 0,             // of each ghost; running statistics are updated
  batch_statistics = 1,  // of each ghost; running statistics stay (second pass of SAM, batch-mode analysis)
  running = 2            // running statistics, constants in backward (evaluation, sharpness, Hessian)
};

/// How a batch of K ghosts moves the running statistics r; m is the momentum (weight of the new), s_k the ghosts'.
enum class RunningStatistics : int32_t {
  sequential = 0,  // r <- (1 - m) r + m s_k, for k = 1..K in order (Hoffer's code)
  averaged = 1,    // r <- (1 - m) r + m mean(s_k) (Keras)
  scaled = 2,      // as sequential with m / K (Composer)
  total = 3        // r <- (1 - m) r + m s, s of the whole batch by the law of total variance (Summers & Dinneen)
};

/// Normalizes [N,H,W,C] (or [N,C] with H = W = 1) per channel over each ghost:
///   y = act(gamma * (x - mean) / sqrt(variance + epsilon) + beta + residual), biased variance; act = ReLU or identity.
struct GhostBatchNormSpec {
  int64_t batch = 1;  // N: capacity in rows
  int64_t height = 1;
  int64_t width = 1;
  int64_t channels = 1;
  bool relu = false;
  bool residual = false;
  double epsilon = 1e-5;
  DataType type = DataType::f32;

  int64_t spatial() const { return height * width; }
  int64_t elements() const { return batch * height * width * channels; }
};

/// Fused ghost batch norm for one shape. Ghosts are runs of rows: ghost k is rows [offsets[k], offsets[k + 1]), with
/// offsets[0] == 0 and offsets[ghosts] <= N; rows beyond are neither read nor written. Statistics `mean` and `variance`
/// (biased) are [ghosts, C] of parameter_type. Immutable; safe from several threads; allocates nothing; same bits for
/// same input. Statistics are summed shifted by a value near the mean, in short f32 sums combined in double.
class GhostBatchNorm : public Resource {
 public:
  /// Statistics of each ghost, then `normalize`. Cost: reads src twice (once from cache), writes dst once.
  void forward(const View& src, const View& gamma, const View& beta, const View* residual, const View& dst,
               const View& mean, const View& variance, const int32_t* offsets, int32_t ghosts) const;

  /// dst from given statistics; `running` statistics are one ghost. dst may be src or residual.
  void normalize(const View& src, const View& mean, const View& variance, const View& gamma, const View& beta,
                 const View* residual, const View& dst, const int32_t* offsets, int32_t ghosts) const;

  /// diff_src, diff_residual, diff_gamma, diff_beta (all overwritten; the last two summed over the ghosts):
  ///   g = (diff_dst + diff_dst2) masked by ReLU, xhat = (x - mean) * rstd, m = places of the ghost,
  ///   diff_src = gamma * rstd / m * (m g - sum g - xhat * sum(g xhat)), diff_residual = g.
  /// `dst` is needed where the spec has relu and residual, else null: the mask is computed again from src.
  /// `diff_dst2` (may be null) and `diff_residual` belong to specs with a residual. diff_src may be diff_dst without
  /// residual; diff_residual may be diff_dst. With constant_statistics (mode `running`): diff_src = gamma * rstd * g.
  void backward(const View& src, const View* dst, const View& diff_dst, const View* diff_dst2, const View& mean,
                const View& variance, const View& gamma, const View& beta, const View& diff_src,
                const View* diff_residual, const View& diff_gamma, const View& diff_beta, const int32_t* offsets,
                int32_t ghosts, bool constant_statistics) const;

  // A ghost that spans micro-batches: partial sums per micro-batch, combined in order, then applied.

  /// partial [2, C] in f64: mean and sum of squared deviations of rows [0, rows).
  void statistics(const View& src, int64_t rows, const View& partial) const;
  /// mean, variance [C] from `count` partials (contiguous, [count, 2, C]) of rows[i] rows each, in order (Chan et al. 1983).
  void combine(const View& partials, const int32_t* rows, int32_t count, const View& mean, const View& variance) const;
  /// sums [2, C] in f64: sum g, sum g xhat over rows [0, rows); writes g to diff_residual where the spec has a residual.
  void backward_sums(const View& src, const View* dst, const View& diff_dst, const View* diff_dst2, const View& mean,
                     const View& variance, const View& gamma, const View& beta, const View* diff_residual, int64_t rows,
                     const View& sums) const;
  /// diff_src of rows [0, rows) from the sums over all `ghost_rows` rows of the ghost; g is read from diff_residual
  /// where the spec has a residual, else computed from diff_dst.
  void backward_apply(const View& src, const View& diff_dst, const View& mean, const View& variance, const View& gamma,
                      const View& beta, const View* diff_residual, const View& sums, int64_t ghost_rows, int64_t rows,
                      const View& diff_src) const;

  const GhostBatchNormSpec& spec() const { return spec_; }
  virtual const char* implementation() const = 0;

 protected:
  explicit GhostBatchNorm(const GhostBatchNormSpec& spec);

  // The calls above, with arguments that were checked. Offsets and rows are the host's; what views hold may lie where
  // it cannot look. `dst` of a backward is null where the mask is computed again from src.
  virtual void do_forward(const View& src, const View& gamma, const View& beta, const View* residual, const View& dst,
                          const View& mean, const View& variance, const int32_t* offsets, int32_t ghosts) const = 0;
  virtual void do_normalize(const View& src, const View& mean, const View& variance, const View& gamma, const View& beta,
                            const View* residual, const View& dst, const int32_t* offsets, int32_t ghosts) const = 0;
  virtual void do_backward(const View& src, const View* dst, const View& diff_dst, const View* diff_dst2,
                           const View& mean, const View& variance, const View& gamma, const View& beta,
                           const View& diff_src, const View* diff_residual, const View& diff_gamma,
                           const View& diff_beta, const int32_t* offsets, int32_t ghosts,
                           bool constant_statistics) const = 0;
  virtual void do_statistics(const View& src, int64_t rows, const View& partial) const = 0;
  virtual void do_combine(const View& partials, const int32_t* rows, int32_t count, const View& mean,
                          const View& variance) const = 0;
  virtual void do_backward_sums(const View& src, const View* dst, const View& diff_dst, const View* diff_dst2,
                                const View& mean, const View& variance, const View& gamma, const View& beta,
                                const View* diff_residual, int64_t rows, const View& sums) const = 0;
  virtual void do_backward_apply(const View& src, const View& diff_dst, const View& mean, const View& variance,
                                 const View& gamma, const View& beta, const View* diff_residual, const View& sums,
                                 int64_t ghost_rows, int64_t rows, const View& diff_src) const = 0;

  GhostBatchNormSpec spec_;

 private:
  void check_ghosts(const char* what, const int32_t* offsets, int32_t ghosts, const View& mean, const View& variance) const;
  void check_activation(const char* what, const char* role, const View& view) const;
  void check_channels(const char* what, const char* role, const View& view, int64_t rows, DataType type) const;
};

/// Folds batch norm with running statistics into the layer before it, for inference:
///   weights[k] *= gamma[k] / sqrt(variance[k] + epsilon), bias[k] = beta[k] + (bias[k] - mean[k]) * the same factor.
/// All views f32 or all f64; weights hold K rows (KRSC or [out, in]); bias [K] is read and written. In place.
void fold_batch_norm(const View& weights, const View& bias, const View& gamma, const View& beta, const View& mean,
                     const View& variance, double epsilon);

/// Running statistics [C] moved by the ghosts' statistics [ghosts, C], one after another: r <- (1 - momentum) r +
/// momentum s, with the variance made unbiased by places / (places - 1), places[k] = values per channel of ghost k.
/// Host memory, any backend's statistics; f32 or f64.
void update_running_statistics(const View& running_mean, const View& running_variance, const View& mean,
                               const View& variance, const int64_t* places, int32_t ghosts, double momentum);

}  // namespace ghostbatch
