// One-pass kernels on the parameter vector: see ghostbatch/vector.h. A block of threads takes a piece of it.
//
// Sums are formed in double: of a piece by a fixed tree, of the pieces of a block of VectorKernels::kBlock elements and
// of such blocks in order. So they have the same bits for any launch and alignment. A sum, and LARS and LAMB's norms,
// take a second launch of one block, or of one block a layer; an update of all layers is three launches, whatever their
// number.
//
// Floors, in bytes an element of f32 over the memory's rate: dot and distance 8, sum and max_abs 4, axpy 12, sgd 20,
// adam 28, lars 8 + 20, lamb 24 + 16. Vectors of up to some million elements stay in the second cache between launches.
#pragma once

#include <cmath>
#include <vector>

#include "cuda/grid.h"
#include "cuda/groups.h"
#include "ghostbatch/vector.h"

namespace ghostbatch::cuda::vector {

constexpr int64_t kPiece = 4096;  // elements that a block of threads takes, at most
constexpr int64_t kPiecesOfBlock = VectorKernels::kBlock / kPiece;
constexpr int kVectorThreads = 256;

/// A part of one layer.
struct Piece {
  int64_t first;
  int32_t count;
  int32_t layer;
};

/// The pieces of a layer, [first_piece, first_piece + pieces).
struct LayerPieces {
  int32_t first_piece;
  int32_t pieces;
  int32_t adapted;
};

/// The pieces that kPiece and layers cut a vector into: what LARS and LAMB keep in device memory.
struct PieceTable {
  std::vector<Piece> pieces;
  std::vector<LayerPieces> layers;

  explicit PieceTable(const std::vector<Segments::Segment>& segments) {
    for (const Segments::Segment& segment : segments) {
      const auto layer = static_cast<int32_t>(layers.size()), first_piece = static_cast<int32_t>(pieces.size());
      for (int64_t first = segment.first; first < segment.end;) {
        const int64_t cut = (first / kPiece + 1) * kPiece, end = cut < segment.end ? cut : segment.end;
        pieces.push_back({first, static_cast<int32_t>(end - first), layer});
        first = end;
      }
      layers.push_back({first_piece, static_cast<int32_t>(pieces.size()) - first_piece, segment.adapted ? 1 : 0});
    }
  }
};

/// A PieceTable in device memory.
struct LayerTable {
  const Piece* pieces;
  const LayerPieces* layers;
  int64_t piece_count;
  int64_t layer_count;
};

/// How a vector is cut: by a table, or every kPiece elements.
struct Pieces {
  const Piece* table;
  int64_t count;
  int64_t elements;

  explicit Pieces(int64_t elements_) : table(nullptr), count(divide_up(elements_, kPiece)), elements(elements_) {}
  explicit Pieces(const LayerTable& table_) : table(table_.pieces), count(table_.piece_count), elements(0) {}
  GHOSTBATCH_HD Piece at(int32_t piece) const {
    if (table != nullptr) return table[piece];
    const int64_t first = piece * kPiece, rest = elements - first;
    return {first, static_cast<int32_t>(rest < kPiece ? rest : kPiece), 0};
  }
};

/// What a kernel without coefficients reads before it starts.
struct Nothing {};

/// update(at, coefficients) for every group of the vectors. One thread of a block forms the coefficients, which lie in
/// device memory as doubles, and may need a power.
template <class Update>
struct Updates {
  static constexpr int kPhases = 2, kThreads = kVectorThreads;
  struct Shared {
    typename Update::Coefficients coefficients;
  };
  struct Registers {};

  Update update;
  Pieces pieces;
  Lead lead;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared& shared, Registers&) const {
    const Piece piece = pieces.at(place.block);
    if constexpr (kPhase == 0) {
      if (place.thread == 0) shared.coefficients = update.coefficients(piece.layer);
    } else {
      for_groups<Update::kCount>(piece.first, piece.first + piece.count, lead, place.thread, place.threads,
                                 [&](const auto& at) { update(at, shared.coefficients); });
    }
  }
};

