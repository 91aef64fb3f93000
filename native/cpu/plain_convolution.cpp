// Convolution as plain loops, for the shapes that oneDNN 3.11 gets wrong: affine.cpp says which. Memory is safe and the
// result right for every shape; the inner loops run over contiguous channels, so that the compiler vectorizes them.
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "common/bfloat16.h"
#include "common/check.h"
#include "cpu/kernels.h"
#include "cpu/onednn.h"

namespace ghostbatch::cpu {

namespace {

float load(float value) {
  return value;
}
float load(uint16_t value) {
  return from_bfloat16(value);
}

template <typename T>
T store(float value) {
  if constexpr (std::is_same_v<T, uint16_t>) {
    return to_bfloat16(value);
  } else {
    return value;
  }
}

/// Packed weights are f32, twice: as [R,S,C/G,K] for forward and as [K,R,S,C/G] for backward data; rounded to bf16
/// where activations are. Packed gradients lie as the weights do.
template <typename T>
class PlainConvolution final : public Affine {
 public:
  PlainConvolution(const ConvolutionSpec& spec, bool backward) : Affine(spec, backward), spec_(spec) {
    const int64_t weights = spec.weights_elements();
    const int64_t image = spec.height * spec.width * spec.channels;
    packed_weights_bytes_ = (backward ? 2 : 1) * weights * size_of(DataType::f32);
    packed_diff_weights_elements_ = backward ? weights : 0;
    const int64_t sums = backward ? std::max({spec.filters, image, weights + spec.filters}) : spec.filters;
    scratch_bytes_ = sums * size_of(DataType::f32);
    implementation_ = backward ? "plain | plain | plain" : "plain";
  }

  const char* implementation() const override { return implementation_; }

 protected:
  void do_forward(const View& src_view, const View& packed_weights, const View* bias, const View& dst_view,
                  const View& scratch) const override {
    const T* src = src_view.as<T>();
    const float* weights = packed_weights.as<float>();
    T* dst = dst_view.as<T>();
    float* sum = scratch.as<float>();
    for (int64_t n = 0; n < spec_.batch; ++n) {
      for (int64_t p = 0; p < spec_.out_height(); ++p) {
        for (int64_t q = 0; q < spec_.out_width(); ++q, dst += spec_.filters) {
          for (int64_t k = 0; k < spec_.filters; ++k) sum[k] = bias != nullptr ? bias->as<float>()[k] : 0.0f;
          for_each_tap(p, q, [&](int64_t tap, int64_t place) {
            const T* x = src + (n * spec_.height * spec_.width + place) * spec_.channels;
            for (int64_t c = 0; c < spec_.channels; ++c) {
              const int64_t group = c / group_channels();
              const float value = load(x[c]);
              const float* w = weights + (tap * group_channels() + c % group_channels()) * spec_.filters;
              const int64_t end = (group + 1) * group_filters();
              for (int64_t k = group * group_filters(); k < end; ++k) sum[k] += value * w[k];
            }
          });
          for (int64_t k = 0; k < spec_.filters; ++k) dst[k] = store<T>(spec_.relu ? std::max(sum[k], 0.0f) : sum[k]);
        }
      }
    }
  }

  void do_backward_data(const View& diff_dst_view, const View& packed_weights, const View& diff_src_view,
                        const View& scratch) const override {
    const T* diff_dst = diff_dst_view.as<T>();
    const float* weights = packed_weights.as<float>() + weights_elements();
    T* diff_src = diff_src_view.as<T>();
    float* sum = scratch.as<float>();  // of one image
    const int64_t image = spec_.height * spec_.width * spec_.channels;
    for (int64_t n = 0; n < spec_.batch; ++n, diff_src += image) {
      std::fill_n(sum, image, 0.0f);
      for (int64_t p = 0; p < spec_.out_height(); ++p) {
        for (int64_t q = 0; q < spec_.out_width(); ++q, diff_dst += spec_.filters) {
          for_each_tap(p, q, [&](int64_t tap, int64_t place) {
            for (int64_t k = 0; k < spec_.filters; ++k) {
              const float gradient = load(diff_dst[k]);
              const float* w = weights + (k * taps() + tap) * group_channels();
              float* s = sum + place * spec_.channels + k / group_filters() * group_channels();
              for (int64_t c = 0; c < group_channels(); ++c) s[c] += gradient * w[c];
            }
          });
        }
      }
      for (int64_t i = 0; i < image; ++i) diff_src[i] = store<T>(sum[i]);
    }
  }

