#pragma once

#include "ghostbatch/types.h"

namespace ghostbatch {

enum class PoolKind : int32_t { max = 0, average = 1 };

/// Pooling of [N,H,W,C] to [N,P,Q,C], P = floor((H + 2 pad_h + extra_h - window_h) / stride_h) + 1. Padding never wins a
/// maximum and does not count in an average (divisor: cells inside the image). Global pooling is a window of H x W.
/// Keras's `same` is P = ceil(H / stride_h): a padding of d = max(0, (P - 1) stride_h + window_h - H), pad_h = floor(d / 2)
/// of it above, the odd row below: extra_h = d mod 2.
struct PoolSpec {
  PoolKind kind = PoolKind::max;
  int64_t batch = 1;
  int64_t height = 1;
  int64_t width = 1;
  int64_t channels = 1;
  int64_t window_h = 1;  // at most 255 cells a window of a maximum
  int64_t window_w = 1;
  int64_t stride_h = 1;
  int64_t stride_w = 1;
  int64_t pad_h = 0;  // rows above and below, < window_h
  int64_t pad_w = 0;
  int64_t extra_h = 0;  // further rows below; pad_h + extra_h < window_h
  int64_t extra_w = 0;  // further columns on the right
  DataType type = DataType::f32;

  int64_t out_height() const { return (height + 2 * pad_h + extra_h - window_h) / stride_h + 1; }
  int64_t out_width() const { return (width + 2 * pad_w + extra_w - window_w) / stride_w + 1; }
  int64_t src_elements() const { return batch * height * width * channels; }
  int64_t dst_elements() const { return batch * out_height() * out_width() * channels; }
};

/// Pooling for one shape. Max pooling's workspace [dst_elements] u8 holds the winning cell (first in row order among
/// equals, as PyTorch); a NaN wins. Immutable; safe from several threads.
class Pooling : public Resource {
 public:
  /// `workspace` may be null where no backward follows, and for averages.
  void forward(const View& src, const View& dst, const View* workspace, int64_t rows) const;
  /// Overwrites diff_src.
  void backward(const View& diff_dst, const View& diff_src, const View* workspace, int64_t rows) const;
  const PoolSpec& spec() const { return spec_; }
  /// 0 for averages.
  int64_t workspace_elements() const { return spec_.kind == PoolKind::max ? spec_.dst_elements() : 0; }
  virtual const char* implementation() const = 0;

 protected:
  explicit Pooling(const PoolSpec& spec);
  virtual void do_forward(const View& src, const View& dst, const View* workspace, int64_t rows) const = 0;
  virtual void do_backward(const View& diff_dst, const View& diff_src, const View* workspace, int64_t rows) const = 0;

  PoolSpec spec_;
};

}  // namespace ghostbatch
