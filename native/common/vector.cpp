#include "ghostbatch/vector.h"

#include "common/check.h"

namespace ghostbatch {
namespace {

void check_vector(const char* kernel, const char* role, const View& view) {
  check_parameter_type(kernel, role, view.type);
  if (view.elements < 0 || view.elements > kMaxElements) {
    fail(kernel, text(role, " of at most 2^48 elements"), text(view.elements));
  }
  if (view.elements > 0) check_memory(kernel, role, view);
}

void check_as_long(const char* kernel, const char* role, const View& view, const View& first) {
  check_vector(kernel, role, view);
  if (view.elements != first.elements) {
    fail(kernel, text(role, " of ", first.elements, " elements"), text(view.elements));
  }
}

void check_same(const char* kernel, const char* role, const View& view, const View& first) {
  if (view.elements != first.elements || view.type != first.type) {
    fail(kernel, text(role, " of ", first.elements, " ", name_of(first.type)),
         text(view.elements, " ", name_of(view.type)));
  }
  if (view.elements > 0) check_memory(kernel, role, view);
}

/// A factor in [0, 1).
void check_decay(const char* kernel, const char* name, double value) {
  if (!(value >= 0 && value < 1)) fail(kernel, text(name, " in [0, 1)"), text(value));
}

void check_segments(const char* kernel, const Segments& segments, const View& vector) {
  if (segments.elements() == vector.elements) return;
  fail(kernel, text("segments of ", vector.elements, " elements"), text(segments.elements()));
}

}  // namespace

Segments* Segments::create() {
  return new Segments();
}

void Segments::add(int64_t elements, bool adapted) {
  check_range("segments", "elements of a layer", elements, 1, kMaxElements - this->elements());
  all_.push_back({this->elements(), this->elements() + elements, adapted});
}

void VectorKernels::fill(Lanes* lanes, double value, const View& x) const {
  check_vector("fill", "x", x);
  do_fill(lanes, value, x);
}

void VectorKernels::copy(Lanes* lanes, const View& x, const View& y) const {
  check_vector("copy", "x", x);
  check_as_long("copy", "y", y, x);
  do_copy(lanes, x, y);
}

void VectorKernels::scale(Lanes* lanes, double alpha, const View& x) const {
  check_vector("scale", "x", x);
  do_scale(lanes, alpha, x);
}

void VectorKernels::axpy(Lanes* lanes, double alpha, const View& x, const View& y) const {
  check_vector("axpy", "x", x);
  if (x.type == DataType::f32 && y.type == DataType::f64) {
    check_as_long("axpy", "y", y, x);
  } else {
    check_same("axpy", "y", y, x);
  }
  do_axpy(lanes, alpha, x, y);
}

double VectorKernels::dot(Lanes* lanes, const View& x, const View& y) const {
  check_vector("dot", "x", x);
  check_same("dot", "y", y, x);
  return do_dot(lanes, x, y);
}

double VectorKernels::sum(Lanes* lanes, const View& x) const {
  check_vector("sum", "x", x);
  return do_sum(lanes, x);
}

double VectorKernels::distance(Lanes* lanes, const View& x, const View& y) const {
  check_vector("distance", "x", x);
  check_same("distance", "y", y, x);
  return do_distance(lanes, x, y);
}

double VectorKernels::max_abs(Lanes* lanes, const View& x) const {
  check_vector("max_abs", "x", x);
  return do_max_abs(lanes, x);
}

void VectorKernels::interpolate(Lanes* lanes, double alpha, const View& x, const View& y, const View& z) const {
  check_vector("interpolate", "x", x);
  check_same("interpolate", "y", y, x);
  check_same("interpolate", "z", z, x);
  do_interpolate(lanes, alpha, x, y, z);
}

void VectorKernels::project_box(Lanes* lanes, double epsilon, const View& center, const View& x) const {
  check_vector("project_box", "center", center);
  check_same("project_box", "x", x, center);
  if (!(epsilon >= 0 && epsilon < 1e300)) fail("project_box", "epsilon of at least 0", text(epsilon));
  do_project_box(lanes, epsilon, center, x);
}

void VectorKernels::scale_by_magnitude(Lanes* lanes, double offset, const View& x, const View& y) const {
  check_finite("scale_by_magnitude", "offset", offset);
  check_vector("scale_by_magnitude", "x", x);
  check_same("scale_by_magnitude", "y", y, x);
  do_scale_by_magnitude(lanes, offset, x, y);
}

void VectorKernels::sgd(Lanes* lanes, const SgdSpec& spec, const View& weights, const View& gradient,
                        const View& velocity) const {
  check_finite("sgd", "rate", spec.rate);
  check_finite("sgd", "momentum", spec.momentum);
  check_finite("sgd", "weight_decay", spec.weight_decay);
  check_finite("sgd", "gradient_scale", spec.gradient_scale);
  check_vector("sgd", "weights", weights);
  check_same("sgd", "gradient", gradient, weights);
  check_same("sgd", "velocity", velocity, weights);
  do_sgd(lanes, spec, weights, gradient, velocity);
}

void VectorKernels::adam(Lanes* lanes, const AdamSpec& spec, const View& weights, const View& gradient, const View& m,
                         const View& v) const {
  check_finite("adam", "rate", spec.rate);
  check_decay("adam", "beta1", spec.beta1);
  check_decay("adam", "beta2", spec.beta2);
  if (!(spec.epsilon > 0 && spec.epsilon < 1e30)) fail("adam", "epsilon above 0", text(spec.epsilon));
  check_finite("adam", "weight_decay", spec.weight_decay);
  check_finite("adam", "gradient_scale", spec.gradient_scale);
  check_range("adam", "step", spec.step, 1, kMaxElements);
  check_vector("adam", "weights", weights);
  check_same("adam", "gradient", gradient, weights);
  check_same("adam", "m", m, weights);
  check_same("adam", "v", v, weights);
  do_adam(lanes, spec, weights, gradient, m, v);
}

void VectorKernels::lars(Lanes* lanes, const LarsSpec& spec, const Segments& segments, const View& weights,
                         const View& gradient, const View& velocity) const {
  check_finite("lars", "rate", spec.rate);
  check_finite("lars", "momentum", spec.momentum);
  check_finite("lars", "weight_decay", spec.weight_decay);
  check_finite("lars", "trust", spec.trust);
  check_finite("lars", "gradient_scale", spec.gradient_scale);
  check_vector("lars", "weights", weights);
  check_same("lars", "gradient", gradient, weights);
  check_same("lars", "velocity", velocity, weights);
  check_segments("lars", segments, weights);
  do_lars(lanes, spec, segments, weights, gradient, velocity);
}

void VectorKernels::lamb(Lanes* lanes, const LambSpec& spec, const Segments& segments, const View& weights,
                         const View& gradient, const View& m, const View& v) const {
  check_finite("lamb", "rate", spec.rate);
  check_decay("lamb", "beta1", spec.beta1);
  check_decay("lamb", "beta2", spec.beta2);
  if (!(spec.epsilon > 0 && spec.epsilon < 1e30)) fail("lamb", "epsilon above 0", text(spec.epsilon));
  check_finite("lamb", "weight_decay", spec.weight_decay);
  check_finite("lamb", "gradient_scale", spec.gradient_scale);
  check_range("lamb", "step", spec.step, 1, kMaxElements);
  check_vector("lamb", "weights", weights);
  check_same("lamb", "gradient", gradient, weights);
  check_same("lamb", "m", m, weights);
  check_same("lamb", "v", v, weights);
  check_segments("lamb", segments, weights);
  do_lamb(lanes, spec, segments, weights, gradient, m, v);
}

}  // namespace ghostbatch
