// Layers with weights: 2-D convolution and linear. Both are dst = weights * src + bias, so the engine sees one class.
#pragma once

#include "ghostbatch/types.h"

namespace ghostbatch {

/// 2-D convolution (cross-correlation, as PyTorch): src [N,H,W,C], weights [K,R,S,C/G], bias [K], dst [N,P,Q,K],
/// P = (H + 2 pad_h - dilation_h (R - 1) - 1) / stride_h + 1. groups == C is depthwise.
struct ConvolutionSpec {
  int64_t batch = 1;     // N: rows of the micro-batch; kernels always compute all of them
  int64_t channels = 1;  // C
  int64_t height = 1;    // H
  int64_t width = 1;     // W
  int64_t filters = 1;   // K
  int64_t kernel_h = 1;  // R
  int64_t kernel_w = 1;  // S
  int64_t stride_h = 1;
  int64_t stride_w = 1;
  int64_t pad_h = 0;  // rows of zeros above and below
  int64_t pad_w = 0;  // columns of zeros left and right
  int64_t dilation_h = 1;  // 1: dense filter
  int64_t dilation_w = 1;
  int64_t groups = 1;  // G
  bool bias = false;
  bool relu = false;  // dst = max(0, .); forward only, backward refuses it
  DataType type = DataType::f32;

  int64_t out_height() const { return (height + 2 * pad_h - dilation_h * (kernel_h - 1) - 1) / stride_h + 1; }
  int64_t out_width() const { return (width + 2 * pad_w - dilation_w * (kernel_w - 1) - 1) / stride_w + 1; }
  int64_t weights_elements() const { return filters * kernel_h * kernel_w * (channels / (groups < 1 ? 1 : groups)); }
  int64_t src_elements() const { return batch * height * width * channels; }
  int64_t dst_elements() const { return batch * out_height() * out_width() * filters; }
  /// Multiply-adds times two of one forward pass; each backward direction costs the same.
  double flops() const {
    return 2.0 * static_cast<double>(batch * out_height() * out_width()) * static_cast<double>(weights_elements());
  }
};

/// Linear: src [N, in], weights [out, in], bias [out], dst [N, out].
struct LinearSpec {
  int64_t batch = 1;
  int64_t in = 1;
  int64_t out = 1;
  bool bias = false;
  bool relu = false;  // forward only, as above
  DataType type = DataType::f32;

  double flops() const { return 2.0 * static_cast<double>(batch) * static_cast<double>(in) * static_cast<double>(out); }
};

/// A convolution or linear layer, compiled for one shape. Immutable and safe to run from several threads at once,
/// each with its own scratch. Weights are packed into the library's layout once per update, by `pack_weights`, and
/// gradients of weights come in a packed layout too: sums of packed gradients may be formed element by element, and
/// `unpack_diff_weights` brings the sum back to the layout of the weights.
class Affine : public Resource {
 public:
  /// dst = weights * src + bias. `bias` is null exactly where the spec has none.
  void forward(const View& src, const View& packed_weights, const View* bias, const View& dst, const View& scratch) const;
  /// diff_src = transpose(weights) * diff_dst. Overwrites.
  void backward_data(const View& diff_dst, const View& packed_weights, const View& diff_src, const View& scratch) const;
  /// packed_diff_weights = diff_dst * transpose(src), diff_bias = sum of diff_dst over rows and places. Overwrites.
  /// Every row of the capacity takes part: rows that hold no sample must be zero in src and in diff_dst.
  void backward_weights(const View& src, const View& diff_dst, const View& packed_diff_weights, const View* diff_bias,
                        const View& scratch) const;
  /// Fills `packed_weights`, both directions, from weights in their natural layout.
  void pack_weights(const View& weights, const View& packed_weights, const View& scratch) const;
  /// diff_weights (natural layout) = packed_diff_weights.
  void unpack_diff_weights(const View& packed_diff_weights, const View& diff_weights, const View& scratch) const;

  int64_t packed_weights_bytes() const { return packed_weights_bytes_; }
  /// Elements of parameter_type(type()).
  int64_t packed_diff_weights_elements() const { return packed_diff_weights_elements_; }
  /// False: packed gradients are in the layout of the weights, and unpack_diff_weights copies.
  bool packs_diff_weights() const { return packs_diff_weights_; }
  int64_t scratch_bytes() const { return scratch_bytes_; }
  int64_t src_elements() const { return src_elements_; }
  int64_t dst_elements() const { return dst_elements_; }
  int64_t weights_elements() const { return weights_elements_; }
  int64_t bias_elements() const { return bias_elements_; }
  DataType type() const { return type_; }
  double flops() const { return flops_; }
  /// Names of the implementations that run: "forward | backward data | backward weights".
  virtual const char* implementation() const = 0;

 protected:
  Affine(const ConvolutionSpec& spec, bool backward);
  Affine(const LinearSpec& spec, bool backward);

  virtual void do_forward(const View& src, const View& packed_weights, const View* bias, const View& dst,
                          const View& scratch) const = 0;
  virtual void do_backward_data(const View& diff_dst, const View& packed_weights, const View& diff_src,
                                const View& scratch) const = 0;
  virtual void do_backward_weights(const View& src, const View& diff_dst, const View& packed_diff_weights,
                                   const View* diff_bias, const View& scratch) const = 0;
  virtual void do_pack_weights(const View& weights, const View& packed_weights, const View& scratch) const = 0;
  virtual void do_unpack_diff_weights(const View& packed_diff_weights, const View& diff_weights,
                                      const View& scratch) const = 0;

  // Set by the backend's constructor.
  int64_t packed_weights_bytes_ = 0;
  int64_t packed_diff_weights_elements_ = 0;
  bool packs_diff_weights_ = true;
  int64_t scratch_bytes_ = 0;

 private:
  void check_scratch(const char* what, const View& scratch) const;

  const char* name_;
  DataType type_;
  bool backward_;
  bool has_bias_;
  int64_t src_elements_, dst_elements_, weights_elements_, bias_elements_;
  double flops_;
};

}  // namespace ghostbatch
