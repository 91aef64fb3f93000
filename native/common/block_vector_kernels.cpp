#include "common/block_vector_kernels.h"

#include <algorithm>
#include <cmath>

#include "common/blocks.h"
#include "common/check.h"
#include "common/thread_buffer.h"

namespace ghostbatch {
namespace {

constexpr int64_t kBlock = VectorKernels::kBlock;

thread_local ThreadBuffer sums_buffer;

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

/// Work on the pieces that blocks and layers cut a vector into, and sums over the layers.
class Pieces {
 public:
  Pieces(const char* kernel, Lanes* lanes, const Segments& segments)
      : lanes_(lanes), layers_(segments.all()), elements_(segments.elements()) {
    const int64_t layers = static_cast<int64_t>(layers_.size()), pieces = layers + blocks_of(elements_);
    ratios_ = sums_buffer.at_least(kernel, layers + 2 * pieces);
    of_weights_ = ratios_ + layers;
    of_step_ = of_weights_ + pieces;
  }

  /// body(layer, piece, first, count). Piece numbers, layer + block, rise with the place and skip some.
  template <typename Body>
  void run(const Body& body) const {
    for_blocks(lanes_, elements_, [&](int64_t block, int64_t first, int64_t count) {
      const int64_t end = first + count;
      auto layer = std::upper_bound(layers_.begin(), layers_.end(), first,
                                    [](int64_t place, const Segments::Segment& l) { return place < l.end; });
      for (; first < end; first = layer->end, ++layer) {
        const int64_t number = layer - layers_.begin();
        body(number, number + block, first, std::min(layer->end, end) - first);
      }
    });
  }

  double& of_weights(int64_t piece) const { return of_weights_[piece]; }
  double& of_step(int64_t piece) const { return of_step_[piece]; }
  bool adapted(int64_t layer) const { return layers_[static_cast<size_t>(layer)].adapted; }
  double ratio(int64_t layer) const { return ratios_[layer]; }

  /// ratio(layer) = of(norm of the weights, norm of the step), or 1 where the layer is not adapted, from the pieces'
  /// sums of squares.
  template <typename Ratio>
  void combine(const Ratio& of) const {
    for (size_t i = 0; i < layers_.size(); ++i) {
      const Segments::Segment& layer = layers_[i];
      ratios_[i] = 1;
      if (!layer.adapted) continue;
      double weights = 0, step = 0;
      for (int64_t block = layer.first / kBlock; block <= (layer.end - 1) / kBlock; ++block) {
        weights += of_weights_[static_cast<int64_t>(i) + block];
        step += of_step_[static_cast<int64_t>(i) + block];
      }
      ratios_[i] = of(std::sqrt(weights), std::sqrt(step));
    }
  }

