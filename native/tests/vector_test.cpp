// Kernels on the parameter vector: formulas, and the same bits on any number of lanes.
#include "ghostbatch/vector.h"

#include <algorithm>

#include "cuda/kernels.h"
#include "tests/cuda_context.h"
#include "tests/support.h"

namespace ghostbatch::tests {
namespace {

constexpr int64_t kBlock = VectorKernels::kBlock;
const char* const kNames[] = {"reference", "cpu", "cuda"};
const std::vector<Backend> kBackends{{"reference", DataType::f64}, {"reference", DataType::f32},
                                     {"cpu", DataType::f32},       {"cpu", DataType::f64},
                                     {"cuda", DataType::f32},      {"cuda", DataType::f64}};
/// Around the vector width, and around blocks.
const int64_t kSizes[] = {0, 1, 15, 16, 17, 33, 1000, kBlock, kBlock + 1, 3 * kBlock + 17};

double elementwise_tolerance(DataType type) {
  return type == DataType::f64 ? Tolerance::kDouble : Tolerance::kVector;
}

/// A backend's kernels; of cuda on the host.
class Kernels {
 public:
  explicit Kernels(const std::string& backend) {
    if (backend == "cuda") {
      context_ = std::make_unique<HostContext>();
      kernels_.reset(cuda::make_vector_kernels(**context_));
    } else {
      kernels_.reset(make_device(backend.c_str())->vector_kernels());
    }
  }
  const VectorKernels* operator->() const { return kernels_.get(); }