template <class Update>
Launch<Updates<Update>> updates(const Update& update, const Pieces& pieces) {
  return {{update, pieces, update.lead()}, pieces.count, Updates<Update>::kThreads};
}

// Updates.

/// Elements of a group of vectors of these types.
template <typename X, typename Y = X>
constexpr int group_size() {
  return kPackBytes / static_cast<int>(sizeof(X) < sizeof(Y) ? sizeof(X) : sizeof(Y));
}

template <typename T>
struct Fill {
  static constexpr int kCount = group_size<T>();
  using Coefficients = T;
  T* x;
  Scalar value;

  Lead lead() const { return lead_of<kCount>(x); }
  GHOSTBATCH_HD T coefficients(int32_t) const { return static_cast<T>(value.get()); }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at, T v) const {
    Values<T, kCount> values;
    for (int k = 0; k < kCount; ++k) values.v[k] = v;
    at.store(x, values);
  }
};

/// x as Y; bf16 through f32.
template <typename Y, typename X>
GHOSTBATCH_HD Y convert(X x) {
  if constexpr (sizeof(X) == 2) {
    return static_cast<Y>(to_float(x));
  } else if constexpr (sizeof(Y) == 2) {
    return from_float<Y>(static_cast<float>(x));
  } else {
    return static_cast<Y>(x);
  }
}

template <typename X, typename Y>
struct Copy {
  static constexpr int kCount = group_size<X, Y>();
  using Coefficients = Nothing;
  const X* x;
  Y* y;

  Lead lead() const { return lead_of<kCount>(x, y); }
  GHOSTBATCH_HD Nothing coefficients(int32_t) const { return {}; }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at, Nothing) const {
    const Values<X, kCount> from = at.load(x);
    Values<Y, kCount> to;
    for (int k = 0; k < kCount; ++k) to.v[k] = convert<Y>(from.v[k]);
    at.store(y, to);
  }
};

template <typename T>
struct Scale {
  static constexpr int kCount = group_size<T>();
  using Coefficients = T;
  Scalar alpha;
  T* x;

  Lead lead() const { return lead_of<kCount>(x); }
  GHOSTBATCH_HD T coefficients(int32_t) const { return static_cast<T>(alpha.get()); }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at, T a) const {
    Values<T, kCount> values = at.load(x);
    for (int k = 0; k < kCount; ++k) values.v[k] *= a;
    at.store(x, values);
  }
};

template <typename X, typename Y>
struct Axpy {
  static constexpr int kCount = group_size<X, Y>();
  using Coefficients = Y;
  Scalar alpha;
  const X* x;
  Y* y;

  Lead lead() const { return lead_of<kCount>(x, y); }
  GHOSTBATCH_HD Y coefficients(int32_t) const { return static_cast<Y>(alpha.get()); }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at, Y a) const {
    const Values<X, kCount> from = at.load(x);
    Values<Y, kCount> to = at.load(y);
    for (int k = 0; k < kCount; ++k) to.v[k] += a * static_cast<Y>(from.v[k]);
    at.store(y, to);
  }
};

template <typename T>
struct Interpolate {
  static constexpr int kCount = group_size<T>();
  /// From the nearer end: exact at both, and x itself where y is x.
  struct Coefficients {
    T factor;
    bool from_x;
  };
  Scalar alpha;
  const T *x, *y;
  T* z;

  Lead lead() const { return lead_of<kCount>(x, y, z); }
  GHOSTBATCH_HD Coefficients coefficients(int32_t) const {
    const double a = alpha.get();
    return {static_cast<T>(a < 0.5 ? a : 1 - a), a < 0.5};
  }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at, const Coefficients& c) const {
    const Values<T, kCount> a = at.load(x), b = at.load(y);
    Values<T, kCount> to;
    for (int k = 0; k < kCount; ++k) {
      const T from = c.from_x ? a.v[k] : b.v[k], other = c.from_x ? b.v[k] : a.v[k];
      to.v[k] = from + c.factor * (other - from);
    }
    at.store(z, to);
  }
};

