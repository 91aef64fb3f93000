// Ghost batch norm in memory of the host: ghost after ghost, while each is in cache.
#pragma once

#include "ghostbatch/ghost_batch_norm.h"

namespace ghostbatch {

/// What the backends of the host share: their kernels work on one range of rows, with sums in double.
class HostGhostBatchNorm : public GhostBatchNorm {
 protected:
  using GhostBatchNorm::GhostBatchNorm;

  /// One ghost, or a part of one: `rows` rows from row `first`, with statistics `ghost` of mean and variance.
  struct Range {
    int64_t first, rows, ghost;
  };
  virtual void range_statistics(const View& src, Range range, double* mean, double* m2) const = 0;
  virtual void range_normalize(const View& src, const View& mean, const View& variance, const View& gamma,
                               const View& beta, const View* residual, const View& dst, Range range) const = 0;
  virtual void range_backward_sums(const View& src, const View* dst, const View& diff_dst, const View* diff_dst2,
                                   const View& mean, const View& variance, const View& gamma, const View& beta,
                                   const View* diff_residual, Range range, double* sum_g,
                                   double* sum_g_xhat) const = 0;
  /// sum_g and sum_g_xhat null: constant statistics.
  virtual void range_backward_apply(const View& src, const View& diff_dst, const View& mean, const View& variance,
                                    const View& gamma, const View& beta, const View* diff_residual,
                                    const double* sum_g, const double* sum_g_xhat, int64_t ghost_rows,
                                    const View& diff_src, Range range) const = 0;

 private:
  void do_forward(const View& src, const View& gamma, const View& beta, const View* residual, const View& dst,
                  const View& mean, const View& variance, const int32_t* offsets, int32_t ghosts) const final;
  void do_normalize(const View& src, const View& mean, const View& variance, const View& gamma, const View& beta,
                    const View* residual, const View& dst, const int32_t* offsets, int32_t ghosts) const final;
  void do_backward(const View& src, const View* dst, const View& diff_dst, const View* diff_dst2, const View& mean,
                   const View& variance, const View& gamma, const View& beta, const View& diff_src,
                   const View* diff_residual, const View& diff_gamma, const View& diff_beta, const int32_t* offsets,
                   int32_t ghosts, bool constant_statistics) const final;
  void do_statistics(const View& src, int64_t rows, const View& partial) const final;
  void do_combine(const View& partials, const int32_t* rows, int32_t count, const View& mean,
                  const View& variance) const final;
  void do_backward_sums(const View& src, const View* dst, const View& diff_dst, const View* diff_dst2, const View& mean,
                        const View& variance, const View& gamma, const View& beta, const View* diff_residual,
                        int64_t rows, const View& sums) const final;
  void do_backward_apply(const View& src, const View& diff_dst, const View& mean, const View& variance,
                         const View& gamma, const View& beta, const View* diff_residual, const View& sums,
                         int64_t ghost_rows, int64_t rows, const View& diff_src) const final;
};

}  // namespace ghostbatch
