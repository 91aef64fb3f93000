// What the tests of engines share: small networks, an engine with all that it needs, what a step gives.
#pragma once

#include <algorithm>
#include <cmath>
#include <ostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "ghostbatch/engine.h"
#include "tests/support.h"

namespace ghostbatch::tests {

constexpr int32_t kClasses = 5;

/// Lays out parameters and statistics as the operations come.
class Builder {
 public:
  Builder(int64_t height, int64_t width, int64_t channels) : network_(Network::create(height, width, channels)) {}

  int32_t convolution(int32_t src, int64_t filters, int64_t kernel, int64_t stride, bool bias = false) {
    ConvolutionSpec spec;
    spec.height = network_->value_height(src);
    spec.width = network_->value_width(src);
    spec.channels = network_->value_channels(src);
    spec.filters = filters;
    spec.kernel_h = spec.kernel_w = kernel;
    spec.stride_h = spec.stride_w = stride;
    spec.pad_h = spec.pad_w = kernel / 2;
    spec.bias = bias;
    const int64_t weights = take(spec.weights_elements());
    return network_->convolution(name("conv").c_str(), src, spec, weights, bias ? take(filters) : -1);
  }
  int32_t linear(int32_t src, int64_t out, bool bias = true) {
    LinearSpec spec;
    spec.in = network_->value_height(src) * network_->value_width(src) * network_->value_channels(src);
    spec.out = out;
    spec.bias = bias;
    const int64_t weights = take(spec.in * out);
    return network_->linear(name("linear").c_str(), src, spec, weights, bias ? take(out) : -1);
  }
  int32_t norm(int32_t src, bool relu, int32_t residual = -1) {
    const int64_t channels = network_->value_channels(src);
    const int64_t gamma = take(channels), beta = take(channels), statistics = statistics_;
    statistics_ += 2 * channels;
    gammas_.emplace_back(gamma, channels);
    return network_->ghost_batch_norm(name("norm").c_str(), src, residual, relu, 1e-5, gamma, beta, statistics);
  }
  int32_t pool(int32_t src, PoolKind kind, int64_t window, int64_t stride) {
    PoolSpec spec;
    spec.kind = kind;
    spec.height = network_->value_height(src);
    spec.width = network_->value_width(src);
    spec.channels = network_->value_channels(src);
    spec.window_h = spec.window_w = window;
    spec.stride_h = spec.stride_w = stride;
    return network_->pool(name("pool").c_str(), src, spec);
  }
  Network& operator*() { return *network_; }
  Network* operator->() { return network_.get(); }

  std::vector<double> initial(uint32_t seed) const {
    std::mt19937 random(seed);
    std::uniform_real_distribution<double> uniform(-0.3, 0.3);
    std::vector<double> values(static_cast<size_t>(elements_));
    for (double& v : values) v = uniform(random);
    for (const auto& [first, count] : gammas_) {
      for (int64_t i = 0; i < count; ++i) values[static_cast<size_t>(first + i)] += 1;
    }
    return values;
  }
  int64_t elements() const { return elements_; }
  int64_t statistics() const { return statistics_; }

 private:
  int64_t take(int64_t elements) {
    const int64_t offset = elements_;
    elements_ += elements;
    return offset;
  }
  std::string name(const char* kind) { return std::string(kind) + std::to_string(network_->operations()); }

  Owned<Network> network_;
  int64_t elements_ = 0, statistics_ = 0;
  std::vector<std::pair<int64_t, int64_t>> gammas_;
};

/// Stem, two residual blocks (one with a strided shortcut), dropout, global pooling, linear: every kind of gradient sum.
inline Builder residual_network() {
  Builder b(6, 6, 2);
  const int32_t stem = b.norm(b.convolution(0, 3, 3, 1), true);
  const int32_t inner = b.norm(b.convolution(stem, 3, 3, 1), true);
  const int32_t block1 = b.norm(b.convolution(inner, 3, 3, 1), true, stem);
  const int32_t down = b.norm(b.convolution(block1, 4, 3, 2), true);
  const int32_t shortcut = b.norm(b.convolution(block1, 4, 1, 2), false);
  const int32_t block2 = b.norm(b.convolution(down, 4, 3, 1), true, shortcut);
  const int32_t dropped = b->dropout("dropout", block2, 0.25);
  b.linear(b.pool(dropped, PoolKind::average, 3, 3), kClasses);
  return b;
}

/// The same with channels that oneDNN takes in bf16, too: whole vectors, or the few of a stem.
inline Builder wide_network() {
  Builder b(6, 6, 2);
  const int32_t stem = b.norm(b.convolution(0, 16, 3, 1), true);
  const int32_t inner = b.norm(b.convolution(stem, 16, 3, 1), true);
  const int32_t block1 = b.norm(b.convolution(inner, 16, 3, 1), true, stem);
  const int32_t down = b.norm(b.convolution(block1, 32, 3, 2), true);
  const int32_t shortcut = b.norm(b.convolution(block1, 32, 1, 2), false);
  const int32_t block2 = b.norm(b.convolution(down, 32, 3, 1), true, shortcut);
  b.linear(b.pool(b->dropout("dropout", block2, 0.25), PoolKind::average, 3, 3), kClasses);
  return b;
}

/// Convolutions, max pooling, ReLU and sums without any batch norm.
inline Builder plain_network() {
  Builder b(6, 6, 2);
  const int32_t a = b->relu("relu", b.convolution(0, 4, 3, 1, true));
  const int32_t c = b->add("add", b.convolution(a, 4, 3, 1, true), a, true);
  b.linear(b->dropout("dropout", b.pool(c, PoolKind::max, 2, 2), 0.5), kClasses);
  return b;
}

inline Owned<Samples> random_samples(int64_t count, uint32_t seed = 7) {
  Owned<Samples> samples(Samples::create(DataType::f32, count, 6, 6, 2, kClasses));
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count * 72));
  for (float& v : values) v = normal(random);
  samples->write_floats(0, count, values.data());
  std::vector<int32_t> labels(static_cast<size_t>(count));
  for (int32_t& label : labels) label = static_cast<int32_t>(random() % kClasses);
  samples->write_labels(0, count, labels.data());
  return samples;
}