template <typename T>
struct ProjectBox {
  static constexpr int kCount = group_size<T>();
  using Coefficients = T;
  Scalar epsilon;
  const T* center;
  T* x;

  Lead lead() const { return lead_of<kCount>(center, x); }
  GHOSTBATCH_HD T coefficients(int32_t) const { return static_cast<T>(epsilon.get()); }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at, T e) const {
    const Values<T, kCount> centers = at.load(center);
    Values<T, kCount> values = at.load(x);
    for (int k = 0; k < kCount; ++k) {
      const T c = centers.v[k], radius = e * ((c < 0 ? -c : c) + 1);
      const T low = c - radius, high = c + radius;
      T value = values.v[k];  // what lies inside keeps its bits
      value = value < low ? low : value;
      values.v[k] = value > high ? high : value;
    }
    at.store(x, values);
  }
};

template <typename T>
struct ScaleByMagnitude {
  static constexpr int kCount = group_size<T>();
  using Coefficients = T;
  Scalar offset;
  const T* x;
  T* y;

  Lead lead() const { return lead_of<kCount>(x, y); }
  GHOSTBATCH_HD T coefficients(int32_t) const { return static_cast<T>(offset.get()); }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at, T least) const {
    const Values<T, kCount> from = at.load(x);
    Values<T, kCount> to = at.load(y);
    for (int k = 0; k < kCount; ++k) to.v[k] *= (from.v[k] < 0 ? -from.v[k] : from.v[k]) + least;
    at.store(y, to);
  }
};

template <typename T>
struct Sgd {
  static constexpr int kCount = group_size<T>();
  struct Coefficients {
    T rate, momentum, decay, factor;
    bool nesterov;
  };
  const SgdSpec* spec;
  T* weights;
  const T* gradient;
  T* velocity;

  Lead lead() const { return lead_of<kCount>(weights, gradient, velocity); }
  GHOSTBATCH_HD Coefficients coefficients(int32_t) const {
    return {static_cast<T>(spec->rate), static_cast<T>(spec->momentum), static_cast<T>(spec->weight_decay),
            static_cast<T>(spec->gradient_scale), spec->nesterov};
  }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at, const Coefficients& c) const {
    Values<T, kCount> w = at.load(weights), v = at.load(velocity);
    const Values<T, kCount> gradients = at.load(gradient);
    for (int k = 0; k < kCount; ++k) {
      const T g = c.factor * gradients.v[k] + c.decay * w.v[k];
      v.v[k] = c.momentum * v.v[k] + g;
      w.v[k] -= c.rate * (c.nesterov ? g + c.momentum * v.v[k] : v.v[k]);
    }
    at.store(velocity, v);
    at.store(weights, w);
  }
};

/// 1 / (1 - beta^step).
GHOSTBATCH_HD inline double unbias(double beta, int64_t step) {
  return 1 / (1 - std::pow(beta, static_cast<double>(step)));
}

template <typename T>
struct Adam {
  static constexpr int kCount = group_size<T>();
  struct Coefficients {
    T rate, root_unbias, epsilon, factor, beta1, beta2, rest1, rest2, decay, shrink;
  };
  const AdamSpec* spec;
  T* weights;
  const T* gradient;
  T *m, *v;

