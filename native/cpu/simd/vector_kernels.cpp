// Blocks of the one-pass kernels on the parameter vector: see common/block_vector_kernels.h.
//
// Updates are plain loops without contraction, which the compiler turns into vectors: the same bits on every
// instruction set. Sums are vectors of doubles, added up in a fixed order.
#include "cpu/simd.h"
#include "cpu/simd/vec.h"

namespace ghostbatch::GHOSTBATCH_SIMD {
namespace {

GHOSTBATCH_INLINE float root(float x) {
  return __builtin_sqrtf(x);
}
GHOSTBATCH_INLINE double root(double x) {
  return __builtin_sqrt(x);
}

template <typename T>
void fill(double value, void* x_data, int64_t n) {
  T* x = static_cast<T*>(x_data);
  const T v = static_cast<T>(value);
  for (int64_t i = 0; i < n; ++i) x[i] = v;
}

template <typename T>
void scale(double alpha, void* x_data, int64_t n) {
  T* x = static_cast<T*>(x_data);
  const T a = static_cast<T>(alpha);
  for (int64_t i = 0; i < n; ++i) x[i] *= a;
}

template <typename T>
void axpy(double alpha, const void* x_data, void* y_data, int64_t n) {
  const T* x = static_cast<const T*>(x_data);
  T* y = static_cast<T*>(y_data);
  const T a = static_cast<T>(alpha);
  for (int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}

template <typename T>
void interpolate(double alpha, const void* x_data, const void* y_data, void* z_data, int64_t n) {
  const T* x = static_cast<const T*>(x_data);
  const T* y = static_cast<const T*>(y_data);
  T* z = static_cast<T*>(z_data);
  // From the nearer end: exact at both, and x itself where y is x.
  if (alpha < 0.5) {
    const T of_y = static_cast<T>(alpha);
    for (int64_t i = 0; i < n; ++i) z[i] = x[i] + of_y * (y[i] - x[i]);
  } else {
    const T of_x = static_cast<T>(1 - alpha);
    for (int64_t i = 0; i < n; ++i) z[i] = y[i] + of_x * (x[i] - y[i]);
  }
}

template <typename T>
void project_box(double epsilon, const void* center_data, void* x_data, int64_t n) {
  const T* center = static_cast<const T*>(center_data);
  T* x = static_cast<T*>(x_data);
  const T e = static_cast<T>(epsilon);
  for (int64_t i = 0; i < n; ++i) {
    const T c = center[i];
    const T radius = e * ((c < 0 ? -c : c) + 1);
    const T low = c - radius, high = c + radius;
    T value = x[i];  // what lies inside keeps its bits
    value = value < low ? low : value;
    x[i] = value > high ? high : value;
  }
}

template <typename T>
void scale_by_magnitude(double offset, const void* x_data, void* y_data, int64_t n) {
  const T* x = static_cast<const T*>(x_data);
  T* y = static_cast<T*>(y_data);
  const T least = static_cast<T>(offset);
  for (int64_t i = 0; i < n; ++i) y[i] *= (x[i] < 0 ? -x[i] : x[i]) + least;
}

template <typename T, bool kNesterov>
void sgd_as(const SgdSpec& spec, T* weights, const T* gradient, T* velocity, int64_t n) {
  const T rate = static_cast<T>(spec.rate), momentum = static_cast<T>(spec.momentum);
  const T decay = static_cast<T>(spec.weight_decay), factor = static_cast<T>(spec.gradient_scale);
  for (int64_t i = 0; i < n; ++i) {
    const T w = weights[i];
    const T g = factor * gradient[i] + decay * w;
    const T v = momentum * velocity[i] + g;
    velocity[i] = v;
    weights[i] = w - rate * (kNesterov ? g + momentum * v : v);
  }
}

template <typename T>
void sgd(const SgdSpec& spec, void* weights, const void* gradient, void* velocity, int64_t n) {
  T* w = static_cast<T*>(weights);
  const T* g = static_cast<const T*>(gradient);
  T* v = static_cast<T*>(velocity);
  spec.nesterov ? sgd_as<T, true>(spec, w, g, v, n) : sgd_as<T, false>(spec, w, g, v, n);
}

template <typename T>
void adam(const AdamSpec& spec, void* weights_data, const void* gradient_data, void* m_data, void* v_data, int64_t n) {
  T* weights = static_cast<T*>(weights_data);
  const T* gradient = static_cast<const T*>(gradient_data);
  T* m = static_cast<T*>(m_data);
  T* v = static_cast<T*>(v_data);
  const double step = static_cast<double>(spec.step);
  const double correction1 = 1 - __builtin_pow(spec.beta1, step), correction2 = 1 - __builtin_pow(spec.beta2, step);
  const T rate = static_cast<T>(spec.rate / correction1);
  const T root_correction = static_cast<T>(1 / __builtin_sqrt(correction2));
  const T epsilon = static_cast<T>(spec.epsilon), factor = static_cast<T>(spec.gradient_scale);
  const T beta1 = static_cast<T>(spec.beta1), beta2 = static_cast<T>(spec.beta2);
  const T rest1 = static_cast<T>(1 - spec.beta1), rest2 = static_cast<T>(1 - spec.beta2);
  const T decay = static_cast<T>(spec.decoupled ? 0 : spec.weight_decay);
  const T shrink = static_cast<T>(spec.decoupled ? 1 - spec.rate * spec.weight_decay : 1);
  for (int64_t i = 0; i < n; ++i) {
    const T w = weights[i];
    const T g = factor * gradient[i] + decay * w;
    const T first = beta1 * m[i] + rest1 * g;
    const T second = beta2 * v[i] + rest2 * (g * g);
    m[i] = first;
    v[i] = second;
    weights[i] = shrink * w - rate * first / (root(second) * root_correction + epsilon);
  }
}

template <typename T, bool kNesterov>
void lars_as(const LarsSpec& spec, T* weights, const T* gradient, T* velocity, int64_t n) {
  const T rate = static_cast<T>(spec.rate), momentum = static_cast<T>(spec.momentum);
  const T decay = static_cast<T>(spec.weight_decay), factor = static_cast<T>(spec.gradient_scale);
  for (int64_t i = 0; i < n; ++i) {
    const T w = weights[i];
    const T step = rate * (factor * gradient[i] + decay * w);
    const T v = momentum * velocity[i] + step;
    velocity[i] = v;
    weights[i] = w - (kNesterov ? step + momentum * v : v);
  }
}

template <typename T>
void lars(const LarsSpec& spec, void* weights, const void* gradient, void* velocity, int64_t n) {
  T* w = static_cast<T*>(weights);
  const T* g = static_cast<const T*>(gradient);
  T* v = static_cast<T*>(velocity);
  spec.nesterov ? lars_as<T, true>(spec, w, g, v, n) : lars_as<T, false>(spec, w, g, v, n);
}

/// r of LAMB: the same bits wherever it is formed from the same moments.
template <typename T>
struct LambStep {
  T unbias, root_unbias, epsilon, decay;

  explicit LambStep(const LambBlock& block)
      : unbias(static_cast<T>(block.unbias_m)), root_unbias(static_cast<T>(__builtin_sqrt(block.unbias_v))),
        epsilon(static_cast<T>(block.spec.epsilon)), decay(static_cast<T>(block.spec.weight_decay)) {}
  GHOSTBATCH_INLINE T operator()(T w, T m, T v) const {
    return unbias * m / (root(v) * root_unbias + epsilon) + decay * w;
  }
};

template <typename T>
void lamb(const LambBlock& block, void* weights_data, const void* m_data, const void* v_data, int64_t n) {
  T* weights = static_cast<T*>(weights_data);
  const T* m = static_cast<const T*>(m_data);
  const T* v = static_cast<const T*>(v_data);
  const LambStep<T> step(block);
  const T rate = static_cast<T>(block.spec.rate);
  for (int64_t i = 0; i < n; ++i) {
    const T w = weights[i];
    weights[i] = w - rate * step(w, m[i], v[i]);
  }
}

/// Sum in double of term.vector(i) over whole vectors and term.scalar(i) over what is left.
template <typename Term>
GHOSTBATCH_INLINE double sum_terms(int64_t n, const Term& term) {
  constexpr int kSums = 8;  // vectors, to hide the latency of an addition
  vd sums[kSums];
  for (int k = 0; k < kSums; ++k) sums[k] = zero_doubles();
  int64_t i = 0;
  for (; i + kSums * kDoubles <= n; i += kSums * kDoubles) {
    for (int k = 0; k < kSums; ++k) sums[k] = sums[k] + term.vector(i + k * kDoubles);
  }
  for (; i + kDoubles <= n; i += kDoubles) sums[0] = sums[0] + term.vector(i);
  for (int half = kSums / 2; half > 0; half /= 2) {
    for (int k = 0; k < half; ++k) sums[k] = sums[k] + sums[k + half];
  }
  double lanes[kDoubles];
  store_doubles(lanes, sums[0]);
  double sum = 0;
  for (int64_t lane = 0; lane < kDoubles; ++lane) sum += lanes[lane];
  for (; i < n; ++i) sum += term.scalar(i);
  return sum;
}

template <typename T>
double dot(const void* x, const void* y, int64_t n) {
  struct Term {
    const T *x, *y;
    GHOSTBATCH_INLINE vd vector(int64_t i) const { return load_doubles(x + i) * load_doubles(y + i); }
    GHOSTBATCH_INLINE double scalar(int64_t i) const { return static_cast<double>(x[i]) * static_cast<double>(y[i]); }
  };
  return sum_terms(n, Term{static_cast<const T*>(x), static_cast<const T*>(y)});
}

template <typename T>
double lamb_moments(const LambBlock& block, const void* weights_data, const void* gradient_data, void* m_data,
                    void* v_data, bool wanted, int64_t n) {
  const T* weights = static_cast<const T*>(weights_data);
  const T* gradient = static_cast<const T*>(gradient_data);
  T* m = static_cast<T*>(m_data);
  T* v = static_cast<T*>(v_data);
  const LambStep<T> step(block);
  const T factor = static_cast<T>(block.spec.gradient_scale);
  const T beta1 = static_cast<T>(block.spec.beta1), beta2 = static_cast<T>(block.spec.beta2);
  const T rest1 = static_cast<T>(1 - block.spec.beta1), rest2 = static_cast<T>(1 - block.spec.beta2);
  constexpr int64_t kPart = 512;  // steps that stay in the first cache
  T steps[kPart];
  double squares = 0;
  for (int64_t first = 0; first < n; first += kPart) {
    const int64_t count = n - first < kPart ? n - first : kPart;
    for (int64_t k = 0; k < count; ++k) {
      const int64_t i = first + k;
      const T g = factor * gradient[i];
      m[i] = beta1 * m[i] + rest1 * g;
      v[i] = beta2 * v[i] + rest2 * (g * g);
      steps[k] = step(weights[i], m[i], v[i]);
    }
    if (wanted) squares += dot<T>(steps, steps, count);
  }
  return squares;
}

template <typename T>
double sum(const void* x, int64_t n) {
  struct Term {
    const T* x;
    GHOSTBATCH_INLINE vd vector(int64_t i) const { return load_doubles(x + i); }
    GHOSTBATCH_INLINE double scalar(int64_t i) const { return static_cast<double>(x[i]); }
  };
  return sum_terms(n, Term{static_cast<const T*>(x)});
}

template <typename T>
double squared_distance(const void* x, const void* y, int64_t n) {
  struct Term {
    const T *x, *y;
    GHOSTBATCH_INLINE vd vector(int64_t i) const {
      const vd d = load_doubles(x + i) - load_doubles(y + i);
      return d * d;
    }
    GHOSTBATCH_INLINE double scalar(int64_t i) const {
      const double d = static_cast<double>(x[i]) - static_cast<double>(y[i]);
      return d * d;
    }
  };
  return sum_terms(n, Term{static_cast<const T*>(x), static_cast<const T*>(y)});
}

template <typename T>
double max_abs(const void* x_data, int64_t n) {
  const T* x = static_cast<const T*>(x_data);
  constexpr int kChains = 64;  // independent maxima, for the compiler's vectors
  T best[kChains] = {};
  T unordered = 0;
  int64_t i = 0;
  for (; i + kChains <= n; i += kChains) {
    for (int k = 0; k < kChains; ++k) {
      const T value = x[i + k] < 0 ? -x[i + k] : x[i + k];
      best[k] = value > best[k] || value != value ? value : best[k];
    }
  }
  for (; i < n; ++i) {
    const T value = x[i] < 0 ? -x[i] : x[i];
    best[0] = value > best[0] || value != value ? value : best[0];
  }
  T result = 0;
  for (int k = 0; k < kChains; ++k) {
    if (best[k] != best[k]) unordered = best[k];
    result = best[k] > result ? best[k] : result;
  }
  return static_cast<double>(unordered != unordered ? unordered : result);
}

template <typename T>
constexpr VectorTable table_of() {
  return {fill<T>,        scale<T>,
          axpy<T>,        dot<T>,
          sum<T>,         squared_distance<T>,
          max_abs<T>,     interpolate<T>,
          project_box<T>, scale_by_magnitude<T>,
          sgd<T>,         adam<T>,
          lars<T>,        lamb_moments<T>,
          lamb<T>};
}

}  // namespace

extern const VectorTable vector_f32;
extern const VectorTable vector_f64;
const VectorTable vector_f32 = table_of<float>();
const VectorTable vector_f64 = table_of<double>();

}  // namespace ghostbatch::GHOSTBATCH_SIMD