 private:
  std::unique_ptr<HostContext> context_;  // outlives them
  Owned<VectorKernels> kernels_;
};

struct Vectors {
  std::vector<double> x, y;
};

Vectors make_vectors(int64_t n) {
  Random random(static_cast<uint32_t>(n) + 1);
  return {random.normals(n), random.normals(n)};
}

template <typename F>
std::vector<double> map(const Vectors& vectors, const F& f) {
  std::vector<double> result;
  for (size_t i = 0; i < vectors.x.size(); ++i) result.push_back(f(vectors.x[i], vectors.y[i]));
  return result;
}

TEST(Vector, RefusesBadArguments) {
  for (const char* name : kNames) {
    SCOPED_TRACE(name);
    const Kernels kernels(name);
    const Buffer x(DataType::f32, std::vector<double>(8, 1.0)), y(DataType::f32, std::vector<double>(8, 1.0));
    const Buffer shorter(DataType::f32, 7), doubles(DataType::f64, 8), bytes(DataType::u8, 8);
    const View v = x.view(), w = y.view();
    expect_error([&] { kernels->fill(nullptr, 1, bytes.view()); }, "[fill] needs x of f32 or f64, got u8");
    expect_error([&] { kernels->fill(nullptr, 1, View(nullptr, 8, DataType::f32)); }, "x with memory, got null");
    expect_error([&] { kernels->fill(nullptr, 1, View(v.data, -8, DataType::f32)); }, "[fill] needs x of at most");
    expect_error([&] { kernels->copy(nullptr, v, shorter.view()); }, "[copy] needs y of 8 elements, got 7");
    expect_error([&] { kernels->copy(nullptr, v, bytes.view()); }, "[copy] needs y of f32 or f64, got u8");
    expect_error([&] { kernels->axpy(nullptr, 1, doubles.view(), v); }, "[axpy] needs y of 8 f64, got 8 f32");
    expect_error([&] { kernels->dot(nullptr, v, shorter.view()); }, "[dot] needs y");
    expect_error([&] { kernels->distance(nullptr, v, shorter.view()); }, "[distance] needs y");
    expect_error([&] { kernels->interpolate(nullptr, 0.5, v, w, shorter.view()); }, "[interpolate] needs z");
    expect_error([&] { kernels->project_box(nullptr, -1, v, w); }, "epsilon of at least 0");
    expect_error([&] { kernels->project_box(nullptr, NAN, v, w); }, "epsilon of at least 0");
    expect_error([&] { kernels->scale_by_magnitude(nullptr, 0, v, shorter.view()); }, "[scale_by_magnitude] needs y");
    expect_error([&] { kernels->scale_by_magnitude(nullptr, NAN, v, w); }, "a finite offset");
    SgdSpec sgd;
    expect_error([&] { kernels->sgd(nullptr, sgd, v, w, shorter.view()); }, "[sgd] needs velocity");
    sgd.rate = NAN;
    expect_error([&] { kernels->sgd(nullptr, sgd, v, w, w); }, "a finite rate");
    AdamSpec adam;
    adam.step = 0;
    expect_error([&] { kernels->adam(nullptr, adam, v, w, w, w); }, "step in [1,");
    adam.step = 1;
    adam.beta1 = 1;
    expect_error([&] { kernels->adam(nullptr, adam, v, w, w, w); }, "beta1 in [0, 1)");
    adam.beta1 = 0.9;
    adam.epsilon = 0;
    expect_error([&] { kernels->adam(nullptr, adam, v, w, w, w); }, "epsilon above 0");
    const auto segments = own(Segments::create());
    expect_error([&] { segments->add(0, true); }, "[segments] needs elements of a layer in [1,");
    expect_error([&] { segments->add(int64_t{1} << 62, true); }, "elements of a layer in [1,");
    expect_error([&] { kernels->lars(nullptr, LarsSpec(), *segments, v, w, w); },
                 "[lars] needs segments of 8 elements, got 0");
    segments->add(7, true);
    expect_error([&] { kernels->lamb(nullptr, LambSpec(), *segments, v, w, w, w); },
                 "[lamb] needs segments of 8 elements, got 7");
    segments->add(1, false);
    LarsSpec lars;
    expect_error([&] { kernels->lars(nullptr, lars, *segments, v, w, shorter.view()); }, "[lars] needs velocity");
    lars.trust = NAN;
    expect_error([&] { kernels->lars(nullptr, lars, *segments, v, w, w); }, "a finite trust");
    LambSpec lamb;
    expect_error([&] { kernels->lamb(nullptr, lamb, *segments, v, w, w, doubles.view()); }, "[lamb] needs v");
    lamb.beta2 = NAN;
    expect_error([&] { kernels->lamb(nullptr, lamb, *segments, v, w, w, w); }, "beta2 in [0, 1)");
  }
}

TEST(Vector, ElementwiseKernelsMatchTheirFormulas) {
  for (const Backend& backend : kBackends) {
    const Kernels kernels(backend.name);
    const double tolerance = elementwise_tolerance(backend.type);
    for (const int64_t n : kSizes) {
      SCOPED_TRACE(::testing::Message() << backend.name << " type " << static_cast<int>(backend.type) << " n=" << n);
      const Vectors vectors = make_vectors(n);
      const Buffer x(backend.type, vectors.x), y(backend.type, vectors.y), z(backend.type, n);
      kernels->interpolate(nullptr, 0.3, x.view(), y.view(), z.view());
      expect_close("interpolate", z.values(), map(vectors, [](double a, double b) { return 0.7 * a + 0.3 * b; }),
                   tolerance);
      kernels->copy(nullptr, y.view(), z.view());
      expect_equal("copy", z.values(), y.values());
      kernels->axpy(nullptr, -1.5, x.view(), z.view());
      expect_close("axpy", z.values(), map(vectors, [](double a, double b) { return b - 1.5 * a; }), tolerance);
      kernels->copy(nullptr, x.view(), z.view());
      kernels->scale(nullptr, 0.1, z.view());
      expect_close("scale", z.values(), map(vectors, [](double a, double) { return 0.1 * a; }), tolerance);
      kernels->copy(nullptr, y.view(), z.view());
      kernels->project_box(nullptr, 0.25, x.view(), z.view());
      const auto project = [](double center, double a) {
        const double r = 0.25 * (std::abs(center) + 1);
        return std::min(std::max(a, center - r), center + r);
      };
      expect_close("project_box", z.values(), map(vectors, project), tolerance);
      kernels->copy(nullptr, y.view(), z.view());
      kernels->scale_by_magnitude(nullptr, 0.01, x.view(), z.view());
      expect_close("scale_by_magnitude", z.values(),
                   map(vectors, [](double a, double b) { return (std::abs(a) + 0.01) * b; }), tolerance);
      kernels->fill(nullptr, -2.5, z.view());
      expect_equal("fill", z.values(), std::vector<double>(static_cast<size_t>(n), -2.5));
    }
  }
}

TEST(Vector, CopiesBetweenTypesAndSumsFloatsInDouble) {
  const auto lanes = own(Lanes::create(2));
  for (const char* name : kNames) {
    const Kernels kernels(name);
    for (const int64_t n : kSizes) {
      SCOPED_TRACE(::testing::Message() << name << " n=" << n);
      const Vectors vectors = make_vectors(n);
      const Buffer floats(DataType::f32, vectors.x), doubles(DataType::f64, vectors.y), sum(DataType::f64, n);
      kernels->copy(lanes.get(), floats.view(), sum.view());
      expect_equal("widened", sum.values(), floats.values());
      kernels->copy(lanes.get(), doubles.view(), sum.view());
      kernels->axpy(lanes.get(), 0.1, floats.view(), sum.view());
      std::vector<double> expected = doubles.values();
      const std::vector<double> added = floats.values();
      for (size_t i = 0; i < expected.size(); ++i) expected[i] += 0.1 * added[i];
      expect_close("sum", sum.values(), expected, Tolerance::kDouble);
      const Buffer rounded(DataType::f32, n);
      kernels->copy(lanes.get(), doubles.view(), rounded.view());
      expect_equal("rounded", rounded.values(), Buffer(DataType::f32, doubles.values()).values());
    }
  }
}

TEST(Vector, SumsMatchTheirFormulas) {
  for (const Backend& backend : kBackends) {
    const Kernels kernels(backend.name);
    for (const int64_t n : kSizes) {
      SCOPED_TRACE(::testing::Message() << backend.name << " type " << static_cast<int>(backend.type) << " n=" << n);
      const Vectors vectors = make_vectors(n);
      const Buffer x(backend.type, vectors.x), y(backend.type, vectors.y);
      long double dot = 0, sum = 0, distance = 0, scale = 1;
      double largest = 0;
      for (size_t i = 0; i < vectors.x.size(); ++i) {
        const long double a = vectors.x[i], b = vectors.y[i];
        dot += a * b;
        sum += a;
        distance += (a - b) * (a - b);
        scale += std::abs(a) + std::abs(a * b);
        largest = std::max(largest, std::abs(vectors.x[i]));
      }
      const auto close = [&](const char* what, double actual, long double expected) {
        expect_close_in(static_cast<double>(scale), what, {actual}, {static_cast<double>(expected)},
                        Tolerance::kVectorSum);
      };
      close("dot", kernels->dot(nullptr, x.view(), y.view()), dot);
      close("sum", kernels->sum(nullptr, x.view()), sum);
      close("distance", kernels->distance(nullptr, x.view(), y.view()), std::sqrt(distance));
      EXPECT_EQ(kernels->max_abs(nullptr, x.view()), largest);
      if (n == 0) continue;
      for (const int64_t place : {int64_t{0}, n / 2, n - 1}) {
        Buffer with_nan(backend.type, vectors.x);
        with_nan.set(place, NAN);
        EXPECT_TRUE(std::isnan(kernels->max_abs(nullptr, with_nan.view()))) << "NaN at " << place;
      }
    }
  }
}

TEST(Vector, SgdIsPyTorchs) {
  for (const Backend& backend : kBackends) {
    const Kernels kernels(backend.name);
    for (const int64_t n : {int64_t{1}, int64_t{17}, kBlock + 5}) {
      for (const bool nesterov : {false, true}) {
        SCOPED_TRACE(::testing::Message() << backend.name << " n=" << n << " nesterov=" << nesterov);
        SgdSpec spec;
        spec.momentum = 0.9;
        spec.weight_decay = 0.01;
        spec.gradient_scale = 0.5;
        spec.nesterov = nesterov;
        const Vectors vectors = make_vectors(n);
        const Buffer w(backend.type, vectors.x), g(backend.type, vectors.y);
        const Buffer v(backend.type, std::vector<double>(static_cast<size_t>(n), 0.0));
        std::vector<double> weights = vectors.x, velocity(weights.size(), 0.0);
        for (int step = 0; step < 3; ++step) {
          kernels->sgd(nullptr, spec, w.view(), g.view(), v.view());
          for (size_t i = 0; i < weights.size(); ++i) {
            const double gradient = 0.5 * vectors.y[i] + 0.01 * weights[i];
            velocity[i] = 0.9 * velocity[i] + gradient;
            weights[i] -= 0.1 * (nesterov ? gradient + 0.9 * velocity[i] : velocity[i]);
          }
        }
        expect_close("weights", w.values(), weights, elementwise_tolerance(backend.type));
        expect_close("velocity", v.values(), velocity, elementwise_tolerance(backend.type));
      }
    }
  }
}

TEST(Vector, AdamIsThePapers) {
  for (const Backend& backend : kBackends) {
    const Kernels kernels(backend.name);
    for (const int64_t n : {int64_t{1}, int64_t{17}, kBlock + 5}) {
      for (const bool decoupled : {false, true}) {
        SCOPED_TRACE(::testing::Message() << backend.name << " n=" << n << " decoupled=" << decoupled);
        AdamSpec spec;
        spec.rate = 0.01;
        spec.weight_decay = 0.1;
        spec.gradient_scale = 2;
        spec.decoupled = decoupled;
        const Vectors vectors = make_vectors(n);
        const std::vector<double> zeros(static_cast<size_t>(n), 0.0);
        const Buffer w(backend.type, vectors.x), g(backend.type, vectors.y), m(backend.type, zeros),
            v(backend.type, zeros);
        std::vector<double> weights = vectors.x, first = zeros, second = zeros;
        for (int step = 1; step <= 3; ++step) {
          spec.step = step;
          kernels->adam(nullptr, spec, w.view(), g.view(), m.view(), v.view());
          for (size_t i = 0; i < weights.size(); ++i) {
            const double gradient = 2 * vectors.y[i] + (decoupled ? 0 : 0.1 * weights[i]);
            if (decoupled) weights[i] -= 0.01 * 0.1 * weights[i];
            first[i] = 0.9 * first[i] + 0.1 * gradient;
            second[i] = 0.999 * second[i] + 0.001 * gradient * gradient;
            const double mhat = first[i] / (1 - std::pow(0.9, step)), vhat = second[i] / (1 - std::pow(0.999, step));
            weights[i] -= 0.01 * mhat / (std::sqrt(vhat) + 1e-8);
          }
        }
        expect_close("weights", w.values(), weights, elementwise_tolerance(backend.type));
        expect_close("m", m.values(), first, elementwise_tolerance(backend.type));
        expect_close("v", v.values(), second, elementwise_tolerance(backend.type));
      }
    }
  }
}

// LARS and LAMB against the papers' formulas, layer by layer in plain doubles.

struct Layer {
  int64_t elements;
  bool adapted;
  double weights = 1, gradient = 1;  // scales; 0: all zero
};

/// Short ones, one that ends with a block, ones that span blocks; biases; layers of zeros and of tiny numbers.
const std::vector<Layer> kLayers{{3, true},           {1, false},      {kBlock - 4, true}, {2 * kBlock + 7, true, 0.1},
                                 {16, false, 2, 0.1}, {100, true, 0},  {50, true, 1, 0},   {20, true, 0, 0},
                                 {33, true, 1e-12, 1e-12}, {17, true, 1e-30, 1}};

Owned<Segments> make_segments(const std::vector<Layer>& layers) {
  auto segments = own(Segments::create());
  for (const Layer& layer : layers) segments->add(layer.elements, layer.adapted);
  return segments;
}

/// Weights, or the gradient of a step: the same numbers in another direction.
struct LayerData {
  std::vector<double> weights, gradient;