  Lead lead() const { return lead_of<kCount>(weights, gradient, m, v); }
  GHOSTBATCH_HD Coefficients coefficients(int32_t) const {
    const AdamSpec s = *spec;
    return {static_cast<T>(s.rate * unbias(s.beta1, s.step)),
            static_cast<T>(std::sqrt(unbias(s.beta2, s.step))),
            static_cast<T>(s.epsilon),
            static_cast<T>(s.gradient_scale),
            static_cast<T>(s.beta1),
            static_cast<T>(s.beta2),
            static_cast<T>(1 - s.beta1),
            static_cast<T>(1 - s.beta2),
            static_cast<T>(s.decoupled ? 0.0 : s.weight_decay),
            static_cast<T>(s.decoupled ? 1 - s.rate * s.weight_decay : 1.0)};
  }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at, const Coefficients& c) const {
    Values<T, kCount> w = at.load(weights), first = at.load(m), second = at.load(v);
    const Values<T, kCount> gradients = at.load(gradient);
    for (int k = 0; k < kCount; ++k) {
      const T g = c.factor * gradients.v[k] + c.decay * w.v[k];
      first.v[k] = c.beta1 * first.v[k] + c.rest1 * g;
      second.v[k] = c.beta2 * second.v[k] + c.rest2 * (g * g);
      w.v[k] = c.shrink * w.v[k] - c.rate * first.v[k] / (std::sqrt(second.v[k]) * c.root_unbias + c.epsilon);
    }
    at.store(m, first);
    at.store(v, second);
    at.store(weights, w);
  }
};

template <typename T>
struct LarsUpdate {
  static constexpr int kCount = group_size<T>();
  struct Coefficients {
    T rate, momentum, decay, factor;
    bool nesterov;
  };
  const LarsSpec* spec;
  const LayerPieces* layers;
  const double* ratios;  // [layers]
  T* weights;
  const T* gradient;
  T* velocity;

  Lead lead() const { return lead_of<kCount>(weights, gradient, velocity); }
  GHOSTBATCH_HD Coefficients coefficients(int32_t layer) const {
    return {static_cast<T>(spec->rate * ratios[layer]), static_cast<T>(spec->momentum),
            static_cast<T>(layers[layer].adapted != 0 ? spec->weight_decay : 0.0),
            static_cast<T>(spec->gradient_scale), spec->nesterov};
  }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at, const Coefficients& c) const {
    Values<T, kCount> w = at.load(weights), v = at.load(velocity);
    const Values<T, kCount> gradients = at.load(gradient);
    for (int k = 0; k < kCount; ++k) {
      const T step = c.rate * (c.factor * gradients.v[k] + c.decay * w.v[k]);
      v.v[k] = c.momentum * v.v[k] + step;
      w.v[k] -= c.nesterov ? step + c.momentum * v.v[k] : v.v[k];
    }
    at.store(velocity, v);
    at.store(weights, w);
  }
};

/// r of LAMB, from the moments.
template <typename T>
struct LambStep {
  T unbias, root_unbias, epsilon, decay;

  GHOSTBATCH_HD T operator()(T w, T m, T v) const {
    return unbias * m / (std::sqrt(v) * root_unbias + epsilon) + decay * w;
  }
};

template <typename T>
GHOSTBATCH_HD LambStep<T> lamb_step(const LambSpec& spec, bool adapted) {
  return {static_cast<T>(unbias(spec.beta1, spec.step)), static_cast<T>(std::sqrt(unbias(spec.beta2, spec.step))),
          static_cast<T>(spec.epsilon), static_cast<T>(adapted ? spec.weight_decay : 0.0)};
}

template <typename T>
struct LambUpdate {
  static constexpr int kCount = group_size<T>();
  struct Coefficients {
    LambStep<T> step;
    T rate;
  };
  const LambSpec* spec;
  const LayerPieces* layers;
  const double* ratios;  // [layers]
  T* weights;
  const T *m, *v;

  Lead lead() const { return lead_of<kCount>(weights, m, v); }
  GHOSTBATCH_HD Coefficients coefficients(int32_t layer) const {
    return {lamb_step<T>(*spec, layers[layer].adapted != 0), static_cast<T>(spec->rate * ratios[layer])};
  }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at, const Coefficients& c) const {
    Values<T, kCount> w = at.load(weights);
    const Values<T, kCount> first = at.load(m), second = at.load(v);
    for (int k = 0; k < kCount; ++k) w.v[k] -= c.rate * c.step(w.v[k], first.v[k], second.v[k]);
    at.store(weights, w);
  }
};

