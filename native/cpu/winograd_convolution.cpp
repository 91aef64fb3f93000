// Convolution 3 x 3 by Winograd's minimal filtering F(2x2, 3x3), Lavin and Gray (arXiv 1509.09308): 2.25 times fewer
// products than the sums have terms, for f32. The gradient of the input is the same convolution with turned weights.
// The gradient of the weights is gathered at Winograd's 16 points, and comes back to 3 x 3 taps where it is unpacked,
// once an update.
#include "cpu/winograd_convolution.h"

#include <algorithm>
#include <string>

#include "cpu/bias_gradient.h"
#include "cpu/kernels.h"
#include "cpu/simd.h"

namespace ghostbatch::cpu {
namespace {

constexpr int64_t kPoints = 16;
constexpr int64_t kLanes = 16;

class WinogradConvolution final : public Affine {
 public:
  WinogradConvolution(const ConvolutionSpec& spec, bool backward)
      : Affine(spec, backward), spec_(spec), table_(*simd_tables().winograd_f32),
        packed_elements_(kPoints * spec.channels * spec.filters) {
    packed_weights_bytes_ = packed_elements_ * kFloat;
    int64_t scratch = table_.convolve_scratch(spec.channels, spec.filters);
    if (backward) {
      packed_weights_bytes_ *= 2;
      packed_diff_weights_elements_ = packed_elements_;
      scratch = std::max({scratch, table_.convolve_scratch(spec.filters, spec.channels),
                          table_.gradient_scratch(spec.channels, spec.filters)});
    }
    scratch_bytes_ = scratch * kFloat;
    implementation_ = std::string("winograd:") + simd_isa();
  }

  const char* implementation() const override { return implementation_.c_str(); }

 protected:
  void do_forward(const View& src, const View& packed_weights, const View* bias, const View& dst,
                  const View& scratch) const override {
    WinogradCall call = call_on(src, packed_weights.as<float>(), dst, scratch);
    call.bias = bias == nullptr ? nullptr : bias->as<float>();
    call.relu = spec_.relu;
    call.channels = spec_.channels;
    call.filters = spec_.filters;
    table_.convolve(call);
  }

  void do_backward_data(const View& diff_dst, const View& packed_weights, const View& diff_src,
                        const View& scratch) const override {
    WinogradCall call = call_on(diff_dst, packed_weights.as<float>() + packed_elements_, diff_src, scratch);
    call.channels = spec_.filters;
    call.filters = spec_.channels;
    table_.convolve(call);
  }

  void do_backward_weights(const View& src, const View& diff_dst, const View& packed_diff_weights,
                           const View* diff_bias, const View& scratch) const override {
    std::fill_n(packed_diff_weights.as<float>(), packed_elements_, 0.0f);
    table_.gradient({src.as<float>(), diff_dst.as<float>(), packed_diff_weights.as<float>(), spec_.batch, spec_.height,
                     spec_.width, spec_.channels, spec_.filters, scratch.as<float>()});
    if (diff_bias != nullptr) {
      sum_bias(diff_dst.as<float>(), spec_.batch, spec_.height * spec_.width, spec_.filters, diff_bias->as<float>());
    }
  }

  void do_pack_weights(const View& weights, const View& packed_weights, const View&) const override {
    const int64_t of_filter = 9 * spec_.channels;
    float* const packed = packed_weights.as<float>();
    table_.pack({weights.as<float>(), spec_.channels, spec_.filters, 1, of_filter, spec_.channels, false, packed});
    if (packed_diff_weights_elements_ == 0) return;
    table_.pack({weights.as<float>(), spec_.filters, spec_.channels, of_filter, 1, spec_.channels, true,
                 packed + packed_elements_});
  }

  void do_unpack_diff_weights(const View& packed_diff_weights, const View& diff_weights, const View&) const override {
    table_.unpack(packed_diff_weights.as<float>(), spec_.channels, spec_.filters, diff_weights.as<float>());
  }

 private:
  static constexpr int64_t kFloat = sizeof(float);

  WinogradCall call_on(const View& src, const float* weights, const View& dst, const View& scratch) const {
    WinogradCall call{};
    call.src = src.as<float>();
    call.weights = weights;
    call.dst = dst.as<float>();
    call.images = spec_.batch;
    call.height = spec_.height;
    call.width = spec_.width;
    call.scratch = scratch.as<float>();
    return call;
  }

  const ConvolutionSpec spec_;
  const WinogradTable& table_;
  const int64_t packed_elements_;  // of one direction
  std::string implementation_;
};

}  // namespace

bool has_winograd(const ConvolutionSpec& spec) {
  return spec.type == DataType::f32 && spec.groups == 1 && spec.dilation_h == 1 && spec.dilation_w == 1 &&
         spec.kernel_h == 3 && spec.kernel_w == 3 && spec.stride_h == 1 && spec.stride_w == 1 && spec.pad_h == 1 &&
         spec.pad_w == 1 && spec.channels % kLanes == 0 && spec.filters % kLanes == 0 &&
         simd_tables().winograd_f32->convolve != nullptr;
}

Affine* make_winograd_convolution(const ConvolutionSpec& spec, bool backward) {
  return new WinogradConvolution(spec, backward);
}

}  // namespace ghostbatch::cpu
