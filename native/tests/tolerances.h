// How far results may lie apart, one table for all kernels. A figure is relative to the largest magnitude of the array
// it is used on. Raising one needs a reason beside it.
#pragma once

namespace ghostbatch::tests {

struct Tolerance {
  /// f64 on reference against a formula: both round to 53 bits, in another order of sums of up to some thousand terms.
  static constexpr double kDouble = 1e-12;
  /// Analytic gradient in f64 against central differences with step 1e-5: truncation about 1e-10 of the third
  /// derivative, cancellation about 1e-11 of the loss over the step.
  static constexpr double kGradient = 1e-6;
  /// One rounding of f32 (2^-24) at each end.
  static constexpr double kRounded = 2.5e-7;
  /// Convolution, linear, GEMM in f32: sums of up to 1,600 products accumulated in f32 in another order; the error of
  /// such a sum grows like sqrt(terms) 2^-24, and weight gradients sum over all places.
  static constexpr double kProduct = 3e-6;
  /// Ghost batch norm in f32 with statistics in double: mean and variance rounded to f32, then about four roundings.
  static constexpr double kNorm = 2e-6;
  /// Statistics in f32 sums of 64 terms, shifted by the mean of the first 8 places, which lies within a sigma or so:
  /// sqrt(64) 2^-24 of a sum that is at most a few times the variance.
  static constexpr double kNormBlocks = 2e-6;
  /// 100 sigma off centre: one f32 unit of the mean, 100 * 2^-23, is 1.2e-5 sigma in every normalized value, and a
  /// ghost of a few places may deviate by a fraction of sigma only. (Sums without a shift would be off by 1e-1.)
  static constexpr double kNormOffCentre = 1e-4;
  /// Softmax in f32: exp and log of a vector library, about 2 units each, and sums over the classes.
  static constexpr double kSoftmax = 2e-6;
  /// Average pooling in f32: sums of up to 64 terms.
  static constexpr double kPooling = 1e-6;
  /// Loader in f32: scale and shift folded into one product and one sum, bilinear weights in f32.
  static constexpr double kLoader = 2e-6;
  /// Vector kernels in f32, elementwise: a few roundings a value.
  static constexpr double kVector = 1e-6;
  /// Sums over blocks: in double, in another order.
  static constexpr double kVectorSum = 1e-12;
  /// Values in bf16 that two kernels rounded once, from numbers as close as their tolerance in f32 says: each within
  /// one unit in the last place (2^-7 of its power of two), and so few beside a border of rounding that not more than
  /// this share differs at all.
  static constexpr double kBfloat16Differing = 0.01;
  /// Values in bf16 against a formula in double whose intermediate values are not rounded: the gradient of a residual
  /// sum is, once (2^-8 of the largest), before the gradient of the norm comes from it, which is rounded again.
  static constexpr double kBfloat16 = 8e-3;
};

}  // namespace ghostbatch::tests
