// CUDA's kernels on the parameter vector on the host, against the reference.
#include "cuda/vector_kernels.h"

#include "tests/cuda_support.h"

namespace ghostbatch::tests {
namespace {

using namespace cuda::vector;
using cuda::Order;
using cuda::Scalar;

constexpr int64_t kBlock = VectorKernels::kBlock;
const int64_t kSizes[] = {0, 1, 3, 4, 5, 17, 1000, kPiece, kPiece + 1, kBlock + 5};

template <typename T>
constexpr double tolerance() {
  return sizeof(T) == 8 ? Tolerance::kDouble : Tolerance::kVector;
}

struct Vectors {
  std::vector<double> x, y;
};

Vectors make_vectors(int64_t n) {
  Random random(static_cast<uint32_t>(n) + 1);
  return {random.normals(n), random.normals(n)};
}

Owned<VectorKernels> make_reference() {
  return own(make_device("reference")->vector_kernels());
}

TEST(CudaVector, UpdatesMatchTheReference) {
  const auto reference = make_reference();
  for_vector_types([&](auto element) {
    using T = decltype(element);
    for (const int64_t n : kSizes) {
      const Vectors vectors = make_vectors(n);
      const Pieces pieces(n);
      for (const Offsets& offsets : kOffsets) {
        for (const Order order : kOrders) {
          SCOPED_TRACE(::testing::Message() << "n=" << n << " offsets " << offsets.v[1] << "," << offsets.v[2]);
          const Operand<T> x(vectors.x, offsets.v[0]), y(vectors.y, offsets.v[1]), z(n, offsets.v[2]);
          const Buffer a(type_of<T>(), vectors.x), b(type_of<T>(), vectors.y), c(type_of<T>(), n);
          const auto check = [&](const char* what, const Operand<T>& actual, const Buffer& expected) {
            expect_close(what, actual.values(), expected.values(), tolerance<T>());
          };
          run_on_host(updates(Fill<T>{z.data(), -0.3}, pieces), order);
          reference->fill(nullptr, -0.3, c.view());
          check("fill", z, c);
          run_on_host(updates(Copy<T, T>{y.data(), z.data()}, pieces), order);
          expect_equal("copy", z.values(), b.values());
          run_on_host(updates(Axpy<T, T>{-1.5, x.data(), z.data()}, pieces), order);
          reference->copy(nullptr, b.view(), c.view());
          reference->axpy(nullptr, -1.5, a.view(), c.view());
          check("axpy", z, c);
          run_on_host(updates(Scale<T>{0.1, z.data()}, pieces), order);
          reference->scale(nullptr, 0.1, c.view());
          check("scale", z, c);
          for (const double alpha : {0.0, 0.3, 0.5, 0.9, 1.0}) {
            run_on_host(updates(Interpolate<T>{alpha, x.data(), y.data(), z.data()}, pieces), order);
            reference->interpolate(nullptr, alpha, a.view(), b.view(), c.view());
            check("interpolate", z, c);
            if (alpha == 0) expect_equal("at 0", z.values(), a.values());
            if (alpha == 1) expect_equal("at 1", z.values(), b.values());
            run_on_host(updates(Interpolate<T>{alpha, x.data(), x.data(), z.data()}, pieces), order);
            expect_equal("of equals", z.values(), a.values());
          }
          run_on_host(updates(Copy<T, T>{y.data(), z.data()}, pieces), order);
          run_on_host(updates(ScaleByMagnitude<T>{0.01, x.data(), z.data()}, pieces), order);
          reference->copy(nullptr, b.view(), c.view());
          reference->scale_by_magnitude(nullptr, 0.01, a.view(), c.view());
          check("scale_by_magnitude", z, c);
          run_on_host(updates(ProjectBox<T>{0.25, x.data(), y.data()}, pieces), order);
          reference->project_box(nullptr, 0.25, a.view(), b.view());
          check("project_box", y, b);
        }
      }
    }
  });
}

TEST(CudaVector, ReadsWhatChangesFromMemory) {
  const Vectors vectors = make_vectors(100);
  double alpha = 2;
  const Operand<float> x(vectors.x);
  const auto launch = updates(Scale<float>{&alpha, x.data()}, Pieces(100));
  run_on_host(launch);
  alpha = 0.25;
  run_on_host(launch);
  std::vector<double> halves = Operand<float>(vectors.x).values();
  for (double& value : halves) value /= 2;
  expect_equal("scaled twice", x.values(), halves);
}

template <typename X, typename Y>
void expect_copies(int64_t n, const Offsets& offsets, double alpha) {
  const Vectors vectors = make_vectors(n);
  const Operand<X> x(vectors.x, offsets.v[0]);
  const Operand<Y> y(n, offsets.v[1]);
  run_on_host(updates(Copy<X, Y>{x.data(), y.data()}, Pieces(n)));
  expect_equal("copy", y.values(), rounded(type_of<Y>(), x.values()));
  if constexpr (std::is_same_v<X, float> && std::is_same_v<Y, double>) {
    std::vector<double> expected = y.values();
    for (double& value : expected) value += alpha * value;
    run_on_host(updates(Axpy<X, Y>{alpha, x.data(), y.data()}, Pieces(n)));
    expect_close("axpy", y.values(), expected, Tolerance::kDouble);
  }
}

TEST(CudaVector, CopiesBetweenTypesAndSumsFloatsInDouble) {
  for (const int64_t n : kSizes) {
    for (const Offsets& offsets : {kOffsets[0], kOffsets[1], kOffsets[2], kOffsets[3], Offsets{{1, 3, 0, 0}}}) {
      SCOPED_TRACE(::testing::Message() << "n=" << n << " offsets " << offsets.v[0] << "," << offsets.v[1]);
      expect_copies<float, double>(n, offsets, 0.1);
      expect_copies<double, float>(n, offsets, 0);
      expect_copies<float, uint16_t>(n, offsets, 0);
      expect_copies<uint16_t, float>(n, offsets, 0);
    }
  }
}

template <class Terms>
double sum_on_host(const Terms& terms, int64_t n, bool root, Order order) {
  const Pieces pieces(n);
  const Buffer partials(DataType::f64, sum_workspace(n));
  double result = NAN;
  run_on_host(piece_sums(terms, pieces, partials.view().as<double>()), order);
  run_on_host(total<typename Terms::Join>(partials.view().as<double>(), pieces.count, root, &result), order);
  return result;
}

TEST(CudaVector, SumsMatchTheReferenceWhereverVectorsLie) {
  const auto reference = make_reference();
  for_vector_types([&](auto element) {
    using T = decltype(element);
    for (const int64_t n : {int64_t{0}, int64_t{1}, int64_t{5}, kPiece + 7, 3 * kBlock + 17}) {
      const Vectors vectors = make_vectors(n);
      const Buffer a(type_of<T>(), vectors.x), b(type_of<T>(), vectors.y);
      double scale = 1;
      for (size_t i = 0; i < vectors.x.size(); ++i) {
        scale += std::abs(vectors.x[i]) + std::abs(vectors.x[i] * vectors.y[i]);
      }
      std::vector<double> first;
      for (const Offsets& offsets : kOffsets) {
        for (const Order order : kOrders) {
          SCOPED_TRACE(::testing::Message() << "n=" << n << " offsets " << offsets.v[1] << "," << offsets.v[2]);
          const Operand<T> x(vectors.x, offsets.v[1]), y(vectors.y, offsets.v[2]);
          const std::vector<double> sums{sum_on_host(DotTerms<T>{x.data(), y.data()}, n, false, order),
                                         sum_on_host(SumTerms<T>{x.data()}, n, false, order),
                                         sum_on_host(DistanceTerms<T>{x.data(), y.data()}, n, true, order),
                                         sum_on_host(LargestTerms<T>{x.data()}, n, false, order)};
          if (first.empty()) first = sums;
          expect_equal("sums", sums, first);
        }
      }
      const std::vector<double> expected{
          reference->dot(nullptr, a.view(), b.view()), reference->sum(nullptr, a.view()),
          reference->distance(nullptr, a.view(), b.view()), reference->max_abs(nullptr, a.view())};
      expect_close_in(scale, "sums", first, expected, Tolerance::kVectorSum);
      EXPECT_EQ(first[3], expected[3]);
      for (const int64_t place : {int64_t{0}, n / 2, n - 1}) {
        if (n == 0) continue;
        std::vector<double> with_nan = vectors.x;
        with_nan[static_cast<size_t>(place)] = NAN;
        const Operand<T> x(with_nan);
        EXPECT_TRUE(std::isnan(sum_on_host(LargestTerms<T>{x.data()}, n, false, Order::up))) << "NaN at " << place;
      }
    }
  });
}

TEST(CudaVector, TotalsGoBlockByBlockInOrder) {
  for (const int64_t blocks_of_vector : {0, 1, 5, 300}) {
    const int64_t pieces = blocks_of_vector * kPiecesOfBlock + (blocks_of_vector > 1 ? 3 : 0);
    Random random(5);
    const std::vector<double> partials = random.normals(pieces, 1e3);
    double result = NAN;
    run_on_host(total<Plus>(partials.data(), pieces, false, &result));
    // Up to 256 blocks, a thread has one of them; then as few neighbours as that many threads can share.
    const int64_t blocks = (pieces + kPiecesOfBlock - 1) / kPiecesOfBlock, share = (blocks + 255) / 256;
    double expected = 0;
    for (int64_t first = 0; first < blocks; first += share) {
      double of_thread = 0;
      for (int64_t block = first; block < std::min(first + share, blocks); ++block) {
        double of_block = 0;
        for (int64_t i = block * kPiecesOfBlock; i < std::min((block + 1) * kPiecesOfBlock, pieces); ++i) {
          of_block += partials[static_cast<size_t>(i)];
        }
        of_thread += of_block;
      }
      expected += of_thread;
    }
    EXPECT_EQ(result, expected) << pieces;
  }
}

TEST(CudaVector, ClipsToItsLimit) {
  double norm = 10, limit = 5, scale = NAN;
  const auto launch = clip_launch(&norm, &limit, &scale);
  const auto expect = [&](double expected) {
    run_on_host(launch);
    EXPECT_EQ(scale, expected);
  };
  expect(0.5);
  norm = 5;
  expect(1);
  norm = 7, limit = 0;
  expect(1);
}

TEST(CudaVector, SgdAndAdamMatchTheReference) {
  const auto reference = make_reference();
  for_vector_types([&](auto element) {
    using T = decltype(element);
    const DataType type = type_of<T>();
    for (const int64_t n : {int64_t{1}, int64_t{17}, kBlock + 5}) {
      for (const Offsets& offsets : kOffsets) {
        for (const bool variant : {false, true}) {
          SCOPED_TRACE(::testing::Message() << "n=" << n << " variant " << variant << " offsets " << offsets.v[1]);
          const Vectors vectors = make_vectors(n);
          const std::vector<double> zeros(static_cast<size_t>(n), 0.0);
          SgdSpec sgd;
          sgd.momentum = 0.9;
          sgd.weight_decay = 0.01;
          sgd.gradient_scale = 0.5;
          sgd.nesterov = variant;
          const Operand<T> w(vectors.x, offsets.v[0]), g(vectors.y, offsets.v[1]), v(zeros, offsets.v[2]);
          const Buffer weights(type, vectors.x), gradient(type, vectors.y), velocity(type, zeros);
          const auto sgd_launch = updates(Sgd<T>{&sgd, w.data(), g.data(), v.data()}, Pieces(n));
          for (int step = 0; step < 3; ++step) {
            sgd.rate = 0.1 / (step + 1);
            run_on_host(sgd_launch);
            reference->sgd(nullptr, sgd, weights.view(), gradient.view(), velocity.view());
          }
          expect_close("weights", w.values(), weights.values(), tolerance<T>());
          expect_close("velocity", v.values(), velocity.values(), tolerance<T>());

          AdamSpec adam;
          adam.rate = 0.01;
          adam.weight_decay = 0.1;
          adam.gradient_scale = 2;
          adam.decoupled = variant;
          const Operand<T> u(vectors.x, offsets.v[0]), first(zeros, offsets.v[1]), second(zeros, offsets.v[3]);
          const Buffer adam_weights(type, vectors.x), m(type, zeros), second_moments(type, zeros);
          const auto adam_launch =
              updates(Adam<T>{&adam, u.data(), g.data(), first.data(), second.data()}, Pieces(n));
          for (adam.step = 1; adam.step <= 3; ++adam.step) {
            run_on_host(adam_launch);
            reference->adam(nullptr, adam, adam_weights.view(), gradient.view(), m.view(), second_moments.view());
          }
          expect_close("adam weights", u.values(), adam_weights.values(), tolerance<T>());
          expect_close("m", first.values(), m.values(), tolerance<T>());
          expect_close("v", second.values(), second_moments.values(), tolerance<T>());
        }
      }
    }
  });
}

// LARS and LAMB: layers that are short, that span pieces and blocks, at rest.

struct Layer {
  int64_t elements;
  bool adapted;
  double weights = 1, gradient = 1;  // scales; 0: all zero
};

const std::vector<Layer> kLayers{{3, true},           {1, false},     {kPiece - 4, true}, {2 * kPiece + 7, true, 0.1},
                                 {16, false, 2, 0.1}, {100, true, 0}, {50, true, 1, 0},   {kBlock, true},
                                 {20, true, 0, 0},    {33, true, 1e-12, 1e-12},           {17, true, 1e-30, 1}};

Owned<Segments> make_segments() {
  auto segments = own(Segments::create());
  for (const Layer& layer : kLayers) segments->add(layer.elements, layer.adapted);
  return segments;
}

struct LayerData {
  std::vector<double> weights, gradient;

