// Kernels on the parameter vector: formulas, and the same bits on any number of lanes.
#include "ghostbatch/vector.h"

#include <algorithm>

#include "tests/support.h"

namespace ghostbatch::tests {
namespace {

constexpr int64_t kBlock = VectorKernels::kBlock;
const std::vector<Backend> kBackends{
    {"reference", DataType::f64}, {"reference", DataType::f32}, {"cpu", DataType::f32}, {"cpu", DataType::f64}};
/// Around the vector width, and around blocks.
const int64_t kSizes[] = {0, 1, 15, 16, 17, 33, 1000, kBlock, kBlock + 1, 3 * kBlock + 17};

double elementwise_tolerance(DataType type) {
  return type == DataType::f64 ? Tolerance::kDouble : Tolerance::kVector;
}

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
  for (const char* name : {"reference", "cpu"}) {
    SCOPED_TRACE(name);
    const auto kernels = own(make_device(name)->vector_kernels());
    const Buffer x(DataType::f32, std::vector<double>(8, 1.0)), y(DataType::f32, std::vector<double>(8, 1.0));
    const Buffer shorter(DataType::f32, 7), doubles(DataType::f64, 8), bytes(DataType::u8, 8);
    const View v = x.view(), w = y.view();
    expect_error([&] { kernels->fill(nullptr, 1, bytes.view()); }, "[fill] needs x of f32 or f64, got u8");
    expect_error([&] { kernels->fill(nullptr, 1, View(nullptr, 8, DataType::f32)); }, "x with memory, got null");
    expect_error([&] { kernels->fill(nullptr, 1, View(v.data, -8, DataType::f32)); }, "[fill] needs x of at most");
    expect_error([&] { kernels->copy(nullptr, v, shorter.view()); }, "[copy] needs y of 8 f32, got 7 f32");
    expect_error([&] { kernels->axpy(nullptr, 1, v, doubles.view()); }, "[axpy] needs y of 8 f32, got 8 f64");
    expect_error([&] { kernels->dot(nullptr, v, shorter.view()); }, "[dot] needs y");
    expect_error([&] { kernels->distance(nullptr, v, shorter.view()); }, "[distance] needs y");
    expect_error([&] { kernels->interpolate(nullptr, 0.5, v, w, shorter.view()); }, "[interpolate] needs z");
    expect_error([&] { kernels->project_box(nullptr, -1, v, w); }, "epsilon of at least 0");
    expect_error([&] { kernels->project_box(nullptr, NAN, v, w); }, "epsilon of at least 0");
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
  }
}

TEST(Vector, ElementwiseKernelsMatchTheirFormulas) {
  for (const Backend& backend : kBackends) {
    const auto kernels = own(make_device(backend.name)->vector_kernels());
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
      kernels->fill(nullptr, -2.5, z.view());
      expect_equal("fill", z.values(), std::vector<double>(static_cast<size_t>(n), -2.5));
    }
  }
}

TEST(Vector, SumsMatchTheirFormulas) {
  for (const Backend& backend : kBackends) {
    const auto kernels = own(make_device(backend.name)->vector_kernels());
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
    const auto kernels = own(make_device(backend.name)->vector_kernels());
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
    const auto kernels = own(make_device(backend.name)->vector_kernels());
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

TEST(Vector, HasTheSameBitsOnAnyNumberOfLanes) {
  for (const Backend& backend : kBackends) {
    SCOPED_TRACE(backend.name);
    const auto kernels = own(make_device(backend.name)->vector_kernels());
    const Vectors vectors = make_vectors(3 * kBlock + 17);
    std::vector<std::vector<double>> results;
    for (const int32_t threads : {0, 1, 2, 3}) {
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
      kernels->axpy(lanes.get(), 0.3, g.view(), w.view());
      kernels->scale(lanes.get(), 0.9, w.view());
      kernels->interpolate(lanes.get(), 0.1, w.view(), g.view(), w.view());
      kernels->project_box(lanes.get(), 0.1, g.view(), w.view());
      kernels->copy(lanes.get(), w.view(), g.view());
      for (const double x : g.values()) result.push_back(x);
      results.push_back(result);
    }
    for (size_t i = 1; i < results.size(); ++i) expect_equal("results", results[i], results[0]);
  }
}

}  // namespace
}  // namespace ghostbatch::tests
