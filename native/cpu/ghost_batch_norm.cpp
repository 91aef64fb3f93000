#include "common/host_ghost_batch_norm.h"
#include "cpu/kernels.h"
#include "cpu/simd.h"
#include "cpu/simd_type.h"

namespace ghostbatch::cpu {
namespace {

/// Ghost batch norm on own SIMD: f32 and bf16 activations, f32 statistics.
class SimdGhostBatchNorm final : public HostGhostBatchNorm {
 public:
  explicit SimdGhostBatchNorm(const GhostBatchNormSpec& spec)
      : HostGhostBatchNorm(spec),
        table_(*table_for("ghost_batch_norm", spec.type, simd_tables().ghost_batch_norm_f32,
                          simd_tables().ghost_batch_norm_bf16)),
        row_elements_(spec.spatial() * spec.channels),
        streams_(spec.batch * row_elements_ * size_of(spec.type) >= kStreamed) {}

  const char* implementation() const override { return simd_implementation(); }

 private:
  void range_statistics(const View& src, Range range, double* mean, double* m2) const override {
    table_.statistics(rows_of(src, range), range.rows * spec_.spatial(), spec_.channels, mean, m2);
  }

  void range_normalize(const View& src, const View& mean, const View& variance, const View& gamma, const View& beta,
                       const View* residual, const View& dst, Range range) const override {
    NormCall call = call_on(src, mean, variance, gamma, beta, range);
    call.residual = residual == nullptr ? nullptr : rows_of(*residual, range);
    call.out = rows_of(dst, range);
    table_.normalize(call);
  }

  void range_backward_sums(const View& src, const View* dst, const View& diff_dst, const View* diff_dst2,
                           const View& mean, const View& variance, const View& gamma, const View& beta,
                           const View* diff_residual, Range range, double* sum_g, double* sum_g_xhat) const override {
    NormCall call = call_on(src, mean, variance, gamma, beta, range);
    call.dst = dst == nullptr ? nullptr : rows_of(*dst, range);
    call.diff_dst = rows_of(diff_dst, range);
    call.diff_dst2 = diff_dst2 == nullptr ? nullptr : rows_of(*diff_dst2, range);
    call.out = diff_residual == nullptr ? nullptr : rows_of(*diff_residual, range);
    table_.backward_sums(call, sum_g, sum_g_xhat);
  }

  void range_backward_apply(const View& src, const View& diff_dst, const View& mean, const View& variance,
                            const View& gamma, const View& beta, const View* diff_residual, const double* sum_g,
                            const double* sum_g_xhat, int64_t ghost_rows, const View& diff_src,
                            Range range) const override {
    NormCall call = call_on(src, mean, variance, gamma, beta, range);
    // With a residual, diff_residual holds g, masked already.
    call.relu = spec_.relu && diff_residual == nullptr;
    call.diff_dst = rows_of(diff_residual == nullptr ? diff_dst : *diff_residual, range);
    call.sum_g = sum_g;
    call.sum_g_xhat = sum_g_xhat;
    call.ghost_places = ghost_rows * spec_.spatial();
    call.out = rows_of(diff_src, range);
    table_.backward_apply(call);
  }

  void* rows_of(const View& view, Range range) const {
    return view.as<char>() + range.first * row_elements_ * size_of(spec_.type);
  }

  NormCall call_on(const View& src, const View& mean, const View& variance, const View& gamma, const View& beta,
                   Range range) const {
    NormCall call{};
    call.places = range.rows * spec_.spatial();
    call.channels = spec_.channels;
    call.relu = spec_.relu;
    call.epsilon = spec_.epsilon;
    call.mean = mean.as<float>() + range.ghost * spec_.channels;
    call.variance = variance.as<float>() + range.ghost * spec_.channels;
    call.gamma = gamma.as<float>();
    call.beta = beta.as<float>();
    call.src = rows_of(src, range);
    call.stream = streams_;
    return call;
  }

  /// Bytes of a result whose beginning is out of the caches when its end is written: it need not go through them, and
  /// what it would overwrite need not be read.
  static constexpr int64_t kStreamed = 8 << 20;

  const GhostBatchNormTable& table_;
  const int64_t row_elements_;
  const bool streams_;
};

}  // namespace

GhostBatchNorm* make_ghost_batch_norm(const GhostBatchNormSpec& spec) {
  return new SimdGhostBatchNorm(spec);
}

}  // namespace ghostbatch::cpu
