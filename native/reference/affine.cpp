#include <algorithm>

#include "reference/kernels.h"

namespace ghostbatch::reference {
namespace {

/// A linear layer is a convolution of 1 x 1 images: [out, in] is KRSC with R = S = 1.
ConvolutionSpec as_convolution(const LinearSpec& linear) {
  ConvolutionSpec spec;
  spec.batch = linear.batch;
  spec.channels = linear.in;
  spec.filters = linear.out;
  spec.bias = linear.bias;
  spec.relu = linear.relu;
  spec.type = linear.type;
  return spec;
}

/// The packed layouts are the natural one; packed weights are rounded to the type of activations. Scratch holds sums
/// in double.
template <typename T>
class ReferenceAffine final : public Affine {
 public:
  ReferenceAffine(const ConvolutionSpec& spec, bool backward) : Affine(spec, backward), spec_(spec) { set_sizes(); }
  ReferenceAffine(const LinearSpec& spec, bool backward) : Affine(spec, backward), spec_(as_convolution(spec)) {
    set_sizes();
  }

  const char* implementation() const override { return "loops | loops | loops"; }

 protected:
  void do_forward(const View& src, const View& packed_weights, const View* bias, const View& dst,
                  const View&) const override {
    const T* const x = src.as<T>();
    const T* const w = packed_weights.as<T>();
    T* const y = dst.as<T>();
    for_outputs([&](int64_t n, int64_t output, int64_t k, int64_t p, int64_t q) {
      double sum = bias != nullptr ? static_cast<double>(bias->as<Parameter<T>>()[k]) : 0.0;
      for_taps(n, k, p, q, [&](int64_t pixel, int64_t filter) {
        for (int64_t c = 0; c < group_channels(); ++c) {
          sum += static_cast<double>(x[pixel + c]) * static_cast<double>(w[filter + c]);
        }
      });
      y[output] = static_cast<T>(spec_.relu ? rectify(sum) : sum);
    });
  }

  void do_backward_data(const View& diff_dst, const View& packed_weights, const View& diff_src,
                        const View& scratch) const override {
    const T* const dy = diff_dst.as<T>();
    const T* const w = packed_weights.as<T>();
    T* const dx = diff_src.as<T>();
    double* const sums = scratch.as<double>();
    std::fill_n(sums, src_elements(), 0.0);
    for_outputs([&](int64_t n, int64_t output, int64_t k, int64_t p, int64_t q) {
      const double g = static_cast<double>(dy[output]);
      for_taps(n, k, p, q, [&](int64_t pixel, int64_t filter) {
        for (int64_t c = 0; c < group_channels(); ++c) sums[pixel + c] += g * static_cast<double>(w[filter + c]);
      });
    });
    for (int64_t i = 0; i < src_elements(); ++i) dx[i] = static_cast<T>(sums[i]);
  }

  void do_backward_weights(const View& src, const View& diff_dst, const View& packed_diff_weights,
                           const View* diff_bias, const View& scratch) const override {
    const T* const x = src.as<T>();
    const T* const dy = diff_dst.as<T>();
    double* const weight_sums = scratch.as<double>();
    double* const bias_sums = weight_sums + weights_elements();
    std::fill_n(weight_sums, weights_elements() + spec_.filters, 0.0);
    for_outputs([&](int64_t n, int64_t output, int64_t k, int64_t p, int64_t q) {
      const double g = static_cast<double>(dy[output]);
      bias_sums[k] += g;
      for_taps(n, k, p, q, [&](int64_t pixel, int64_t filter) {
        for (int64_t c = 0; c < group_channels(); ++c) {
          weight_sums[filter + c] += g * static_cast<double>(x[pixel + c]);
        }
      });
    });
    Parameter<T>* const dw = packed_diff_weights.as<Parameter<T>>();
    for (int64_t i = 0; i < weights_elements(); ++i) dw[i] = static_cast<Parameter<T>>(weight_sums[i]);
    if (diff_bias == nullptr) return;
    for (int64_t k = 0; k < spec_.filters; ++k) {
      diff_bias->as<Parameter<T>>()[k] = static_cast<Parameter<T>>(bias_sums[k]);
    }
  }

  void do_pack_weights(const View& weights, const View& packed_weights, const View&) const override {
    for (int64_t i = 0; i < weights_elements(); ++i) {
      packed_weights.as<T>()[i] = static_cast<T>(weights.as<Parameter<T>>()[i]);
    }
  }

  void do_unpack_diff_weights(const View& packed_diff_weights, const View& diff_weights, const View&) const override {
    std::copy_n(packed_diff_weights.as<Parameter<T>>(), weights_elements(), diff_weights.as<Parameter<T>>());
  }

 private:
  void set_sizes() {
    packed_weights_bytes_ = weights_elements() * static_cast<int64_t>(sizeof(T));
    packed_diff_weights_elements_ = weights_elements();
    scratch_bytes_ =
        std::max(src_elements(), weights_elements() + spec_.filters) * static_cast<int64_t>(sizeof(double));
  }

  int64_t group_channels() const { return spec_.channels / spec_.groups; }

  /// body(n, output, k, p, q) for every element of dst [N,P,Q,K], in order.
  template <typename Body>
  void for_outputs(const Body& body) const {
    int64_t output = 0;
    for (int64_t n = 0; n < spec_.batch; ++n) {
      for (int64_t p = 0; p < spec_.out_height(); ++p) {
        for (int64_t q = 0; q < spec_.out_width(); ++q) {
          for (int64_t k = 0; k < spec_.filters; ++k) body(n, output++, k, p, q);
        }
      }
    }
  }

  /// body(pixel, filter) for every tap (r, s) of output (n, p, q, k) that lies in the image: the first element in
  /// src [N,H,W,C] and in weights [K,R,S,C/G] of the group's channels.
  template <typename Body>
  void for_taps(int64_t n, int64_t k, int64_t p, int64_t q, const Body& body) const {
    const int64_t group = k / (spec_.filters / spec_.groups);
    for (int64_t r = 0; r < spec_.kernel_h; ++r) {
      const int64_t h = p * spec_.stride_h - spec_.pad_h + r * spec_.dilation_h;
      if (h < 0 || h >= spec_.height) continue;
      for (int64_t s = 0; s < spec_.kernel_w; ++s) {
        const int64_t w = q * spec_.stride_w - spec_.pad_w + s * spec_.dilation_w;
        if (w < 0 || w >= spec_.width) continue;
        body(((n * spec_.height + h) * spec_.width + w) * spec_.channels + group * group_channels(),
             ((k * spec_.kernel_h + r) * spec_.kernel_w + s) * group_channels());
      }
    }
  }

  ConvolutionSpec spec_;
};

}  // namespace

Affine* make_convolution(const ConvolutionSpec& spec, bool backward) {
  return with_type("convolution", spec.type,
                   [&](auto element) -> Affine* { return new ReferenceAffine<decltype(element)>(spec, backward); });
}

Affine* make_linear(const LinearSpec& spec, bool backward) {
  return with_type("linear", spec.type,
                   [&](auto element) -> Affine* { return new ReferenceAffine<decltype(element)>(spec, backward); });
}

}  // namespace ghostbatch::reference
