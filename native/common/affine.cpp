#include "ghostbatch/affine.h"

#include "common/check.h"

namespace ghostbatch {
namespace {

constexpr const char* kConvolution = "convolution";
constexpr const char* kLinear = "linear";
constexpr int64_t kLargestPad = int64_t{1} << 20;  // more is a mistake, and sizes would overflow

void check_relu(const char* kernel, bool relu, bool backward) {
  if (relu && backward) fail(kernel, "no fused relu where backward is wanted", "both");
}

const ConvolutionSpec& checked(const ConvolutionSpec& spec, bool backward) {
  const char* const kernel = kConvolution;
  check_activation_type(kernel, spec.type);
  check_positive(kernel, "batch", spec.batch);
  check_positive(kernel, "channels", spec.channels);
  check_positive(kernel, "height", spec.height);
  check_positive(kernel, "width", spec.width);
  check_positive(kernel, "filters", spec.filters);
  check_positive(kernel, "kernel_h", spec.kernel_h);
  check_positive(kernel, "kernel_w", spec.kernel_w);
  check_positive(kernel, "stride_h", spec.stride_h);
  check_positive(kernel, "stride_w", spec.stride_w);
  check_positive(kernel, "dilation_h", spec.dilation_h);
  check_positive(kernel, "dilation_w", spec.dilation_w);
  check_positive(kernel, "groups", spec.groups);
  if (spec.channels % spec.groups != 0 || spec.filters % spec.groups != 0) {
    fail(kernel, "groups that divide channels and filters",
         text("groups=", spec.groups, " channels=", spec.channels, " filters=", spec.filters));
  }
  const int64_t extent_h = spec.dilation_h * (spec.kernel_h - 1) + 1;
  const int64_t extent_w = spec.dilation_w * (spec.kernel_w - 1) + 1;
  check_range(kernel, "pad_h", spec.pad_h, 0, kLargestPad);
  check_range(kernel, "pad_w", spec.pad_w, 0, kLargestPad);
  check_range(kernel, "extent of the dilated filter over height", extent_h, 1, spec.height + 2 * spec.pad_h);
  check_range(kernel, "extent of the dilated filter over width", extent_w, 1, spec.width + 2 * spec.pad_w);
  check_product(kernel, "src", spec.batch, spec.height, spec.width, spec.channels);
  check_product(kernel, "dst", spec.batch, spec.out_height(), spec.out_width(), spec.filters);
  check_product(kernel, "weights", spec.filters, spec.kernel_h, spec.kernel_w, spec.channels / spec.groups);
  check_relu(kernel, spec.relu, backward);
  return spec;
}

const LinearSpec& checked(const LinearSpec& spec, bool backward) {
  const char* const kernel = kLinear;
  check_activation_type(kernel, spec.type);
  check_positive(kernel, "batch", spec.batch);
  check_positive(kernel, "in", spec.in);
  check_positive(kernel, "out", spec.out);
  check_product(kernel, "src", spec.batch, spec.in);
  check_product(kernel, "dst", spec.batch, spec.out);
  check_product(kernel, "weights", spec.out, spec.in);
  check_relu(kernel, spec.relu, backward);
  return spec;
}

}  // namespace

Affine::Affine(const ConvolutionSpec& spec, bool backward)
    : name_(kConvolution),
      type_(checked(spec, backward).type),
      backward_(backward),
      has_bias_(spec.bias),
      src_elements_(spec.src_elements()),
      dst_elements_(spec.dst_elements()),
      weights_elements_(spec.weights_elements()),
      bias_elements_(spec.bias ? spec.filters : 0),
      flops_(spec.flops()) {}

Affine::Affine(const LinearSpec& spec, bool backward)
    : name_(kLinear),
      type_(checked(spec, backward).type),
      backward_(backward),
      has_bias_(spec.bias),
      src_elements_(spec.batch * spec.in),
      dst_elements_(spec.batch * spec.out),
      weights_elements_(spec.out * spec.in),
      bias_elements_(spec.bias ? spec.out : 0),
      flops_(spec.flops()) {}

void Affine::check_scratch(const char* what, const View& scratch) const {
  check_room(what, "scratch", scratch, scratch_bytes_);
}

void Affine::forward(const View& src, const View& packed_weights, const View* bias, const View& dst,
                     const View& scratch) const {
  check_view(name_, "src", src, src_elements_, type_);
  check_room(name_, "packed_weights", packed_weights, packed_weights_bytes_);
  check_presence(name_, "bias", bias, has_bias_);
  if (bias != nullptr) check_view(name_, "bias", *bias, bias_elements_, parameter_type(type_));
  check_view(name_, "dst", dst, dst_elements_, type_);
  check_scratch(name_, scratch);
  do_forward(src, packed_weights, bias, dst, scratch);
}

void Affine::backward_data(const View& diff_dst, const View& packed_weights, const View& diff_src,
                           const View& scratch) const {
  if (!backward_) fail(name_, "to be made with backward for backward_data", "a kernel for forward only");
  check_view(name_, "diff_dst", diff_dst, dst_elements_, type_);
  check_room(name_, "packed_weights", packed_weights, packed_weights_bytes_);
  check_view(name_, "diff_src", diff_src, src_elements_, type_);
  check_scratch(name_, scratch);
  do_backward_data(diff_dst, packed_weights, diff_src, scratch);
}

void Affine::backward_weights(const View& src, const View& diff_dst, const View& packed_diff_weights,
                              const View* diff_bias, const View& scratch) const {
  if (!backward_) fail(name_, "to be made with backward for backward_weights", "a kernel for forward only");
  check_view(name_, "src", src, src_elements_, type_);
  check_view(name_, "diff_dst", diff_dst, dst_elements_, type_);
  check_view(name_, "packed_diff_weights", packed_diff_weights, packed_diff_weights_elements_, parameter_type(type_));
  check_presence(name_, "diff_bias", diff_bias, has_bias_);
  if (diff_bias != nullptr) check_view(name_, "diff_bias", *diff_bias, bias_elements_, parameter_type(type_));
  check_scratch(name_, scratch);
  do_backward_weights(src, diff_dst, packed_diff_weights, diff_bias, scratch);
}

void Affine::pack_weights(const View& weights, const View& packed_weights, const View& scratch) const {
  check_view(name_, "weights", weights, weights_elements_, parameter_type(type_));
  check_room(name_, "packed_weights", packed_weights, packed_weights_bytes_);
  check_scratch(name_, scratch);
  do_pack_weights(weights, packed_weights, scratch);
}

void Affine::unpack_diff_weights(const View& packed_diff_weights, const View& diff_weights, const View& scratch) const {
  if (!backward_) fail(name_, "to be made with backward for unpack_diff_weights", "a kernel for forward only");
  check_view(name_, "packed_diff_weights", packed_diff_weights, packed_diff_weights_elements_, parameter_type(type_));
  check_view(name_, "diff_weights", diff_weights, weights_elements_, parameter_type(type_));
  check_scratch(name_, scratch);
  do_unpack_diff_weights(packed_diff_weights, diff_weights, scratch);
}

}  // namespace ghostbatch
