// What the tests of convolutions and linear layers share: shapes, data, and the formula in double, written apart from
// the kernels.
#pragma once

#include <algorithm>

#include "ghostbatch/affine.h"
#include "tests/support.h"

namespace ghostbatch::tests {

struct AffineData {
  std::vector<double> src, weights, bias, diff_dst;
};

struct AffineResult {
  std::vector<double> dst, diff_src, diff_weights, diff_bias;
};

inline AffineData make_data(const Affine& kernel, uint32_t seed) {
  Random random(seed);
  AffineData data;
  data.src = random.values(kernel.src_elements());
  data.weights = random.values(kernel.weights_elements());
  data.bias = random.values(kernel.bias_elements());
  data.diff_dst = random.values(kernel.dst_elements());
  return data;
}

inline AffineResult run(const Affine& kernel, const AffineData& data, bool backward) {
  const DataType type = kernel.type(), parameter = parameter_type(type);
  const Buffer src(type, data.src), weights(parameter, data.weights), bias(parameter, data.bias);
  const Buffer packed(DataType::u8, kernel.packed_weights_bytes()), dst(type, kernel.dst_elements());
  const Buffer scratch(DataType::u8, kernel.scratch_bytes());
  const View bias_view = bias.view();
  const bool has_bias = kernel.bias_elements() > 0;
  AffineResult result;
  kernel.pack_weights(weights.view(), packed.view(), scratch.view());
  kernel.forward(src.view(), packed.view(), has_bias ? &bias_view : nullptr, dst.view(), scratch.view());
  result.dst = dst.values();
  if (!backward) return result;

  const Buffer diff_dst(type, data.diff_dst), diff_src(type, kernel.src_elements());
  const Buffer packed_diff(parameter, kernel.packed_diff_weights_elements());
  const Buffer diff_weights(parameter, kernel.weights_elements()), diff_bias(parameter, kernel.bias_elements());
  const View diff_bias_view = diff_bias.view();
  kernel.backward_data(diff_dst.view(), packed.view(), diff_src.view(), scratch.view());
  kernel.backward_weights(src.view(), diff_dst.view(), packed_diff.view(), has_bias ? &diff_bias_view : nullptr,
                          scratch.view());
  kernel.unpack_diff_weights(packed_diff.view(), diff_weights.view(), scratch.view());
  result.diff_src = diff_src.values();
  result.diff_weights = diff_weights.values();
  result.diff_bias = diff_bias.values();
  return result;
}

/// The definition: every product that goes into an output, and by the chain rule into both gradients.
inline AffineResult formula(const ConvolutionSpec& spec, const AffineData& data) {
  const int64_t out_h = (spec.height + 2 * spec.pad_h - spec.dilation_h * (spec.kernel_h - 1) - 1) / spec.stride_h + 1;
  const int64_t out_w = (spec.width + 2 * spec.pad_w - spec.dilation_w * (spec.kernel_w - 1) - 1) / spec.stride_w + 1;
  const int64_t in_group = spec.channels / spec.groups, out_group = spec.filters / spec.groups;
  AffineResult result;
  result.dst.assign(static_cast<size_t>(spec.batch * out_h * out_w * spec.filters), 0.0);
  result.diff_src.assign(data.src.size(), 0.0);
  result.diff_weights.assign(data.weights.size(), 0.0);
  result.diff_bias.assign(data.bias.size(), 0.0);
  for (int64_t n = 0; n < spec.batch; ++n)
    for (int64_t p = 0; p < out_h; ++p)
      for (int64_t q = 0; q < out_w; ++q)
        for (int64_t k = 0; k < spec.filters; ++k) {
          const auto out = static_cast<size_t>(((n * out_h + p) * out_w + q) * spec.filters + k);
          if (spec.bias) {
            result.dst[out] += data.bias[static_cast<size_t>(k)];
            result.diff_bias[static_cast<size_t>(k)] += data.diff_dst[out];
          }
          for (int64_t r = 0; r < spec.kernel_h; ++r)
            for (int64_t s = 0; s < spec.kernel_w; ++s)
              for (int64_t i = 0; i < in_group; ++i) {
                const int64_t h = p * spec.stride_h + r * spec.dilation_h - spec.pad_h;
                const int64_t w = q * spec.stride_w + s * spec.dilation_w - spec.pad_w;
                if (h < 0 || w < 0 || h >= spec.height || w >= spec.width) continue;
                const int64_t c = k / out_group * in_group + i;
                const auto x = static_cast<size_t>(((n * spec.height + h) * spec.width + w) * spec.channels + c);
                const auto f = static_cast<size_t>(((k * spec.kernel_h + r) * spec.kernel_w + s) * in_group + i);
                result.dst[out] += data.src[x] * data.weights[f];
                result.diff_src[x] += data.weights[f] * data.diff_dst[out];
                result.diff_weights[f] += data.src[x] * data.diff_dst[out];
              }
        }
  if (spec.relu) {
    for (double& y : result.dst) y = std::max(0.0, y);
  }
  return result;
}

inline void expect_all_close(const AffineResult& actual, const AffineResult& expected, double tolerance,
                             bool backward) {
  expect_close("dst", actual.dst, expected.dst, tolerance);
  if (!backward) return;
  expect_close("diff_src", actual.diff_src, expected.diff_src, tolerance);
  expect_close("diff_weights", actual.diff_weights, expected.diff_weights, tolerance);
  expect_close("diff_bias", actual.diff_bias, expected.diff_bias, tolerance);
}

/// As kernels in bf16 write it: activations in bf16, gradients of parameters in f32. On `make_data`'s numbers both are
/// exact up to there, for products of such numbers are multiples of 2^-14 and their sums stay below 2^10.
inline AffineResult in_bfloat16(AffineResult exact) {
  exact.dst = rounded(DataType::bf16, exact.dst);
  exact.diff_src = rounded(DataType::bf16, exact.diff_src);
  exact.diff_weights = rounded(DataType::f32, exact.diff_weights);
  exact.diff_bias = rounded(DataType::f32, exact.diff_bias);
  return exact;
}

inline std::string describe(const ConvolutionSpec& spec) {
  std::ostringstream out;
  out << (spec.type == DataType::bf16 ? "bf16 " : "") << "src=[" << spec.batch << "," << spec.height << ","
      << spec.width << "," << spec.channels << "] weights=[" << spec.filters << "," << spec.kernel_h << ","
      << spec.kernel_w << "] stride=" << spec.stride_h << "," << spec.stride_w << " pad=" << spec.pad_h << ","
      << spec.pad_w << " dilation=" << spec.dilation_h << "," << spec.dilation_w << " groups=" << spec.groups
      << " bias=" << spec.bias << " relu=" << spec.relu;
  return out.str();
}

inline ConvolutionSpec make_spec(int64_t batch, int64_t height, int64_t width, int64_t channels, int64_t filters,
                                 int64_t kernel) {
  ConvolutionSpec spec;
  spec.batch = batch;
  spec.height = height;
  spec.width = width;
  spec.channels = channels;
  spec.filters = filters;
  spec.kernel_h = spec.kernel_w = kernel;
  return spec;
}

/// Channels around the vector width, filters 1x1 to 5x5, and what convolutions vary in.
inline std::vector<ConvolutionSpec> convolution_grid() {
  std::vector<ConvolutionSpec> specs;
  int64_t count = 0;
  for (const int64_t channels : {1, 3, 15, 16, 17, 64}) {
    for (const int64_t kernel : {1, 2, 3, 5}) {
      for (int variant = 0; variant < 6; ++variant) {
        const int64_t filters = std::vector<int64_t>{16, 1, 17, 15, 64, 10}[static_cast<size_t>(count++ % 6)];
        ConvolutionSpec spec = make_spec(2, 9, 8, channels, filters, kernel);
        switch (variant) {
          case 0:
            spec.pad_h = spec.pad_w = (kernel - 1) / 2;
            break;
          case 1:
            spec.bias = true;
            break;
          case 2:
            spec.stride_h = spec.stride_w = 2;
            spec.pad_h = spec.pad_w = kernel / 2;
            break;
          case 3:
            if (kernel == 1) continue;
            spec.dilation_h = 2;
            spec.pad_h = spec.pad_w = 1;
            spec.bias = true;
            break;
          case 4:  // depthwise
            spec.groups = channels;
            spec.filters = channels * (1 + count % 2);
            spec.pad_h = spec.pad_w = kernel / 2;
            break;
          case 5:  // sides that differ
            if (kernel == 1) continue;
            spec.kernel_w = 1;
            spec.stride_w = 2;
            spec.pad_h = 1;
            spec.batch = 1;
            break;
        }
        specs.push_back(spec);
      }
    }
  }
  ConvolutionSpec grouped = make_spec(3, 6, 7, 32, 16, 3);
  grouped.groups = 4;
  grouped.pad_h = grouped.pad_w = 1;
  grouped.bias = true;
  specs.push_back(grouped);
  grouped.channels = 6;
  grouped.filters = 9;
  grouped.groups = 3;
  specs.push_back(grouped);
  specs.push_back(make_spec(5, 1, 1, 17, 33, 1));
  specs.push_back(make_spec(1, 5, 5, 16, 20, 5));  // one place
  return specs;
}

/// A linear layer in the formula's terms.
inline ConvolutionSpec as_convolution(const LinearSpec& linear) {
  ConvolutionSpec spec = make_spec(linear.batch, 1, 1, linear.in, linear.out, 1);
  spec.bias = linear.bias;
  spec.relu = linear.relu;
  return spec;
}

}  // namespace ghostbatch::tests
