#include <algorithm>
#include <cmath>

#include "common/block_vector_kernels.h"
#include "reference/kernels.h"

namespace ghostbatch::reference {
namespace {

constexpr const char* kVector = "vector";

class ReferenceVectorKernels final : public BlockVectorKernels {
 public:
  const char* implementation() const override { return "loops"; }

  void fill_block(double value, void* x, DataType type, int64_t n) const override {
    update(
        type, n, [&](double) { return value; }, x);
  }

  void scale_block(double alpha, void* x, DataType type, int64_t n) const override {
    update(
        type, n, [&](double xi) { return alpha * xi; }, x);
  }

  void axpy_block(double alpha, const void* x, void* y, DataType type, int64_t n) const override {
    update(
        type, n, [&](double yi, double xi) { return yi + alpha * xi; }, y, x);
  }

  double dot_block(const void* x, const void* y, DataType type, int64_t n) const override {
    double sum = 0;
    visit(
        type, n, [&](double xi, double yi) { sum += xi * yi; }, x, y);
    return sum;
  }

  double sum_block(const void* x, DataType type, int64_t n) const override {
    double sum = 0;
    visit(
        type, n, [&](double xi) { sum += xi; }, x);
    return sum;
  }

  double squared_distance_block(const void* x, const void* y, DataType type, int64_t n) const override {
    double sum = 0;
    visit(
        type, n, [&](double xi, double yi) { sum += (xi - yi) * (xi - yi); }, x, y);
    return sum;
  }

  double max_abs_block(const void* x, DataType type, int64_t n) const override {
    double largest = 0;
    visit(
        type, n, [&](double xi) { largest = std::isnan(xi) || std::abs(xi) > largest ? std::abs(xi) : largest; }, x);
    return largest;
  }

  void interpolate_block(double alpha, const void* x, const void* y, void* z, DataType type, int64_t n) const override {
    update(
        type, n, [&](double, double xi, double yi) { return alpha < 0.5 ? xi + alpha * (yi - xi) : yi + (1 - alpha) * (xi - yi); },
        z, x, y);
  }

  void project_box_block(double epsilon, const void* center, void* x, DataType type, int64_t n) const override {
    update(
        type, n,
        [&](double xi, double ci) {
          const double r = epsilon * (std::abs(ci) + 1);
          return ci + std::clamp(xi - ci, -r, r);
        },
        x, center);
  }

  void scale_by_magnitude_block(double offset, const void* x, void* y, DataType type, int64_t n) const override {
    update(
        type, n, [&](double yi, double xi) { return yi * (std::abs(xi) + offset); }, y, x);
  }

  void sgd_block(const SgdSpec& spec, void* weights, const void* gradient, void* velocity, DataType type,
                 int64_t n) const override {
    const auto step = [&](double w, double gradient_i) {
      return spec.gradient_scale * gradient_i + spec.weight_decay * w;
    };
    update(
        type, n, [&](double v, double w, double g) { return spec.momentum * v + step(w, g); }, velocity, weights,
        gradient);
    update(
        type, n,
        [&](double w, double g, double v) {
          return w - spec.rate * (spec.nesterov ? step(w, g) + spec.momentum * v : v);
        },
        weights, gradient, velocity);
  }

  void adam_block(const AdamSpec& spec, void* weights, const void* gradient, void* m, void* v, DataType type,
                  int64_t n) const override {
    const double coupled = spec.decoupled ? 0.0 : spec.weight_decay;
    const double decay = spec.decoupled ? spec.rate * spec.weight_decay : 0.0;
    const double unbias_m = 1.0 / (1.0 - std::pow(spec.beta1, static_cast<double>(spec.step)));
    const double unbias_v = 1.0 / (1.0 - std::pow(spec.beta2, static_cast<double>(spec.step)));
    const auto step = [&](double w, double gradient_i) { return spec.gradient_scale * gradient_i + coupled * w; };
    update(
        type, n, [&](double mi, double w, double g) { return spec.beta1 * mi + (1 - spec.beta1) * step(w, g); }, m,
        weights, gradient);
    update(
        type, n,
        [&](double vi, double w, double g) { return spec.beta2 * vi + (1 - spec.beta2) * step(w, g) * step(w, g); }, v,
        weights, gradient);
    update(
        type, n,
        [&](double w, double mi, double vi) {
          return w - decay * w - spec.rate * (mi * unbias_m) / (std::sqrt(vi * unbias_v) + spec.epsilon);
        },
        weights, m, v);
  }

  void lars_block(const LarsSpec& spec, void* weights, const void* gradient, void* velocity, DataType type,
                  int64_t n) const override {
    const auto step = [&](double w, double g) {
      return spec.rate * (spec.gradient_scale * g + spec.weight_decay * w);
    };
    update(
        type, n, [&](double v, double w, double g) { return spec.momentum * v + step(w, g); }, velocity, weights,
        gradient);
    update(
        type, n,
        [&](double w, double g, double v) { return w - (spec.nesterov ? step(w, g) + spec.momentum * v : v); }, weights,
        gradient, velocity);
  }

  double lamb_moments_block(const LambBlock& block, const void* weights, const void* gradient, void* m, void* v,
                            bool wanted, DataType type, int64_t n) const override {
    const LambSpec& spec = block.spec;
    update(
        type, n, [&](double mi, double g) { return spec.beta1 * mi + (1 - spec.beta1) * spec.gradient_scale * g; }, m,
        gradient);
    update(
        type, n,
        [&](double vi, double g) {
          return spec.beta2 * vi + (1 - spec.beta2) * spec.gradient_scale * g * spec.gradient_scale * g;
        },
        v, gradient);
    double squares = 0;
    if (!wanted) return squares;
    visit(
        type, n,
        [&](double w, double mi, double vi) {
          const double r = lamb_step(block, w, mi, vi);
          squares += r * r;
        },
        weights, m, v);
    return squares;
  }

  void lamb_block(const LambBlock& block, void* weights, const void* m, const void* v, DataType type,
                  int64_t n) const override {
    update(
        type, n,
        [&](double w, double mi, double vi) { return w - block.spec.rate * lamb_step(block, w, mi, vi); }, weights, m,
        v);
  }

 private:
  static double lamb_step(const LambBlock& block, double w, double m, double v) {
    return m * block.unbias_m / (std::sqrt(v * block.unbias_v) + block.spec.epsilon) + block.spec.weight_decay * w;
  }

  /// body(a[i], ...) for i in [0, n).
  template <typename Body, typename... Vectors>
  static void visit(DataType type, int64_t n, const Body& body, Vectors... vectors) {
    with_parameter_type(kVector, type, [&](auto element) {
      using T = decltype(element);
      for (int64_t i = 0; i < n; ++i) body(static_cast<double>(static_cast<const T*>(vectors)[i])...);
    });
  }

  /// out[i] = body(out[i], a[i], ...) for i in [0, n).
  template <typename Body, typename... Vectors>
  static void update(DataType type, int64_t n, const Body& body, void* out, Vectors... vectors) {
    with_parameter_type(kVector, type, [&](auto element) {
      using T = decltype(element);
      T* const y = static_cast<T*>(out);
      for (int64_t i = 0; i < n; ++i) {
        y[i] =
            static_cast<T>(body(static_cast<double>(y[i]), static_cast<double>(static_cast<const T*>(vectors)[i])...));
      }
    });
  }
};

}  // namespace

BlockVectorKernels* make_vector_kernels() {
  return new ReferenceVectorKernels();
}

}  // namespace ghostbatch::reference