  explicit LayerData(const std::vector<Layer>& layers) {
    Random random(1);
    for (const Layer& layer : layers) {
      for (int64_t k = 0; k < layer.elements; ++k) {
        weights.push_back(layer.weights * random.nonzero());
        gradient.push_back(layer.gradient * random.nonzero());
      }
    }
  }
  std::vector<double> gradient_of(int step) const {
    std::vector<double> result = gradient;
    for (size_t i = 0; i < result.size(); ++i) {
      const double turn = static_cast<double>((7 * i + 5 * static_cast<size_t>(step)) % 16) / 8 - 0.9375;
      result[i] = static_cast<double>(static_cast<float>(turn * result[i]));
    }
    return result;
  }
};

double norm_of(const double* x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i] * x[i];
  return std::sqrt(sum);
}

std::vector<double> slice(const std::vector<double>& x, int64_t first, int64_t count) {
  return {x.begin() + first, x.begin() + first + count};
}

constexpr int kSteps = 10;

/// f32 rounds every state in every step.
double steps_tolerance(DataType type) { return type == DataType::f64 ? 1e-11 : 5 * Tolerance::kVector; }

void expect_close_layers(const char* what, const Buffer& actual, const std::vector<double>& expected, DataType type) {
  const std::vector<double> values = actual.values();
  int64_t first = 0;
  for (size_t i = 0; i < kLayers.size(); ++i) {
    SCOPED_TRACE(::testing::Message() << "layer " << i);
    expect_close(what, slice(values, first, kLayers[i].elements), slice(expected, first, kLayers[i].elements),
                 steps_tolerance(type));
    first += kLayers[i].elements;
  }
}

TEST(Vector, LarsIsThePapers) {
  const LayerData data(kLayers);
  for (const Backend& backend : kBackends) {
    const Kernels kernels(backend.name);
    const auto segments = make_segments(kLayers);
    for (const bool nesterov : {false, true}) {
      SCOPED_TRACE(::testing::Message() << backend.name << " nesterov=" << nesterov);
      LarsSpec spec;
      spec.rate = 2;
      spec.momentum = 0.9;
      spec.weight_decay = 0.05;
      spec.trust = 0.02;
      spec.gradient_scale = 0.3;
      spec.nesterov = nesterov;
      std::vector<double> weights = data.weights, velocity(weights.size(), 0.0);
      const Buffer w(backend.type, weights), v(backend.type, velocity);
      for (int step = 0; step < kSteps; ++step) {
        const std::vector<double> gradient = data.gradient_of(step);
        const Buffer g(backend.type, gradient);
        kernels->lars(nullptr, spec, *segments, w.view(), g.view(), v.view());
        size_t i = 0;
        for (const Layer& layer : kLayers) {
          const double of_weights = norm_of(&weights[i], layer.elements);
          const double below = 0.3 * norm_of(&gradient[i], layer.elements) + 0.05 * of_weights;
          const bool rest = of_weights < 1e-30 || below < 1e-30;
          const double lambda = layer.adapted && !rest ? 0.02 * of_weights / below : 1;
          const double decay = layer.adapted ? 0.05 : 0;
          for (int64_t k = 0; k < layer.elements; ++k, ++i) {
            const double move = 2 * lambda * (0.3 * gradient[i] + decay * weights[i]);
            velocity[i] = 0.9 * velocity[i] + move;
            weights[i] -= nesterov ? move + 0.9 * velocity[i] : velocity[i];
          }
        }
      }
      expect_close_layers("weights", w, weights, backend.type);
      expect_close_layers("velocity", v, velocity, backend.type);
    }
  }
}

TEST(Vector, LambIsThePapers) {
  const LayerData data(kLayers);
  for (const Backend& backend : kBackends) {
    SCOPED_TRACE(backend.name);
    const Kernels kernels(backend.name);
    const auto segments = make_segments(kLayers);
    LambSpec spec;
    spec.rate = 0.02;
    spec.beta1 = 0.8;
    spec.beta2 = 0.95;
    spec.weight_decay = 0.1;
    spec.gradient_scale = 0.3;
    std::vector<double> weights = data.weights, first(weights.size(), 0.0), second = first;
    const Buffer w(backend.type, weights), m(backend.type, first), v(backend.type, second);
    for (int step = 1; step <= kSteps; ++step) {
      spec.step = step;
      const std::vector<double> gradient = data.gradient_of(step);
      const Buffer g(backend.type, gradient);
      kernels->lamb(nullptr, spec, *segments, w.view(), g.view(), m.view(), v.view());
      int64_t begin = 0;
      for (const Layer& layer : kLayers) {
        std::vector<double> moves;
        for (int64_t k = 0; k < layer.elements; ++k) {
          const size_t i = static_cast<size_t>(begin + k);
          const double scaled = 0.3 * gradient[i];
          first[i] = 0.8 * first[i] + 0.2 * scaled;
          second[i] = 0.95 * second[i] + 0.05 * scaled * scaled;
          const double mhat = first[i] / (1 - std::pow(0.8, step)), vhat = second[i] / (1 - std::pow(0.95, step));
          moves.push_back(mhat / (std::sqrt(vhat) + 1e-6) + (layer.adapted ? 0.1 * weights[i] : 0));
        }
        const double of_weights = norm_of(&weights[static_cast<size_t>(begin)], layer.elements);
        const double of_moves = norm_of(moves.data(), layer.elements);
        const bool rest = of_weights < 1e-30 || of_moves < 1e-30;
        const double ratio = layer.adapted && !rest ? of_weights / of_moves : 1;
        for (int64_t k = 0; k < layer.elements; ++k) {
          weights[static_cast<size_t>(begin + k)] -= 0.02 * ratio * moves[static_cast<size_t>(k)];
        }
        begin += layer.elements;
      }
    }
    expect_close_layers("weights", w, weights, backend.type);
    expect_close_layers("m", m, first, backend.type);
    expect_close_layers("v", v, second, backend.type);
  }
}

/// Ratios that f32 cannot hold: a gradient of denormal numbers moves nothing, and makes no NaN.
TEST(Vector, LayersAtRestStayFinite) {
  for (const Backend& backend : kBackends) {
    SCOPED_TRACE(backend.name);
    const Kernels kernels(backend.name);
    const auto segments = make_segments({{2, true}});
    for (const double gradient : {0.0, 1e-44, 1e-38, 1e-31}) {
      const std::vector<double> start{1e4, -1e4}, zeros{0, 0};
      const Buffer w(backend.type, start), g(backend.type, {gradient, 0}), v(backend.type, zeros);
      kernels->lars(nullptr, LarsSpec(), *segments, w.view(), g.view(), v.view());
      const Buffer u(backend.type, start), m(backend.type, zeros), n(backend.type, zeros);
      kernels->lamb(nullptr, LambSpec(), *segments, u.view(), g.view(), m.view(), n.view());
      expect_close("lars", w.values(), start, Tolerance::kVector);
      for (const double x : u.values()) EXPECT_TRUE(std::isfinite(x)) << x << " for " << gradient;
    }
  }
}

/// At alpha 0 and 1, and between equal numbers, no bit changes: a moving average of weights at rest stays at rest.
TEST(Vector, InterpolateIsExactAtItsEnds) {
  for (const Backend& backend : kBackends) {
    SCOPED_TRACE(backend.name);
    const Kernels kernels(backend.name);
    const Vectors vectors = make_vectors(100);
    const Buffer x(backend.type, vectors.x), y(backend.type, vectors.y), z(backend.type, 100);
    kernels->interpolate(nullptr, 0, x.view(), y.view(), z.view());
    expect_equal("alpha 0", z.values(), x.values());
    kernels->interpolate(nullptr, 1, x.view(), y.view(), z.view());
    expect_equal("alpha 1", z.values(), y.values());
    for (const double alpha : {1e-5, 0.1, 0.7, 0.9999}) {
      kernels->interpolate(nullptr, alpha, x.view(), x.view(), z.view());
      expect_equal("of equals", z.values(), x.values());
    }
    const Buffer mean(backend.type, vectors.x);  // an EMA in place ends at what it is fed
    for (int step = 0; step < 60; ++step) kernels->interpolate(nullptr, 0.4, mean.view(), y.view(), mean.view());
    expect_close("moving average", mean.values(), vectors.y, elementwise_tolerance(backend.type));
  }
}

TEST(Vector, HasTheSameBitsOnAnyNumberOfLanes) {
  for (const Backend& backend : kBackends) {
    SCOPED_TRACE(backend.name);
    const Kernels kernels(backend.name);
    const Vectors vectors = make_vectors(3 * kBlock + 17);
    std::vector<std::vector<double>> results;
    const auto segments = make_segments({{5, true}, {kBlock, false}, {2 * kBlock - 3, true}, {15, true}});
    for (const int32_t threads : {0, 1, 2, 5}) {
      const auto lanes = threads == 0 ? nullptr : own(Lanes::create(threads));
      const Buffer w(backend.type, vectors.x), g(backend.type, vectors.y), m(backend.type, vectors.x);
      const Buffer v(backend.type, vectors.y);
      std::vector<double> result{kernels->dot(lanes.get(), w.view(), g.view()), kernels->sum(lanes.get(), w.view()),
                                 kernels->distance(lanes.get(), w.view(), g.view()),
                                 kernels->max_abs(lanes.get(), w.view())};
      SgdSpec sgd;
      sgd.momentum = 0.9;
      kernels->sgd(lanes.get(), sgd, w.view(), g.view(), m.view());
      kernels->fill(lanes.get(), 0.25, v.view());
      kernels->adam(lanes.get(), AdamSpec(), w.view(), g.view(), m.view(), v.view());
      kernels->lars(lanes.get(), LarsSpec(), *segments, w.view(), g.view(), m.view());
      kernels->lamb(lanes.get(), LambSpec(), *segments, w.view(), g.view(), m.view(), v.view());
      kernels->axpy(lanes.get(), 0.3, g.view(), w.view());
      kernels->scale(lanes.get(), 0.9, w.view());
      kernels->interpolate(lanes.get(), 0.1, w.view(), g.view(), w.view());
      kernels->project_box(lanes.get(), 0.1, g.view(), w.view());
      kernels->scale_by_magnitude(lanes.get(), 0.1, g.view(), w.view());
      kernels->copy(lanes.get(), w.view(), g.view());
      for (const double x : g.values()) result.push_back(x);
      results.push_back(result);
    }
    for (size_t i = 1; i < results.size(); ++i) expect_equal("results", results[i], results[0]);
  }
}

}  // namespace
}  // namespace ghostbatch::tests
