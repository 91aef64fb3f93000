// Kernels on the parameter vector where the host can touch it: in blocks, which lanes take one by one.
#pragma once

#include "ghostbatch/vector.h"

namespace ghostbatch {

/// What the blocks of a LAMB update share: a spec with the rate and decay of one layer, and 1 / (1 - beta^step).
struct LambBlock {
  LambSpec spec;
  double unbias_m = 1, unbias_v = 1;
};

/// VectorKernels of a backend whose memory is the host's, from its work on one block.
class BlockVectorKernels : public VectorKernels {
 public:
  // Building blocks over n elements, for the engine and the calls below. `y` may be x where both are written alike.
  virtual void fill_block(double value, void* x, DataType type, int64_t n) const = 0;
  virtual void scale_block(double alpha, void* x, DataType type, int64_t n) const = 0;
  virtual void axpy_block(double alpha, const void* x, void* y, DataType type, int64_t n) const = 0;
  virtual double dot_block(const void* x, const void* y, DataType type, int64_t n) const = 0;
  virtual double sum_block(const void* x, DataType type, int64_t n) const = 0;
  virtual double squared_distance_block(const void* x, const void* y, DataType type, int64_t n) const = 0;
  virtual double max_abs_block(const void* x, DataType type, int64_t n) const = 0;
  virtual void interpolate_block(double alpha, const void* x, const void* y, void* z, DataType type,
                                 int64_t n) const = 0;
  virtual void project_box_block(double epsilon, const void* center, void* x, DataType type, int64_t n) const = 0;
  virtual void scale_by_magnitude_block(double offset, const void* x, void* y, DataType type, int64_t n) const = 0;
  virtual void sgd_block(const SgdSpec& spec, void* weights, const void* gradient, void* velocity, DataType type,
                         int64_t n) const = 0;
  virtual void adam_block(const AdamSpec& spec, void* weights, const void* gradient, void* m, void* v, DataType type,
                          int64_t n) const = 0;
  /// With the layer's rate, ratio included, and decay.
  virtual void lars_block(const LarsSpec& spec, void* weights, const void* gradient, void* velocity, DataType type,
                          int64_t n) const = 0;
  /// Moves m and v; gives the sum of r^2, or 0 where it is not `wanted`.
  virtual double lamb_moments_block(const LambBlock& block, const void* weights, const void* gradient, void* m, void* v,
                                    bool wanted, DataType type, int64_t n) const = 0;
  /// w -= rate r from the moments, with the layer's rate, ratio included, and decay.
  virtual void lamb_block(const LambBlock& block, void* weights, const void* m, const void* v, DataType type,
                          int64_t n) const = 0;

 protected:
  BlockVectorKernels() = default;
  void do_fill(Lanes* lanes, double value, const View& x) const override;
  void do_copy(Lanes* lanes, const View& x, const View& y) const override;
  void do_scale(Lanes* lanes, double alpha, const View& x) const override;
  void do_axpy(Lanes* lanes, double alpha, const View& x, const View& y) const override;
  double do_dot(Lanes* lanes, const View& x, const View& y) const override;
  double do_sum(Lanes* lanes, const View& x) const override;
  double do_distance(Lanes* lanes, const View& x, const View& y) const override;
  double do_max_abs(Lanes* lanes, const View& x) const override;
  void do_interpolate(Lanes* lanes, double alpha, const View& x, const View& y, const View& z) const override;
  void do_project_box(Lanes* lanes, double epsilon, const View& center, const View& x) const override;
  void do_scale_by_magnitude(Lanes* lanes, double offset, const View& x, const View& y) const override;
  void do_sgd(Lanes* lanes, const SgdSpec& spec, const View& weights, const View& gradient,
              const View& velocity) const override;
  void do_adam(Lanes* lanes, const AdamSpec& spec, const View& weights, const View& gradient, const View& m,
               const View& v) const override;
  void do_lars(Lanes* lanes, const LarsSpec& spec, const Segments& segments, const View& weights, const View& gradient,
               const View& velocity) const override;
  void do_lamb(Lanes* lanes, const LambSpec& spec, const Segments& segments, const View& weights, const View& gradient,
               const View& m, const View& v) const override;
};

}  // namespace ghostbatch