// Sums.

struct Plus {
  GHOSTBATCH_HD static double join(double a, double b) { return a + b; }
};
/// The larger; NaN where either is.
struct Larger {
  GHOSTBATCH_HD static double join(double a, double b) { return b > a || b != b ? (a != a ? a : b) : a; }
};

/// partials [pieces, kSums]: terms(at, coefficients, sums) joined over the elements of a piece. The groups of a piece
/// begin with it, so that a thread's share does not depend on where the vector lies.
template <class Terms>
struct PieceSums {
  static constexpr int kPhases = 4, kThreads = kVectorThreads, kSums = Terms::kSums;
  static constexpr int kFold = 16;  // values that a thread joins, of kThreads and then of what is left
  static_assert(kFold * kFold == kThreads);
  struct Shared {
    double sums[kSums][kThreads];
    double folded[kSums][kFold];
    typename Terms::Coefficients coefficients;
  };
  struct Registers {};

  Terms terms;
  Pieces pieces;
  Lead lead;
  double* partials;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared& shared, Registers&) const {
    const int thread = place.thread;
    if constexpr (kPhase == 0) {
      if (thread == 0) shared.coefficients = terms.coefficients(pieces.at(place.block).layer);
    } else if constexpr (kPhase == 1) {
      const Piece piece = pieces.at(place.block);
      constexpr int kCount = Terms::kCount;
      const auto front = static_cast<int32_t>((kCount - piece.first % kCount) % kCount);
      const Lead own{front, lead.aligned && lead.elements == front};
      double sums[kSums] = {};
      for_groups<kCount>(piece.first, piece.first + piece.count, own, thread, kThreads,
                         [&](const auto& at) { terms(at, shared.coefficients, sums); });
      for (int i = 0; i < kSums; ++i) shared.sums[i][thread] = sums[i];
    } else if constexpr (kPhase == 2) {
      if (thread < kFold) {
        for (int i = 0; i < kSums; ++i) {
          double sum = shared.sums[i][thread];
          for (int k = 1; k < kFold; ++k) sum = Terms::Join::join(sum, shared.sums[i][k * kFold + thread]);
          shared.folded[i][thread] = sum;
        }
      }
    } else if (thread < kSums) {
      double sum = shared.folded[thread][0];
      for (int k = 1; k < kFold; ++k) sum = Terms::Join::join(sum, shared.folded[thread][k]);
      partials[place.block * kSums + thread] = sum;
    }
  }
};

template <class Terms>
Launch<PieceSums<Terms>> piece_sums(const Terms& terms, const Pieces& pieces, double* partials) {
  return {{terms, pieces, terms.lead(), partials}, pieces.count, PieceSums<Terms>::kThreads};
}

/// The result of a sum over a vector, from its pieces: those of a block in order, then the blocks in order. One block
/// of threads.
template <class Join>
struct Total {
  static constexpr int kPhases = 2, kThreads = kVectorThreads;
  struct Shared {
    double sums[kThreads];
  };
  struct Registers {};

  const double* partials;
  int64_t pieces;
  bool root;
  double* result;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared& shared, Registers&) const {
    if constexpr (kPhase == 0) {
      const int64_t blocks = (pieces + kPiecesOfBlock - 1) / kPiecesOfBlock, share = (blocks + kThreads - 1) / kThreads;
      double sum = 0;
      for (int64_t block = place.thread * share; block < blocks && block < (place.thread + 1) * share; ++block) {
        const int64_t first = block * kPiecesOfBlock, end = first + kPiecesOfBlock;
        double of_block = 0;
        for (int64_t i = first; i < end && i < pieces; ++i) of_block = Join::join(of_block, partials[i]);
        sum = Join::join(sum, of_block);
      }
      shared.sums[place.thread] = sum;
    } else if (place.thread == 0) {
      double sum = 0;
      for (int i = 0; i < kThreads; ++i) sum = Join::join(sum, shared.sums[i]);
      *result = root ? std::sqrt(sum) : sum;
    }
  }
};

