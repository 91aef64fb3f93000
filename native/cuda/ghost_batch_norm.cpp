#include "cuda/ghost_batch_norm.h"

#include <algorithm>
#include <array>
#include <string>

#include "cuda/kernels.h"

namespace ghostbatch::cuda {
namespace {

/// Plans by the ghosts of a call, which a spec does not say: one for the most and the largest there can be would want
/// memory for both at once, and a plan costs less than the launch it is for.
class CudaGhostBatchNorm final : public GhostBatchNorm {
 public:
  CudaGhostBatchNorm(const Context& context, const GhostBatchNormSpec& spec)
      : GhostBatchNorm(spec), context_(context), implementation_(kCudaKernels) {
    const int32_t cluster = context.limits().cluster;
    if (cluster > 0) implementation_ += text(", clusters of ", cluster);
    norm::Capacity whole;
    whole.ghost_rows = static_cast<int32_t>(spec_.batch);
    whole.limits = context_.limits();
    norm::make_plan(spec_, whole, norm::Pass::backward);  // for its checks
  }

  const char* implementation() const override { return implementation_.c_str(); }

 private:
  void do_forward(const View& src, const View& gamma, const View& beta, const View* residual, const View& dst,
                  const View& mean, const View& variance, const int32_t* offsets, int32_t ghosts) const override {
    norm::Tensors tensors = tensors_of(src, mean, variance, gamma, beta);
    tensors.residual = data_of(residual);
    tensors.dst = dst.data;
    const auto lock = context_.lock();
    const norm::Plan plan = prepare(norm::Pass::forward, {ghosts, 0, 0}, offsets, tensors);
    norm::forward(plan, tensors, context_.stream());
  }

  void do_normalize(const View& src, const View& mean, const View& variance, const View& gamma, const View& beta,
                    const View* residual, const View& dst, const int32_t* offsets, int32_t ghosts) const override {
    norm::Tensors tensors = tensors_of(src, mean, variance, gamma, beta);
    tensors.residual = data_of(residual);
    tensors.dst = dst.data;
    const auto lock = context_.lock();
    const norm::Plan plan = prepare(norm::Pass::forward, {ghosts, 0, 0}, offsets, tensors);
    norm::normalize(plan, tensors, context_.stream());
  }

  void do_backward(const View& src, const View* dst, const View& diff_dst, const View* diff_dst2, const View& mean,
                   const View& variance, const View& gamma, const View& beta, const View& diff_src,
                   const View* diff_residual, const View& diff_gamma, const View& diff_beta, const int32_t* offsets,
                   int32_t ghosts, bool constant_statistics) const override {
    norm::Tensors tensors = tensors_of(src, mean, variance, gamma, beta);
    tensors.dst = data_of(dst);
    tensors.diff_dst = diff_dst.data;
    tensors.diff_dst2 = data_of(diff_dst2);
    tensors.diff_residual = data_of(diff_residual);
    tensors.diff_src = diff_src.data;
    tensors.diff_beta = diff_beta.as<float>();
    tensors.diff_gamma = diff_gamma.as<float>();
    const auto lock = context_.lock();
    if (constant_statistics && ghosts > 1) return backward_of_each(tensors, offsets, ghosts);
    const norm::Plan plan = prepare(norm::Pass::backward, {ghosts, constant_statistics ? 1 : 0, 0}, offsets, tensors);
    norm::backward(plan, tensors, context_.stream());
  }

  void do_statistics(const View& src, int64_t rows, const View& partial) const override {
    norm::Tensors tensors{};
    tensors.src = src.data;
    const auto lock = context_.lock();
    const norm::Plan plan = prepare_part(rows, 0, tensors);
    norm::statistics(plan, tensors, partial.as<double>(), context_.stream());
  }

  void do_combine(const View& partials, const int32_t* rows, int32_t count, const View& mean,
                  const View& variance) const override {
    const auto lock = context_.lock();
    const Stream stream = context_.stream();
    constexpr int64_t kSize = sizeof(int32_t);
    rows_.reserve((count + int64_t{1}) * kSize);
    copy_memory(rows_.as<int32_t>(), &count, kSize, stream);
    copy_memory(rows_.as<int32_t>(kSize), rows, count * kSize, stream);
    const norm::Plan plan = norm::make_plan(spec_, norm::Capacity(), norm::Pass::span);
    norm::combine(plan, partials.as<double>(), rows_.as<int32_t>(kSize), rows_.as<int32_t>(), mean.as<float>(),
                  variance.as<float>(), stream);
  }

  void do_backward_sums(const View& src, const View* dst, const View& diff_dst, const View* diff_dst2, const View& mean,
                        const View& variance, const View& gamma, const View& beta, const View* diff_residual,
                        int64_t rows, const View& sums) const override {
    norm::Tensors tensors = tensors_of(src, mean, variance, gamma, beta);
    tensors.dst = data_of(dst);
    tensors.diff_dst = diff_dst.data;
    tensors.diff_dst2 = data_of(diff_dst2);
    tensors.diff_residual = data_of(diff_residual);
    const auto lock = context_.lock();
    const norm::Plan plan = prepare_part(rows, 0, tensors);
    norm::backward_sums(plan, tensors, sums.as<double>(), context_.stream());
  }

