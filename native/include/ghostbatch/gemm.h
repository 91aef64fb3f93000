#pragma once

#include "ghostbatch/types.h"

namespace ghostbatch {

/// C [m,n] = alpha op(A) op(B) + beta C, + bias [n] (broadcast over rows), then max(0, .), row-major.
/// op(A) is [m,k]: A is stored [m,k], or [k,m] with transpose_a; op(B) is [k,n]: B is stored [k,n], or [n,k].
struct GemmSpec {
  int64_t m = 1;
  int64_t n = 1;
  int64_t k = 1;
  bool transpose_a = false;
  bool transpose_b = false;
  double alpha = 1;
  double beta = 0;  // 0: C is not read and may hold NaN
  bool bias = false;
  bool relu = false;
  DataType type = DataType::f32;  // of A, B and C; the bias is parameter_type(type)

  double flops() const { return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k); }
};

/// Matrix product for one shape. Immutable; safe from several threads, each with its own scratch.
class Gemm : public Resource {
 public:
  void run(const View& a, const View& b, const View* bias, const View& c, const View& scratch) const;
  const GemmSpec& spec() const { return spec_; }
  int64_t scratch_bytes() const { return scratch_bytes_; }
  virtual const char* implementation() const = 0;

 protected:
  explicit Gemm(const GemmSpec& spec);
  virtual void do_run(const View& a, const View& b, const View* bias, const View& c, const View& scratch) const = 0;

  GemmSpec spec_;
  int64_t scratch_bytes_ = 0;
};

}  // namespace ghostbatch
