// One-pass kernels on the parameter vector. All views of a call have one length, and one type, f32 or f64, unless a kernel
// says otherwise.
#pragma once

#include <vector>

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

/// LARS (You et al. 2017, arXiv 1708.03888, Algorithm 1) on each layer, g = scale grad:
/// step = rate lambda (g + weight_decay w), lambda = trust ||w|| / (||g|| + weight_decay ||w||);
/// v = momentum v + step; w -= nesterov ? step + momentum v : v. The first update starts from v = 0.
/// Layers that are not adapted have lambda 1 and no decay, as biases and batch norm should.
struct LarsSpec {
  double rate = 1;
  double momentum = 0.9;
  double weight_decay = 0;
  double trust = 1e-3;
  double gradient_scale = 1;
  bool nesterov = false;
};

/// LAMB (You et al. 2019, arXiv 1904.00962, Algorithm 2) on each layer, g = scale grad, m and v moments as Adam's:
/// r = mhat / (sqrt(vhat) + epsilon) + weight_decay w; w -= rate ||w|| / ||r|| r.
/// Layers that are not adapted have ratio 1 and no decay.
struct LambSpec {
  double rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-6;
  double weight_decay = 0;
  double gradient_scale = 1;
  int64_t step = 1;  // from 1, for the bias correction
};

/// The layers of a vector, one behind another: what LARS and LAMB take norms of.
class Segments : public Resource {
 public:
  struct Segment {
    int64_t first, end;
    bool adapted;
  };

  static Segments* create();
  /// The next layer. `adapted`: whether it has a trust ratio and weight decay.
  void add(int64_t elements, bool adapted);
  /// Of all layers.
  int64_t elements() const { return all_.empty() ? 0 : all_.back().end; }
  const std::vector<Segment>& all() const { return all_; }

 private:
  Segments() = default;
  std::vector<Segment> all_;
};

/// Kernels over ranges of vectors. Sums are formed in double over fixed blocks of `kBlock` elements combined in order,
/// and every element is handled alike, so results do not depend on the number of lanes.
class VectorKernels : public Resource {
 public:
  static constexpr int64_t kBlock = 65536;

  // Public calls run on `lanes` (null: the calling thread); on a GPU they are enqueued, and wait where they give a number
  // back.
  void fill(Lanes* lanes, double value, const View& x) const;
  void copy(Lanes* lanes, const View& x, const View& y) const;                  // y = x, rounded where y is f32 and x f64
  void scale(Lanes* lanes, double alpha, const View& x) const;                  // x *= alpha
  void axpy(Lanes* lanes, double alpha, const View& x, const View& y) const;    // y += alpha x; x may be f32 where y is f64
  double dot(Lanes* lanes, const View& x, const View& y) const;                 // sum x y
  double sum(Lanes* lanes, const View& x) const;
  double distance(Lanes* lanes, const View& x, const View& y) const;            // ||x - y||_2
  double max_abs(Lanes* lanes, const View& x) const;                            // NaN where any is NaN
  /// z = (1 - alpha) x + alpha y; x itself at alpha 0 and where both are alike, y at alpha 1. z may be x or y.
  void interpolate(Lanes* lanes, double alpha, const View& x, const View& y, const View& z) const;
  /// x = center + clamp(x - center, -r, r), r = epsilon (|center| + 1): the box of Keskar's Metric 2.1.
  void project_box(Lanes* lanes, double epsilon, const View& center, const View& x) const;
  /// y *= |x| + offset: the operator T_w of ASAM (Kwon et al. 2021, arXiv 2102.11600, Algorithm 1) on a gradient.
  void scale_by_magnitude(Lanes* lanes, double offset, const View& x, const View& y) const;
  void sgd(Lanes* lanes, const SgdSpec& spec, const View& weights, const View& gradient, const View& velocity) const;
  void adam(Lanes* lanes, const AdamSpec& spec, const View& weights, const View& gradient, const View& m,
            const View& v) const;
  // `segments` cover the vectors. A ratio of norms is 1 where either of them is below 1e-30: a layer at rest.
  // Norms are formed in double, in one pass over the vectors; a second one updates.
  void lars(Lanes* lanes, const LarsSpec& spec, const Segments& segments, const View& weights, const View& gradient,
            const View& velocity) const;
  void lamb(Lanes* lanes, const LambSpec& spec, const Segments& segments, const View& weights, const View& gradient,
            const View& m, const View& v) const;
  virtual const char* implementation() const = 0;

 protected:
  VectorKernels() = default;
  // As above, on arguments that were checked.
  virtual void do_fill(Lanes* lanes, double value, const View& x) const = 0;
  virtual void do_copy(Lanes* lanes, const View& x, const View& y) const = 0;
  virtual void do_scale(Lanes* lanes, double alpha, const View& x) const = 0;
  virtual void do_axpy(Lanes* lanes, double alpha, const View& x, const View& y) const = 0;
  virtual double do_dot(Lanes* lanes, const View& x, const View& y) const = 0;
  virtual double do_sum(Lanes* lanes, const View& x) const = 0;
  virtual double do_distance(Lanes* lanes, const View& x, const View& y) const = 0;
  virtual double do_max_abs(Lanes* lanes, const View& x) const = 0;
  virtual void do_interpolate(Lanes* lanes, double alpha, const View& x, const View& y, const View& z) const = 0;
  virtual void do_project_box(Lanes* lanes, double epsilon, const View& center, const View& x) const = 0;
  virtual void do_scale_by_magnitude(Lanes* lanes, double offset, const View& x, const View& y) const = 0;
  virtual void do_sgd(Lanes* lanes, const SgdSpec& spec, const View& weights, const View& gradient,
                      const View& velocity) const = 0;
  virtual void do_adam(Lanes* lanes, const AdamSpec& spec, const View& weights, const View& gradient, const View& m,
                       const View& v) const = 0;
  virtual void do_lars(Lanes* lanes, const LarsSpec& spec, const Segments& segments, const View& weights,
                       const View& gradient, const View& velocity) const = 0;
  virtual void do_lamb(Lanes* lanes, const LambSpec& spec, const Segments& segments, const View& weights,
                       const View& gradient, const View& m, const View& v) const = 0;
};

}  // namespace ghostbatch