template <class Join>
Launch<Total<Join>> total(const double* partials, int64_t pieces, bool root, double* result) {
  return {{partials, pieces, root, result}, 1, Total<Join>::kThreads};
}

template <typename T>
struct SumTerms {
  static constexpr int kCount = group_size<T>(), kSums = 1;
  using Coefficients = Nothing;
  using Join = Plus;
  const T* x;

  Lead lead() const { return lead_of<kCount>(x); }
  GHOSTBATCH_HD Nothing coefficients(int32_t) const { return {}; }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at, Nothing, double* sums) const {
    const Values<T, kCount> values = at.load(x);
    for (int k = 0; k < kCount; ++k) sums[0] += static_cast<double>(values.v[k]);
  }
};

template <typename T>
struct LargestTerms {
  static constexpr int kCount = group_size<T>(), kSums = 1;
  using Coefficients = Nothing;
  using Join = Larger;
  const T* x;

  Lead lead() const { return lead_of<kCount>(x); }
  GHOSTBATCH_HD Nothing coefficients(int32_t) const { return {}; }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at, Nothing, double* sums) const {
    const Values<T, kCount> values = at.load(x);
    for (int k = 0; k < kCount; ++k) {
      sums[0] = Larger::join(sums[0], static_cast<double>(values.v[k] < 0 ? -values.v[k] : values.v[k]));
    }
  }
};

template <typename T>
struct DotTerms {
  static constexpr int kCount = group_size<T>(), kSums = 1;
  using Coefficients = Nothing;
  using Join = Plus;
  const T *x, *y;

  Lead lead() const { return lead_of<kCount>(x, y); }
  GHOSTBATCH_HD Nothing coefficients(int32_t) const { return {}; }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at, Nothing, double* sums) const {
    const Values<T, kCount> a = at.load(x), b = at.load(y);
    for (int k = 0; k < kCount; ++k) sums[0] += static_cast<double>(a.v[k]) * static_cast<double>(b.v[k]);
  }
};

template <typename T>
struct DistanceTerms {
  static constexpr int kCount = group_size<T>(), kSums = 1;
  using Coefficients = Nothing;
  using Join = Plus;
  const T *x, *y;

  Lead lead() const { return lead_of<kCount>(x, y); }
  GHOSTBATCH_HD Nothing coefficients(int32_t) const { return {}; }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at, Nothing, double* sums) const {
    const Values<T, kCount> a = at.load(x), b = at.load(y);
    for (int k = 0; k < kCount; ++k) {
      const double d = static_cast<double>(a.v[k]) - static_cast<double>(b.v[k]);
      sums[0] += d * d;
    }
  }
};

/// Sums of squares of weights and gradient; of layers that are not adapted nothing is read.
template <typename T>
struct LarsTerms {
  static constexpr int kCount = group_size<T>(), kSums = 2;
  using Coefficients = bool;
  using Join = Plus;
  const LayerPieces* layers;
  const T *weights, *gradient;

  Lead lead() const { return lead_of<kCount>(weights, gradient); }
  GHOSTBATCH_HD bool coefficients(int32_t layer) const { return layers[layer].adapted != 0; }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at, bool adapted, double* sums) const {
    if (!adapted) return;
    const Values<T, kCount> w = at.load(weights), g = at.load(gradient);
    for (int k = 0; k < kCount; ++k) {
      sums[0] += static_cast<double>(w.v[k]) * static_cast<double>(w.v[k]);
      sums[1] += static_cast<double>(g.v[k]) * static_cast<double>(g.v[k]);
    }
  }
};

/// Moves m and v; sums of squares of weights and r.
template <typename T>
struct LambTerms {
  static constexpr int kCount = group_size<T>(), kSums = 2;
  struct Coefficients {
    LambStep<T> step;
    T factor, beta1, beta2, rest1, rest2;
    bool adapted;
  };
  using Join = Plus;
  const LambSpec* spec;
  const LayerPieces* layers;
  const T *weights, *gradient;
  T *m, *v;