inline std::vector<int32_t> first_rows(int64_t batch) {
  std::vector<int32_t> indices(static_cast<size_t>(batch));
  for (size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<int32_t>(i);
  return indices;
}

inline bool cpu_has_bfloat16() {
  return Owned<Device>(Device::create("cpu"))->supports(DataType::bf16);
}

/// How ghosts meet micro-batches.
struct Cut {
  int64_t micro_batch;
  bool ghost_per_lane = false;
  Cut(int64_t rows, bool per_lane = false) : micro_batch(rows), ghost_per_lane(per_lane) {}
  /// Whether lanes share ghosts of so many rows.
  bool shares(int64_t ghost) const { return ghost > micro_batch && !ghost_per_lane; }
  friend std::ostream& operator<<(std::ostream& out, const Cut& cut) {
    return out << "micro-batches of " << cut.micro_batch << (cut.ghost_per_lane ? ", a ghost a lane" : "");
  }
};

/// An engine with everything that must outlive it.
struct Session {
  Owned<Device> device;
  Owned<Lanes> lanes;
  Owned<Engine> engine;
  int64_t elements, statistics;

  Session(const char* backend, DataType type, Builder& network, int32_t threads, Cut cut, int64_t ghost,
          bool backward = true, bool input_gradient = false, double std = 1)
      : Session(make_device(backend), type, network, threads, cut, ghost, backward, input_gradient, std) {}
  Session(Owned<Device> on, DataType type, Builder& network, int32_t threads, Cut cut, int64_t ghost,
          bool backward = true, bool input_gradient = false, double std = 1)
      : device(std::move(on)), lanes(Lanes::create(threads)), elements(network.elements()),
        statistics(network.statistics()) {
    EngineSpec spec;
    spec.type = type;
    spec.micro_batch = cut.micro_batch;
    spec.ghost = ghost;
    spec.ghost_per_lane = cut.ghost_per_lane;
    spec.backward = backward;
    spec.input_gradient = input_gradient;
    spec.load.value_scale = 1;
    spec.load.std[0] = static_cast<float>(std);
    engine.reset(Engine::create(*device, *lanes, *network, spec));
    set(network.initial(3));
    std::vector<double> running(static_cast<size_t>(statistics));
    for (size_t i = 0; i < running.size(); ++i) running[i] = 0.5 + 0.01 * static_cast<double>(i);
    if (statistics > 0) engine->statistics()->write_doubles(0, statistics, running.data());
  }

  void set(const std::vector<double>& parameters) {
    engine->parameters()->write_doubles(0, elements, parameters.data());
    engine->parameters_changed();
  }
  LossResult step(const Samples& samples, int64_t batch, const StepSpec& spec, void* logits = nullptr,
                  void* input_gradient = nullptr, const float* weights = nullptr) {
    const std::vector<int32_t> indices = first_rows(batch);
    LossResult result;
    engine->step(samples, indices.data(), batch, weights, spec, logits, input_gradient, result);
    return result;
  }
  static std::vector<double> read(const Tensor* tensor) {
    std::vector<double> values(static_cast<size_t>(tensor->elements()));
    tensor->read_doubles(0, tensor->elements(), values.data());
    return values;
  }
  std::vector<double> gradients() { return read(engine->gradients()); }
  std::vector<double> running() { return read(engine->statistics()); }
};

/// What a step gives.
struct Step {
  LossResult loss;
  std::vector<double> gradients, running, logits, input_gradient;
};

inline void expect_near(const std::vector<double>& got, const std::vector<double>& wanted, double tolerance) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], wanted[i], tolerance * std::max(1.0, std::abs(wanted[i]))) << "element " << i;
  }
}

}  // namespace ghostbatch::tests
