// Softmax, cross-entropy and its gradient, a row at a time: see ghostbatch/elementwise.h.
#include "cpu/simd.h"
#include "cpu/simd/vec.h"

namespace ghostbatch::GHOSTBATCH_SIMD {
namespace {

/// exp(x) for x <= 0, within 1.4 units in the last place where fused multiply-adds exist; 0 below -87.3; NaN stays NaN.
/// x = n ln 2 + r with |r| <= ln 2 / 2, and exp(r) = 1 + r + r^2 q(r) with q of degree 4, fitted for relative error.
GHOSTBATCH_INLINE vf exp_of_nonpositive(vf x) {
  const vf magic = set(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
  const vf n = fma(x, set(1.44269504f), magic) - magic;
  vf r = fma(n, set(-0.693359375f), x);  // ln 2 in two parts, the first short enough for exact products
  r = fma(n, set(2.12194440e-4f), r);
  vf q = set(1.381454058e-3f);
  q = fma(q, r, set(8.368745446e-3f));
  q = fma(q, r, set(4.166838899e-2f));
  q = fma(q, r, set(1.666652113e-1f));
  q = fma(q, r, set(4.999999404e-1f));
  const vf power = fma(q, r * r, r) + set(1.0f);
  const vm tiny = greater(set(-87.3f), x);
  return select(tiny, zero(), power * power_of_two(select(tiny, zero(), n)));
}

double sum_of_lanes(vf v) {
  float lanes[kLanes];
  store(lanes, v);
  double sum = 0;
  for (int64_t lane = 0; lane < kLanes; ++lane) sum += static_cast<double>(lanes[lane]);
  return sum;
}

float maximum_of_lanes(vf v) {
  float lanes[kLanes];
  store(lanes, v);
  float best = lanes[0];
  for (int64_t lane = 1; lane < kLanes; ++lane) best = lanes[lane] > best ? lanes[lane] : best;
  return best;
}

/// The lanes that hold elements: all, or the first n.
template <bool kTail>
GHOSTBATCH_INLINE vf only(vf v, int64_t n) {
  if constexpr (kTail) {
    return keep(first(n), v);
  } else {
    return v;
  }
}

template <typename T>
double run(const void* logits_data, const int32_t* labels, const float* weights, int64_t rows, int64_t classes,
           double label_smoothing, double scale, void* diff_logits_data, int64_t& correct) {
  const float lowest = -__builtin_inff();
  double total = 0;
  for (int64_t row = 0; row < rows; ++row) {
    const T* logits = static_cast<const T*>(logits_data) + row * classes;
    const int64_t label = labels[row];
    const float label_logit = to_float(logits[label]);

    // Largest logit, and whether one is NaN.
    vf best = set(lowest), unordered = zero();
    for_each_vector(classes, [&]<bool kTail>(int64_t c, int64_t n) {
      vf x = get<kTail>(logits + c, n);
      if constexpr (kTail) x = select(first(n), x, set(lowest));
      best = maximum(x, best);
      unordered = select(is_nan(x), x, unordered);
    });
    const float largest = maximum_of_lanes(best);
    const bool has_nan = any(is_nan(unordered));

    // Right where the label is the first largest.
    if (!has_nan && label_logit == largest) {
      bool first_largest = true;
      for (int64_t c = 0; c < label; ++c) first_largest = first_largest && to_float(logits[c]) != largest;
      correct += first_largest;
    }

    // Sum of exp(x - largest), of x - largest where labels are smoothed.
    const vf shift = set(largest);
    vf exponentials = zero(), distances = zero();
    for_each_vector(classes, [&]<bool kTail>(int64_t c, int64_t n) {
      const vf d = get<kTail>(logits + c, n) - shift;
      exponentials = exponentials + only<kTail>(exp_of_nonpositive(d), n);
      distances = distances + only<kTail>(d, n);
    });
    const double sum = has_nan ? static_cast<double>(__builtin_nanf("")) : sum_of_lanes(exponentials);
    const double log_sum = __builtin_log(sum);
    const double weight = weights == nullptr ? 1.0 : static_cast<double>(weights[row]);
    const double label_distance = static_cast<double>(label_logit) - static_cast<double>(largest);
    double loss = log_sum - (1 - label_smoothing) * label_distance;
    if (label_smoothing > 0) loss -= label_smoothing * sum_of_lanes(distances) / static_cast<double>(classes);
    total += weight * loss;

    // Gradient: scale * weight * (p - t).
    if (diff_logits_data != nullptr) {
      T* diff_logits = static_cast<T*>(diff_logits_data) + row * classes;
      const double factor = scale * weight;
      const vf share = set(static_cast<float>(factor / sum));
      const vf smooth = set(static_cast<float>(-factor * label_smoothing / static_cast<double>(classes)));
      const double label_probability = __builtin_exp(label_distance) / sum;
      for_each_vector(classes, [&]<bool kTail>(int64_t c, int64_t n) {
        const vf d = get<kTail>(logits + c, n) - shift;
        set_at<kTail>(diff_logits + c, fma(exp_of_nonpositive(d), share, smooth), n);
      });
      // Of the label in double: p - t cancels where p is near 1.
      const double target = (1 - label_smoothing) + label_smoothing / static_cast<double>(classes);
      put(diff_logits + label, static_cast<float>(factor * (label_probability - target)));
    }
  }
  return total;
}

}  // namespace

extern const SoftmaxTable softmax_f32;
extern const SoftmaxTable softmax_bf16;
const SoftmaxTable softmax_f32 = {run<float>};
const SoftmaxTable softmax_bf16 = {run<bf16>};

}  // namespace ghostbatch::GHOSTBATCH_SIMD