  Lead lead() const { return lead_of<kCount>(weights, gradient, m, v); }
  GHOSTBATCH_HD Coefficients coefficients(int32_t layer) const {
    const bool adapted = layers[layer].adapted != 0;
    return {lamb_step<T>(*spec, adapted),
            static_cast<T>(spec->gradient_scale),
            static_cast<T>(spec->beta1),
            static_cast<T>(spec->beta2),
            static_cast<T>(1 - spec->beta1),
            static_cast<T>(1 - spec->beta2),
            adapted};
  }
  template <class A>
  GHOSTBATCH_HD void operator()(const A& at, const Coefficients& c, double* sums) const {
    const Values<T, kCount> w = at.load(weights), gradients = at.load(gradient);
    Values<T, kCount> first = at.load(m), second = at.load(v);
    for (int k = 0; k < kCount; ++k) {
      const T g = c.factor * gradients.v[k];
      first.v[k] = c.beta1 * first.v[k] + c.rest1 * g;
      second.v[k] = c.beta2 * second.v[k] + c.rest2 * (g * g);
      if (!c.adapted) continue;
      const auto r = static_cast<double>(c.step(w.v[k], first.v[k], second.v[k]));
      sums[0] += static_cast<double>(w.v[k]) * static_cast<double>(w.v[k]);
      sums[1] += r * r;
    }
    at.store(m, first);
    at.store(v, second);
  }
};

/// trust norm / step; 1 for a layer at rest, whose ratio says nothing and could pass the range of f32.
GHOSTBATCH_HD inline double ratio_of(double norm, double step, double trust) {
  constexpr double kRest = 1e-30;
  return norm < kRest || step < kRest ? 1 : trust * norm / step;
}

struct LarsRatio {
  const LarsSpec* spec;
  GHOSTBATCH_HD double operator()(double weights, double gradient) const {
    const double factor = spec->gradient_scale < 0 ? -spec->gradient_scale : spec->gradient_scale;
    return ratio_of(weights, factor * gradient + spec->weight_decay * weights, spec->trust);
  }
};

struct LambRatio {
  GHOSTBATCH_HD double operator()(double weights, double step) const { return ratio_of(weights, step, 1); }
};

/// ratios [layers] = rule(norm of the weights, norm of the step), from the sums of squares of their pieces; 1 where a
/// layer is not adapted. A block of threads a layer, its pieces in a fixed tree.
template <class Rule>
struct Ratios {
  static constexpr int kPhases = 3, kThreads = kVectorThreads, kFold = 16;
  static_assert(kFold * kFold == kThreads);
  struct Shared {
    double sums[2][kThreads];
    double folded[2][kFold];
  };
  struct Registers {};

  Rule rule;
  const LayerPieces* layers;
  const double* partials;  // [pieces, 2]
  double* ratios;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place place, Shared& shared, Registers&) const {
    const LayerPieces layer = layers[place.block];
    const int thread = place.thread;
    if constexpr (kPhase == 0) {
      double sums[2] = {};
      for (int32_t i = thread; i < layer.pieces; i += kThreads) {
        const double* const of_piece = partials + 2 * static_cast<int64_t>(layer.first_piece + i);
        sums[0] += of_piece[0];
        sums[1] += of_piece[1];
      }
      shared.sums[0][thread] = sums[0];
      shared.sums[1][thread] = sums[1];
    } else if constexpr (kPhase == 1) {
      if (thread < 2 * kFold) {
        const int which = thread / kFold, lane = thread % kFold;
        double sum = 0;
        for (int k = 0; k < kFold; ++k) sum += shared.sums[which][k * kFold + lane];
        shared.folded[which][lane] = sum;
      }
    } else if (thread == 0) {
      double weights = 0, step = 0;
      for (int k = 0; k < kFold; ++k) {
        weights += shared.folded[0][k];
        step += shared.folded[1][k];
      }
      ratios[place.block] = layer.adapted != 0 ? rule(std::sqrt(weights), std::sqrt(step)) : 1;
    }
  }
};

