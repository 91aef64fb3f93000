#include "ghostbatch/vector.h"

#include <algorithm>
#include <cmath>

#include "common/check.h"
#include "common/thread_buffer.h"

namespace ghostbatch {
namespace {

constexpr int64_t kBlock = VectorKernels::kBlock;

thread_local ThreadBuffer sums_buffer;

/// body(block, first, count) for every block of n elements.
template <typename Body>
class BlockWork final : public LaneWork {
 public:
  BlockWork(int64_t elements, const Body& body) : elements_(elements), body_(body) {}
  void run(int64_t block, int32_t) override {
    const int64_t first = block * kBlock;
    body_(block, first, std::min(kBlock, elements_ - first));
  }

 private:
  int64_t elements_;
  const Body& body_;
};

int64_t blocks_of(int64_t elements) {
  return (elements + kBlock - 1) / kBlock;
}

template <typename Body>
void for_blocks(Lanes* lanes, int64_t elements, const Body& body) {
  BlockWork<Body> work(elements, body);
  const int64_t blocks = blocks_of(elements);
  if (lanes != nullptr && blocks > 0) {
    lanes->run(blocks, work);
    return;
  }
  for (int64_t block = 0; block < blocks; ++block) work.run(block, 0);
}

/// One double a block, made by body(first, count) on any lane: to be combined in order of the blocks.
template <typename Body>
const double* of_blocks(const char* kernel, Lanes* lanes, int64_t elements, const Body& body) {
  double* const results = sums_buffer.at_least(kernel, blocks_of(elements));
  for_blocks(lanes, elements,
             [&](int64_t block, int64_t first, int64_t count) { results[block] = body(first, count); });
  return results;
}

template <typename Body>
double sum_of_blocks(const char* kernel, Lanes* lanes, int64_t elements, const Body& body) {
  const double* const results = of_blocks(kernel, lanes, elements, body);
  double sum = 0;
  for (int64_t block = 0; block < blocks_of(elements); ++block) sum += results[block];
  return sum;
}

void* at(const View& view, int64_t first) {
  return static_cast<char*>(view.data) + first * size_of(view.type);
}

void check_vector(const char* kernel, const char* role, const View& view) {
  check_parameter_type(kernel, role, view.type);
  if (view.elements < 0 || view.elements > kMaxElements) {
    fail(kernel, text(role, " of at most 2^48 elements"), text(view.elements));
  }
  if (view.elements > 0) check_memory(kernel, role, view);
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

}  // namespace

void VectorKernels::fill(Lanes* lanes, double value, const View& x) const {
  check_vector("fill", "x", x);
  for_blocks(lanes, x.elements,
             [&](int64_t, int64_t first, int64_t count) { fill_block(value, at(x, first), x.type, count); });
}

void VectorKernels::copy(Lanes* lanes, const View& x, const View& y) const {
  check_vector("copy", "x", x);
  check_same("copy", "y", y, x);
  for_blocks(lanes, x.elements, [&](int64_t, int64_t first, int64_t count) {
    const char* const from = static_cast<const char*>(at(x, first));
    std::copy(from, from + count * size_of(x.type), static_cast<char*>(at(y, first)));
  });
}

void VectorKernels::scale(Lanes* lanes, double alpha, const View& x) const {
  check_vector("scale", "x", x);
  for_blocks(lanes, x.elements,
             [&](int64_t, int64_t first, int64_t count) { scale_block(alpha, at(x, first), x.type, count); });
}

void VectorKernels::axpy(Lanes* lanes, double alpha, const View& x, const View& y) const {
  check_vector("axpy", "x", x);
  check_same("axpy", "y", y, x);
  for_blocks(lanes, x.elements, [&](int64_t, int64_t first, int64_t count) {
    axpy_block(alpha, at(x, first), at(y, first), x.type, count);
  });
}

double VectorKernels::dot(Lanes* lanes, const View& x, const View& y) const {
  check_vector("dot", "x", x);
  check_same("dot", "y", y, x);
  return sum_of_blocks("dot", lanes, x.elements, [&](int64_t first, int64_t count) {
    return dot_block(at(x, first), at(y, first), x.type, count);
  });
}

double VectorKernels::sum(Lanes* lanes, const View& x) const {
  check_vector("sum", "x", x);
  return sum_of_blocks("sum", lanes, x.elements,
                       [&](int64_t first, int64_t count) { return sum_block(at(x, first), x.type, count); });
}

double VectorKernels::distance(Lanes* lanes, const View& x, const View& y) const {
  check_vector("distance", "x", x);
  check_same("distance", "y", y, x);
  return std::sqrt(sum_of_blocks("distance", lanes, x.elements, [&](int64_t first, int64_t count) {
    return squared_distance_block(at(x, first), at(y, first), x.type, count);
  }));
}

double VectorKernels::max_abs(Lanes* lanes, const View& x) const {
  check_vector("max_abs", "x", x);
  const double* const results = of_blocks("max_abs", lanes, x.elements, [&](int64_t first, int64_t count) {
    return max_abs_block(at(x, first), x.type, count);
  });
  double result = 0;
  for (int64_t block = 0; block < blocks_of(x.elements); ++block) {
    if (std::isnan(results[block])) return results[block];
    result = std::max(result, results[block]);
  }
  return result;
}

void VectorKernels::interpolate(Lanes* lanes, double alpha, const View& x, const View& y, const View& z) const {
  check_vector("interpolate", "x", x);
  check_same("interpolate", "y", y, x);
  check_same("interpolate", "z", z, x);
  for_blocks(lanes, x.elements, [&](int64_t, int64_t first, int64_t count) {
    interpolate_block(alpha, at(x, first), at(y, first), at(z, first), x.type, count);
  });
}

void VectorKernels::project_box(Lanes* lanes, double epsilon, const View& center, const View& x) const {
  check_vector("project_box", "center", center);
  check_same("project_box", "x", x, center);
  if (!(epsilon >= 0 && epsilon < 1e300)) fail("project_box", "epsilon of at least 0", text(epsilon));
  for_blocks(lanes, x.elements, [&](int64_t, int64_t first, int64_t count) {
    project_box_block(epsilon, at(center, first), at(x, first), x.type, count);
  });
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
  for_blocks(lanes, weights.elements, [&](int64_t, int64_t first, int64_t count) {
    sgd_block(spec, at(weights, first), at(gradient, first), at(velocity, first), weights.type, count);
  });
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
  for_blocks(lanes, weights.elements, [&](int64_t, int64_t first, int64_t count) {
    adam_block(spec, at(weights, first), at(gradient, first), at(m, first), at(v, first), weights.type, count);
  });
}

}  // namespace ghostbatch