  void do_backward_apply(const View& src, const View& diff_dst, const View& mean, const View& variance,
                         const View& gamma, const View& beta, const View* diff_residual, const View& sums,
                         int64_t ghost_rows, int64_t rows, const View& diff_src) const override {
    norm::Tensors tensors = tensors_of(src, mean, variance, gamma, beta);
    tensors.diff_dst = diff_dst.data;
    tensors.diff_residual = data_of(diff_residual);
    tensors.diff_src = diff_src.data;
    const auto lock = context_.lock();
    const norm::Plan plan = prepare_part(rows, static_cast<int32_t>(ghost_rows), tensors);
    norm::backward_apply(plan, tensors, sums.as<double>(), context_.stream());
  }

  /// Several ghosts with constants of their own: the kernels have one set of these for all ghosts of a launch.
  void backward_of_each(norm::Tensors tensors, const int32_t* offsets, int32_t ghosts) const {
    const Stream stream = context_.stream();
    norm::Plan plan = prepare(norm::Pass::span, {ghosts, 1, 0}, offsets, tensors);
    plan.ghosts = 1;
    sums_.reserve(int64_t{ghosts} * 2 * spec_.channels * static_cast<int64_t>(sizeof(double)));
    norm::Tensors of_ghost = tensors;
    for (int32_t ghost = 0; ghost < ghosts; ++ghost) {
      of_ghost.offsets = tensors.offsets + ghost;
      of_ghost.statistics.running_mean = tensors.statistics.mean + ghost * spec_.channels;
      of_ghost.statistics.running_variance = tensors.statistics.variance + ghost * spec_.channels;
      double* const sums = sums_.as<double>() + ghost * 2 * spec_.channels;
      norm::backward_sums(plan, of_ghost, sums, stream);
      norm::backward_apply(plan, of_ghost, sums, stream);
    }
    norm::combine_sums(plan, sums_.as<double>(), &tensors.step->ghosts, nullptr, tensors.diff_beta, tensors.diff_gamma,
                       stream);
  }

  static void* data_of(const View* view) { return view == nullptr ? nullptr : view->data; }

  /// Given statistics are the ghosts', or running ones of one ghost, as Step::running says.
  static norm::Tensors tensors_of(const View& src, const View& mean, const View& variance, const View& gamma,
                                  const View& beta) {
    norm::Tensors tensors{};
    tensors.src = src.data;
    tensors.statistics = {mean.as<float>(),     variance.as<float>(), mean.as<float>(),
                          variance.as<float>(), gamma.as<float>(),    beta.as<float>()};
    return tensors;
  }

  /// A plan for these ghosts, which go to the device, and its workspace.
  norm::Plan prepare(norm::Pass pass, const norm::Step& step, const int32_t* offsets, norm::Tensors& tensors) const {
    norm::Capacity capacity;
    capacity.ghosts = step.ghosts;
    capacity.limits = context_.limits();
    for (int32_t ghost = 0; ghost < step.ghosts; ++ghost) {
      capacity.ghost_rows = std::max(capacity.ghost_rows, offsets[ghost + 1] - offsets[ghost]);
    }
    for (const void* data : {tensors.src, tensors.residual, static_cast<const void*>(tensors.dst), tensors.diff_dst,
                             tensors.diff_dst2, static_cast<const void*>(tensors.diff_residual),
                             static_cast<const void*>(tensors.diff_src)}) {
      capacity.aligned = capacity.aligned && reinterpret_cast<uintptr_t>(data) % kPackBytes == 0;
    }
    const norm::Plan plan = norm::make_plan(spec_, capacity, pass);
    workspace_.reserve(plan.workspace_bytes());
    state_.reserve(kOffsets + (spec_.batch + 1) * static_cast<int64_t>(sizeof(int32_t)));
    tensors.workspace = workspace_.as<void>();
    tensors.step = state_.as<norm::Step>();
    tensors.offsets = state_.as<int32_t>(kOffsets);
    copy_memory(state_.as<void>(), &step, sizeof step, context_.stream());
    copy_memory(state_.as<void>(kOffsets), offsets, (step.ghosts + int64_t{1}) * static_cast<int64_t>(sizeof(int32_t)),
                context_.stream());
    return plan;
  }

  /// Likewise for rows [0, rows), all or a part of a ghost of `ghost_rows`.
  norm::Plan prepare_part(int64_t rows, int32_t ghost_rows, norm::Tensors& tensors) const {
    const std::array<int32_t, 2> offsets{0, static_cast<int32_t>(rows)};
    return prepare(norm::Pass::span, {1, 0, ghost_rows}, offsets.data(), tensors);
  }

  static constexpr int64_t kOffsets = 64;  // bytes before the offsets, for a Step

  const Context& context_;
  std::string implementation_;
  // None before the first call, as engines need but plans; then as large as the largest call.
  mutable DeviceMemory state_;  // Step and offsets
  mutable DeviceMemory workspace_;
  mutable DeviceMemory rows_;  // of the parts that are combined: how many, then theirs
  mutable DeviceMemory sums_;
};

}  // namespace

GhostBatchNorm* make_ghost_batch_norm(const Context& context, const GhostBatchNormSpec& spec) {
  return new CudaGhostBatchNorm(context, spec);
}

}  // namespace ghostbatch::cuda