template <class Rule>
Launch<Ratios<Rule>> ratios(const Rule& rule, const LayerTable& table, const double* partials, double* to) {
  return {{rule, table.layers, partials, to}, table.layer_count, Ratios<Rule>::kThreads};
}

/// scale = limit / norm where limit > 0 and norm exceeds it, else 1.
struct Clip {
  static constexpr int kPhases = 1, kThreads = 1;
  struct Shared {};
  struct Registers {};

  const double* norm;
  Scalar limit;
  double* scale;

  template <int kPhase>
  GHOSTBATCH_HD void phase(Place, Shared&, Registers&) const {
    const double most = limit.get();
    *scale = most > 0 && *norm > most ? most / *norm : 1;
  }
};

inline Launch<Clip> clip_launch(const double* norm, const Scalar& limit, double* scale) {
  return {{norm, limit, scale}, 1, Clip::kThreads};
}

// Enqueue on `stream`; vectors of n elements f32 or f64 in device memory, specs and results there too, so that a
// captured graph can be replayed with others. Results are as ghostbatch/vector.h says. Error where CUDA refuses the
// launch.

void fill(DataType type, const Scalar& value, void* x, int64_t n, Stream stream);
/// f32 or f64 to either; f32 to bf16 and back.
void copy(DataType from, const void* x, DataType to, void* y, int64_t n, Stream stream);
void scale(DataType type, const Scalar& alpha, void* x, int64_t n, Stream stream);
/// y += alpha x: of one type, or x f32 and y f64.
void axpy(DataType of_x, const Scalar& alpha, const void* x, DataType of_y, void* y, int64_t n, Stream stream);
void interpolate(DataType type, const Scalar& alpha, const void* x, const void* y, void* z, int64_t n, Stream stream);
void project_box(DataType type, const Scalar& epsilon, const void* center, void* x, int64_t n, Stream stream);
void scale_by_magnitude(DataType type, const Scalar& offset, const void* x, void* y, int64_t n, Stream stream);

/// Doubles of the workspace that a sum over n elements needs.
inline int64_t sum_workspace(int64_t n) {
  return divide_up(n, kPiece);
}
void dot(DataType type, const void* x, const void* y, int64_t n, double* workspace, double* result, Stream stream);
void sum(DataType type, const void* x, int64_t n, double* workspace, double* result, Stream stream);
void norm(DataType type, const void* x, int64_t n, double* workspace, double* result, Stream stream);  // ||x||_2
void distance(DataType type, const void* x, const void* y, int64_t n, double* workspace, double* result,
              Stream stream);
void max_abs(DataType type, const void* x, int64_t n, double* workspace, double* result, Stream stream);
/// What clipping multiplies a gradient of this norm by; `scale` may be the gradient_scale of a spec.
void clip(const double* norm, const Scalar& limit, double* scale, Stream stream);

void sgd(DataType type, const SgdSpec* spec, void* weights, const void* gradient, void* velocity, int64_t n,
         Stream stream);
void adam(DataType type, const AdamSpec* spec, void* weights, const void* gradient, void* m, void* v, int64_t n,
          Stream stream);
/// Doubles of the workspace that LARS and LAMB need.
inline int64_t layers_workspace(const LayerTable& table) {
  return 2 * table.piece_count + table.layer_count;
}
void lars(DataType type, const LarsSpec* spec, const LayerTable& table, void* weights, const void* gradient,
          void* velocity, double* workspace, Stream stream);
void lamb(DataType type, const LambSpec* spec, const LayerTable& table, void* weights, const void* gradient, void* m,
          void* v, double* workspace, Stream stream);

}  // namespace ghostbatch::cuda::vector
