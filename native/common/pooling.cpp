#include "ghostbatch/pooling.h"

#include "common/check.h"

namespace ghostbatch {
namespace {

constexpr const char* kKernel = "pooling";

const PoolSpec& checked(const PoolSpec& spec) {
  if (spec.kind != PoolKind::max && spec.kind != PoolKind::average) {
    fail(kKernel, "kind max or average", text("kind ", static_cast<int32_t>(spec.kind)));
  }
  check_activation_type(kKernel, spec.type);
  check_positive(kKernel, "batch", spec.batch);
  check_positive(kKernel, "height", spec.height);
  check_positive(kKernel, "width", spec.width);
  check_positive(kKernel, "channels", spec.channels);
  check_positive(kKernel, "window_h", spec.window_h);
  check_positive(kKernel, "window_w", spec.window_w);
  check_positive(kKernel, "stride_h", spec.stride_h);
  check_positive(kKernel, "stride_w", spec.stride_w);
  // The winning cell of a maximum is kept in a byte.
  if (spec.kind == PoolKind::max && spec.window_h * spec.window_w > 255) {
    fail(kKernel, "at most 255 cells in the window of a maximum", text(spec.window_h, "x", spec.window_w));
  }
  check_range(kKernel, "pad_h", spec.pad_h, 0, spec.window_h - 1);
  check_range(kKernel, "pad_w", spec.pad_w, 0, spec.window_w - 1);
  check_range(kKernel, "extra_h", spec.extra_h, 0, spec.window_h - 1 - spec.pad_h);
  check_range(kKernel, "extra_w", spec.extra_w, 0, spec.window_w - 1 - spec.pad_w);
  check_range(kKernel, "window_h", spec.window_h, 1, spec.height + 2 * spec.pad_h + spec.extra_h);
  check_range(kKernel, "window_w", spec.window_w, 1, spec.width + 2 * spec.pad_w + spec.extra_w);
  check_product(kKernel, "src", spec.batch, spec.height, spec.width, spec.channels);
  check_product(kKernel, "dst", spec.batch, spec.out_height(), spec.out_width(), spec.channels);
  return spec;
}

void check_workspace(const PoolSpec& spec, int64_t elements, const View* workspace) {
  if (spec.kind == PoolKind::max && workspace != nullptr) {
    check_view(kKernel, "workspace", *workspace, elements, DataType::u8);
  }
}

}  // namespace

Pooling::Pooling(const PoolSpec& spec) : spec_(checked(spec)) {}

void Pooling::forward(const View& src, const View& dst, const View* workspace, int64_t rows) const {
  check_range(kKernel, "rows", rows, 0, spec_.batch);
  check_view(kKernel, "src", src, spec_.src_elements(), spec_.type);
  check_view(kKernel, "dst", dst, spec_.dst_elements(), spec_.type);
  check_workspace(spec_, workspace_elements(), workspace);
  do_forward(src, dst, spec_.kind == PoolKind::max ? workspace : nullptr, rows);
}

void Pooling::backward(const View& diff_dst, const View& diff_src, const View* workspace, int64_t rows) const {
  check_range(kKernel, "rows", rows, 0, spec_.batch);
  check_view(kKernel, "diff_dst", diff_dst, spec_.dst_elements(), spec_.type);
  check_view(kKernel, "diff_src", diff_src, spec_.src_elements(), spec_.type);
  if (spec_.kind == PoolKind::max) check_pointer(kKernel, "workspace", workspace);
  check_workspace(spec_, workspace_elements(), workspace);
  do_backward(diff_dst, diff_src, spec_.kind == PoolKind::max ? workspace : nullptr, rows);
}

}  // namespace ghostbatch
