// One-pass kernels on the parameter vector. All views of a call have one type, f32 or f64, and one length.
#pragma once

#include "ghostbatch/lanes.h"
#include "ghostbatch/types.h"

namespace ghostbatch {

/// SGD as PyTorch: g = scale grad + weight_decay w; v = momentum v + g; w -= rate * (nesterov ? g + momentum v : v).
/// The first update starts from v = 0.
struct SgdSpec {
  double rate = 0.1;
  double momentum = 0;
  double weight_decay = 0;
  double gradient_scale = 1;  // clipping
  bool nesterov = false;
};

/// Adam (Kingma & Ba 2015, arXiv 1412.6980, Algorithm 1); decoupled: AdamW (arXiv 1711.05101, Algorithm 2).
/// g = scale grad (+ weight_decay w unless decoupled); m, v moments; w -= rate * mhat / (sqrt(vhat) + epsilon).
struct AdamSpec {
  double rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  double gradient_scale = 1;
  bool decoupled = false;
  int64_t step = 1;  // from 1, for the bias correction
};

/// Kernels over ranges of vectors. Sums are formed in double over fixed blocks of `kBlock` elements combined in order,
/// and every element is handled alike, so results do not depend on the number of lanes.
class VectorKernels : public Resource {
 public:
  static constexpr int64_t kBlock = 65536;

  // Public calls run on `lanes` (null: the calling thread).
  void fill(Lanes* lanes, double value, const View& x) const;
  void copy(Lanes* lanes, const View& x, const View& y) const;                  // y = x
  void scale(Lanes* lanes, double alpha, const View& x) const;                  // x *= alpha
  void axpy(Lanes* lanes, double alpha, const View& x, const View& y) const;    // y += alpha x
  double dot(Lanes* lanes, const View& x, const View& y) const;                 // sum x y
  double sum(Lanes* lanes, const View& x) const;
  double distance(Lanes* lanes, const View& x, const View& y) const;            // ||x - y||_2
  double max_abs(Lanes* lanes, const View& x) const;                            // NaN where any is NaN
  /// z = (1 - alpha) x + alpha y; x itself at alpha 0 and where both are alike, y at alpha 1. z may be x or y.
  void interpolate(Lanes* lanes, double alpha, const View& x, const View& y, const View& z) const;
  /// x = center + clamp(x - center, -r, r), r = epsilon (|center| + 1): the box of Keskar's Metric 2.1.
  void project_box(Lanes* lanes, double epsilon, const View& center, const View& x) const;
  void sgd(Lanes* lanes, const SgdSpec& spec, const View& weights, const View& gradient, const View& velocity) const;
  void adam(Lanes* lanes, const AdamSpec& spec, const View& weights, const View& gradient, const View& m,
            const View& v) const;
  virtual const char* implementation() const = 0;

  // Building blocks over n elements, for the engine and the public calls. `y` may be x where both are written alike.
  virtual void fill_block(double value, void* x, DataType type, int64_t n) const = 0;
  virtual void scale_block(double alpha, void* x, DataType type, int64_t n) const = 0;
  virtual void axpy_block(double alpha, const void* x, void* y, DataType type, int64_t n) const = 0;
  virtual double dot_block(const void* x, const void* y, DataType type, int64_t n) const = 0;
  virtual double sum_block(const void* x, DataType type, int64_t n) const = 0;
  virtual double squared_distance_block(const void* x, const void* y, DataType type, int64_t n) const = 0;
  virtual double max_abs_block(const void* x, DataType type, int64_t n) const = 0;
  virtual void interpolate_block(double alpha, const void* x, const void* y, void* z, DataType type, int64_t n) const = 0;
  virtual void project_box_block(double epsilon, const void* center, void* x, DataType type, int64_t n) const = 0;
  virtual void sgd_block(const SgdSpec& spec, void* weights, const void* gradient, void* velocity, DataType type,
                         int64_t n) const = 0;
  virtual void adam_block(const AdamSpec& spec, void* weights, const void* gradient, void* m, void* v, DataType type,
                          int64_t n) const = 0;

 protected:
  VectorKernels() = default;
};

}  // namespace ghostbatch
