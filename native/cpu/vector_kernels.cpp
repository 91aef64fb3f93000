#include "common/block_vector_kernels.h"
#include "cpu/kernels.h"
#include "cpu/simd.h"
#include "cpu/simd_type.h"

namespace ghostbatch::cpu {
namespace {

const VectorTable& table(DataType type) {
  return *parameter_table_for("vector_kernels", type, simd_tables().vector_f32, simd_tables().vector_f64);
}

class SimdVectorKernels final : public BlockVectorKernels {
 public:
  const char* implementation() const override { return simd_implementation(); }

  void fill_block(double value, void* x, DataType type, int64_t n) const override { table(type).fill(value, x, n); }
  void scale_block(double alpha, void* x, DataType type, int64_t n) const override { table(type).scale(alpha, x, n); }
  void axpy_block(double alpha, const void* x, void* y, DataType type, int64_t n) const override {
    table(type).axpy(alpha, x, y, n);
  }
  double dot_block(const void* x, const void* y, DataType type, int64_t n) const override {
    return table(type).dot(x, y, n);
  }
  double sum_block(const void* x, DataType type, int64_t n) const override { return table(type).sum(x, n); }
  double squared_distance_block(const void* x, const void* y, DataType type, int64_t n) const override {
    return table(type).squared_distance(x, y, n);
  }
  double max_abs_block(const void* x, DataType type, int64_t n) const override { return table(type).max_abs(x, n); }
  void interpolate_block(double alpha, const void* x, const void* y, void* z, DataType type, int64_t n) const override {
    table(type).interpolate(alpha, x, y, z, n);
  }
  void project_box_block(double epsilon, const void* center, void* x, DataType type, int64_t n) const override {
    table(type).project_box(epsilon, center, x, n);
  }
  void scale_by_magnitude_block(double offset, const void* x, void* y, DataType type, int64_t n) const override {
    table(type).scale_by_magnitude(offset, x, y, n);
  }
  void sgd_block(const SgdSpec& spec, void* weights, const void* gradient, void* velocity, DataType type,
                 int64_t n) const override {
    table(type).sgd(spec, weights, gradient, velocity, n);
  }
  void adam_block(const AdamSpec& spec, void* weights, const void* gradient, void* m, void* v, DataType type,
                  int64_t n) const override {
    table(type).adam(spec, weights, gradient, m, v, n);
  }
  void lars_block(const LarsSpec& spec, void* weights, const void* gradient, void* velocity, DataType type,
                  int64_t n) const override {
    table(type).lars(spec, weights, gradient, velocity, n);
  }
  double lamb_moments_block(const LambBlock& block, const void* weights, const void* gradient, void* m, void* v,
                            bool wanted, DataType type, int64_t n) const override {
    return table(type).lamb_moments(block, weights, gradient, m, v, wanted, n);
  }
  void lamb_block(const LambBlock& block, void* weights, const void* m, const void* v, DataType type,
                  int64_t n) const override {
    table(type).lamb(block, weights, m, v, n);
  }
};

}  // namespace

BlockVectorKernels* make_vector_kernels() {
  simd_tables();
  return new SimdVectorKernels();
}

}  // namespace ghostbatch::cpu