  void do_backward_weights(const View& src_view, const View& diff_dst_view, const View& packed_diff_weights,
                           const View* diff_bias, const View& scratch) const override {
    const T* src = src_view.as<T>();
    const T* diff_dst = diff_dst_view.as<T>();
    float* diff_weights = packed_diff_weights.as<float>();
    // Summed by image, then over images: the rounding error of one long sum would grow with N.
    float* sum = scratch.as<float>();
    float* bias_sum = sum + weights_elements();
    std::fill_n(diff_weights, weights_elements(), 0.0f);
    if (diff_bias != nullptr) std::fill_n(diff_bias->as<float>(), spec_.filters, 0.0f);
    for (int64_t n = 0; n < spec_.batch; ++n) {
      std::fill_n(sum, weights_elements() + spec_.filters, 0.0f);
      for (int64_t p = 0; p < spec_.out_height(); ++p) {
        for (int64_t q = 0; q < spec_.out_width(); ++q, diff_dst += spec_.filters) {
          for (int64_t k = 0; k < spec_.filters; ++k) bias_sum[k] += load(diff_dst[k]);
          for_each_tap(p, q, [&](int64_t tap, int64_t place) {
            const T* x = src + (n * spec_.height * spec_.width + place) * spec_.channels;
            for (int64_t k = 0; k < spec_.filters; ++k) {
              const float gradient = load(diff_dst[k]);
              const T* group = x + k / group_filters() * group_channels();
              float* s = sum + (k * taps() + tap) * group_channels();
              for (int64_t c = 0; c < group_channels(); ++c) s[c] += gradient * load(group[c]);
            }
          });
        }
      }
      for (int64_t i = 0; i < weights_elements(); ++i) diff_weights[i] += sum[i];
      for (int64_t k = 0; diff_bias != nullptr && k < spec_.filters; ++k) diff_bias->as<float>()[k] += bias_sum[k];
    }
  }

  void do_pack_weights(const View& weights_view, const View& packed_weights, const View&) const override {
    const float* weights = weights_view.as<float>();
    float* forward = packed_weights.as<float>();
    float* backward = packed_diff_weights_elements_ > 0 ? forward + weights_elements() : nullptr;
    const int64_t inputs = taps() * group_channels();  // of one filter
    for (int64_t k = 0; k < spec_.filters; ++k) {
      for (int64_t i = 0; i < inputs; ++i) {
        const float value = load(store<T>(weights[k * inputs + i]));
        forward[i * spec_.filters + k] = value;
        if (backward != nullptr) backward[k * inputs + i] = value;
      }
    }
  }

  void do_unpack_diff_weights(const View& packed_diff_weights, const View& diff_weights, const View&) const override {
    std::memcpy(diff_weights.data, packed_diff_weights.data, static_cast<size_t>(diff_weights.bytes()));
  }

 private:
  int64_t group_channels() const { return spec_.channels / spec_.groups; }
  int64_t group_filters() const { return spec_.filters / spec_.groups; }
  int64_t taps() const { return spec_.kernel_h * spec_.kernel_w; }

  /// Calls visit(r * S + s, h * W + w) for each filter tap that meets the image from output place (p, q).
  template <typename Visit>
  void for_each_tap(int64_t p, int64_t q, const Visit& visit) const {
    for (int64_t r = 0; r < spec_.kernel_h; ++r) {
      const int64_t h = p * spec_.stride_h - spec_.pad_h + r * spec_.dilation_h;
      if (h < 0 || h >= spec_.height) continue;
      for (int64_t s = 0; s < spec_.kernel_w; ++s) {
        const int64_t w = q * spec_.stride_w - spec_.pad_w + s * spec_.dilation_w;
        if (w >= 0 && w < spec_.width) visit(r * spec_.kernel_w + s, h * spec_.width + w);
      }
    }
  }

  const ConvolutionSpec spec_;
  const char* implementation_;
};

}  // namespace

Affine* make_plain_convolution(const ConvolutionSpec& spec, bool backward) {
  if (spec.type == DataType::bf16) return new PlainConvolution<uint16_t>(spec, backward);
  return new PlainConvolution<float>(spec, backward);
}

}  // namespace ghostbatch::cpu