  LayerData() {
    Random random(1);
    for (const Layer& layer : kLayers) {
      for (int64_t k = 0; k < layer.elements; ++k) {
        weights.push_back(layer.weights * random.nonzero());
        gradient.push_back(layer.gradient * random.nonzero());
      }
    }
  }
};

cuda::vector::LayerTable view_of(const PieceTable& table) {
  return {table.pieces.data(), table.layers.data(), static_cast<int64_t>(table.pieces.size()),
          static_cast<int64_t>(table.layers.size())};
}

TEST(CudaVector, PiecesCoverTheLayers) {
  const auto segments = make_segments();
  const PieceTable table(segments->all());
  int64_t first = 0;
  for (size_t layer = 0; layer < table.layers.size(); ++layer) {
    const LayerPieces& of_layer = table.layers[layer];
    EXPECT_EQ(of_layer.adapted != 0, segments->all()[layer].adapted);
    for (int32_t i = 0; i < of_layer.pieces; ++i) {
      const Piece& piece = table.pieces[static_cast<size_t>(of_layer.first_piece + i)];
      EXPECT_EQ(piece.first, first);
      EXPECT_EQ(piece.layer, static_cast<int32_t>(layer));
      EXPECT_GT(piece.count, 0);
      EXPECT_EQ(piece.first / kPiece, (piece.first + piece.count - 1) / kPiece) << "a piece across a cut";
      first += piece.count;
    }
    EXPECT_EQ(first, segments->all()[layer].end);
  }
  EXPECT_EQ(table.layers.back().first_piece + table.layers.back().pieces, static_cast<int32_t>(table.pieces.size()));
}

TEST(CudaVector, RatiosAreOfAllPiecesOfALayer) {
  const LayerPieces layers[] = {{0, 1, 1}, {1, 600, 1}, {601, 2, 0}, {603, 17, 1}};
  const LayerTable table{nullptr, layers, 620, 4};
  const std::vector<double> partials = Random(9).values(2 * table.piece_count, 1, 2);
  LarsSpec spec;
  spec.trust = 0.5;
  spec.weight_decay = 0.1;
  spec.gradient_scale = -3;
  for (const Order order : kOrders) {
    std::vector<double> of_layers(4, NAN);
    run_on_host(ratios(LarsRatio{&spec}, table, partials.data(), of_layers.data()), order);
    for (size_t i = 0; i < 4; ++i) {
      double weights = 0, gradient = 0;
      for (int32_t k = layers[i].first_piece; k < layers[i].first_piece + layers[i].pieces; ++k) {
        weights += partials[2 * static_cast<size_t>(k)];
        gradient += partials[2 * static_cast<size_t>(k) + 1];
      }
      const double ratio = 0.5 * std::sqrt(weights) / (3 * std::sqrt(gradient) + 0.1 * std::sqrt(weights));
      EXPECT_NEAR(of_layers[i], layers[i].adapted != 0 ? ratio : 1, 1e-12) << i;
    }
  }
}

/// Layers apart: they differ in magnitude.
void expect_close_layers(const char* what, const std::vector<double>& actual, const std::vector<double>& expected,
                         double tolerance) {
  auto first = actual.begin();
  auto first_expected = expected.begin();
  for (size_t i = 0; i < kLayers.size(); ++i) {
    SCOPED_TRACE(::testing::Message() << "layer " << i);
    expect_close(what, {first, first + kLayers[i].elements},
                 {first_expected, first_expected + kLayers[i].elements}, tolerance);
    first += kLayers[i].elements;
    first_expected += kLayers[i].elements;
  }
}

TEST(CudaVector, LarsMatchesTheReference) {
  const auto reference = make_reference();
  const auto segments = make_segments();
  const PieceTable table(segments->all());
  const LayerTable layers = view_of(table);
  const LayerData data;
  const std::vector<double> zeros(data.weights.size(), 0.0);
  for_vector_types([&](auto element) {
    using T = decltype(element);
    for (const Offsets& offsets : {kOffsets[0], kOffsets[1], kOffsets[3]}) {
      for (const bool nesterov : {false, true}) {
        SCOPED_TRACE(::testing::Message() << "nesterov " << nesterov << " offsets " << offsets.v[1]);
        LarsSpec spec;
        spec.momentum = 0.9;
        spec.weight_decay = 0.05;
        spec.trust = 0.02;
        spec.gradient_scale = -0.3;
        spec.nesterov = nesterov;
        const Operand<T> w(data.weights, offsets.v[0]), g(data.gradient, offsets.v[1]), v(zeros, offsets.v[2]);
        const Buffer weights(type_of<T>(), data.weights), gradient(type_of<T>(), data.gradient);
        const Buffer velocity(type_of<T>(), zeros), workspace(DataType::f64, layers_workspace(layers));
        double* const partials = workspace.view().template as<double>();
        double* const of_layers = partials + 2 * layers.piece_count;
        for (int step = 0; step < 3; ++step) {
          spec.rate = 2.0 / (step + 1);
          run_on_host(piece_sums(LarsTerms<T>{layers.layers, w.data(), g.data()}, Pieces(layers), partials));
          run_on_host(ratios(LarsRatio{&spec}, layers, partials, of_layers));
          run_on_host(updates(LarsUpdate<T>{&spec, layers.layers, of_layers, w.data(), g.data(), v.data()},
                              Pieces(layers)));
          reference->lars(nullptr, spec, *segments, weights.view(), gradient.view(), velocity.view());
        }
        const double tolerance = sizeof(T) == 8 ? 1e-11 : 5 * Tolerance::kVector;
        expect_close_layers("weights", w.values(), weights.values(), tolerance);
        expect_close_layers("velocity", v.values(), velocity.values(), tolerance);
      }
    }
  });
}

TEST(CudaVector, LambMatchesTheReference) {
  const auto reference = make_reference();
  const auto segments = make_segments();
  const PieceTable table(segments->all());
  const LayerTable layers = view_of(table);
  const LayerData data;
  const std::vector<double> zeros(data.weights.size(), 0.0);
  for_vector_types([&](auto element) {
    using T = decltype(element);
    for (const Offsets& offsets : {kOffsets[0], kOffsets[2], kOffsets[3]}) {
      SCOPED_TRACE(::testing::Message() << "offsets " << offsets.v[1]);
      LambSpec spec;
      spec.rate = 0.02;
      spec.beta1 = 0.8;
      spec.beta2 = 0.95;
      spec.weight_decay = 0.1;
      spec.gradient_scale = 0.3;
      const Operand<T> w(data.weights, offsets.v[0]), g(data.gradient, offsets.v[1]);
      const Operand<T> m(zeros, offsets.v[2]), v(zeros, offsets.v[3]);
      const Buffer weights(type_of<T>(), data.weights), gradient(type_of<T>(), data.gradient);
      const Buffer first(type_of<T>(), zeros), second(type_of<T>(), zeros);
      const Buffer workspace(DataType::f64, layers_workspace(layers));
      double* const partials = workspace.view().template as<double>();
      double* const of_layers = partials + 2 * layers.piece_count;
      for (spec.step = 1; spec.step <= 3; ++spec.step) {
        const LambTerms<T> terms{&spec, layers.layers, w.data(), g.data(), m.data(), v.data()};
        run_on_host(piece_sums(terms, Pieces(layers), partials));
        run_on_host(ratios(LambRatio{}, layers, partials, of_layers));
        run_on_host(updates(LambUpdate<T>{&spec, layers.layers, of_layers, w.data(), m.data(), v.data()},
                            Pieces(layers)));
        reference->lamb(nullptr, spec, *segments, weights.view(), gradient.view(), first.view(), second.view());
      }
      const double tolerance = sizeof(T) == 8 ? 1e-11 : 5 * Tolerance::kVector;
      expect_close_layers("weights", w.values(), weights.values(), tolerance);
      expect_close_layers("m", m.values(), first.values(), tolerance);
      expect_close_layers("v", v.values(), second.values(), tolerance);
    }
  });
}

}  // namespace
}  // namespace ghostbatch::tests