 private:
  Lanes* lanes_;
  const std::vector<Segments::Segment>& layers_;
  int64_t elements_;
  double *ratios_, *of_weights_, *of_step_;
};

/// trust norm / step; 1 for a layer at rest, whose ratio says nothing and could pass the range of f32.
double ratio_of(double norm, double step, double trust) {
  constexpr double kRest = 1e-30;
  return norm < kRest || step < kRest ? 1 : trust * norm / step;
}

}  // namespace

void BlockVectorKernels::do_fill(Lanes* lanes, double value, const View& x) const {
  for_blocks(lanes, x.elements,
             [&](int64_t, int64_t first, int64_t count) { fill_block(value, at(x, first), x.type, count); });
}

void BlockVectorKernels::do_copy(Lanes* lanes, const View& x, const View& y) const {
  for_blocks(lanes, x.elements, [&](int64_t, int64_t first, int64_t count) {
    const void* const from = at(x, first);
    void* const to = at(y, first);
    if (x.type == y.type) {
      std::copy_n(static_cast<const char*>(from), count * size_of(x.type), static_cast<char*>(to));
    } else if (x.type == DataType::f32) {
      std::copy_n(static_cast<const float*>(from), count, static_cast<double*>(to));
    } else {
      std::transform(static_cast<const double*>(from), static_cast<const double*>(from) + count,
                     static_cast<float*>(to), [](double value) { return static_cast<float>(value); });
    }
  });
}

void BlockVectorKernels::do_scale(Lanes* lanes, double alpha, const View& x) const {
  for_blocks(lanes, x.elements,
             [&](int64_t, int64_t first, int64_t count) { scale_block(alpha, at(x, first), x.type, count); });
}

void BlockVectorKernels::do_axpy(Lanes* lanes, double alpha, const View& x, const View& y) const {
  const bool widens = x.type != y.type;
  for_blocks(lanes, x.elements, [&](int64_t, int64_t first, int64_t count) {
    if (widens) {
      const float* const from = static_cast<const float*>(at(x, first));
      double* const to = static_cast<double*>(at(y, first));
      for (int64_t i = 0; i < count; ++i) to[i] += alpha * from[i];
    } else {
      axpy_block(alpha, at(x, first), at(y, first), x.type, count);
    }
  });
}

double BlockVectorKernels::do_dot(Lanes* lanes, const View& x, const View& y) const {
  return sum_of_blocks("dot", lanes, x.elements, [&](int64_t first, int64_t count) {
    return dot_block(at(x, first), at(y, first), x.type, count);
  });
}

double BlockVectorKernels::do_sum(Lanes* lanes, const View& x) const {
  return sum_of_blocks("sum", lanes, x.elements,
                       [&](int64_t first, int64_t count) { return sum_block(at(x, first), x.type, count); });
}

double BlockVectorKernels::do_distance(Lanes* lanes, const View& x, const View& y) const {
  return std::sqrt(sum_of_blocks("distance", lanes, x.elements, [&](int64_t first, int64_t count) {
    return squared_distance_block(at(x, first), at(y, first), x.type, count);
  }));
}

double BlockVectorKernels::do_max_abs(Lanes* lanes, const View& x) const {
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

void BlockVectorKernels::do_interpolate(Lanes* lanes, double alpha, const View& x, const View& y, const View& z) const {
  for_blocks(lanes, x.elements, [&](int64_t, int64_t first, int64_t count) {
    interpolate_block(alpha, at(x, first), at(y, first), at(z, first), x.type, count);
  });
}

void BlockVectorKernels::do_project_box(Lanes* lanes, double epsilon, const View& center, const View& x) const {
  for_blocks(lanes, x.elements, [&](int64_t, int64_t first, int64_t count) {
    project_box_block(epsilon, at(center, first), at(x, first), x.type, count);
  });
}

void BlockVectorKernels::do_scale_by_magnitude(Lanes* lanes, double offset, const View& x, const View& y) const {
  for_blocks(lanes, x.elements, [&](int64_t, int64_t first, int64_t count) {
    scale_by_magnitude_block(offset, at(x, first), at(y, first), x.type, count);
  });
}

void BlockVectorKernels::do_sgd(Lanes* lanes, const SgdSpec& spec, const View& weights, const View& gradient,
                                const View& velocity) const {
  for_blocks(lanes, weights.elements, [&](int64_t, int64_t first, int64_t count) {
    sgd_block(spec, at(weights, first), at(gradient, first), at(velocity, first), weights.type, count);
  });
}

void BlockVectorKernels::do_adam(Lanes* lanes, const AdamSpec& spec, const View& weights, const View& gradient,
                                 const View& m, const View& v) const {
  for_blocks(lanes, weights.elements, [&](int64_t, int64_t first, int64_t count) {
    adam_block(spec, at(weights, first), at(gradient, first), at(m, first), at(v, first), weights.type, count);
  });
}

void BlockVectorKernels::do_lars(Lanes* lanes, const LarsSpec& spec, const Segments& segments, const View& weights,
                                 const View& gradient, const View& velocity) const {
  const DataType type = weights.type;
  const Pieces pieces("lars", lanes, segments);
  pieces.run([&](int64_t layer, int64_t piece, int64_t first, int64_t count) {
    if (!pieces.adapted(layer)) return;
    pieces.of_weights(piece) = dot_block(at(weights, first), at(weights, first), type, count);
    pieces.of_step(piece) = dot_block(at(gradient, first), at(gradient, first), type, count);
  });
  pieces.combine([&](double norm, double step) {
    return ratio_of(norm, std::abs(spec.gradient_scale) * step + spec.weight_decay * norm, spec.trust);
  });
  pieces.run([&](int64_t layer, int64_t, int64_t first, int64_t count) {
    LarsSpec own = spec;
    own.rate *= pieces.ratio(layer);
    own.weight_decay *= pieces.adapted(layer) ? 1 : 0;
    lars_block(own, at(weights, first), at(gradient, first), at(velocity, first), type, count);
  });
}

void BlockVectorKernels::do_lamb(Lanes* lanes, const LambSpec& spec, const Segments& segments, const View& weights,
                                 const View& gradient, const View& m, const View& v) const {
  const DataType type = weights.type;
  const double step = static_cast<double>(spec.step);
  const double unbias_m = 1 / (1 - std::pow(spec.beta1, step)), unbias_v = 1 / (1 - std::pow(spec.beta2, step));
  const Pieces pieces("lamb", lanes, segments);
  const auto of_layer = [&](int64_t layer, double ratio) {
    LambBlock block{spec, unbias_m, unbias_v};
    block.spec.rate *= ratio;
    block.spec.weight_decay *= pieces.adapted(layer) ? 1 : 0;
    return block;
  };
  pieces.run([&](int64_t layer, int64_t piece, int64_t first, int64_t count) {
    const bool adapted = pieces.adapted(layer);
    pieces.of_step(piece) = lamb_moments_block(of_layer(layer, 1), at(weights, first), at(gradient, first),
                                               at(m, first), at(v, first), adapted, type, count);
    if (adapted) pieces.of_weights(piece) = dot_block(at(weights, first), at(weights, first), type, count);
  });
  pieces.combine([](double norm, double step) { return ratio_of(norm, step, 1); });
  pieces.run([&](int64_t layer, int64_t, int64_t first, int64_t count) {
    lamb_block(of_layer(layer, pieces.ratio(layer)), at(weights, first), at(m, first), at(v, first), type, count);
  });
}

}  // namespace ghostbatch
