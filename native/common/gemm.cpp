#include "ghostbatch/gemm.h"

#include "common/check.h"

namespace ghostbatch {
namespace {

constexpr const char* kKernel = "gemm";

const GemmSpec& checked(const GemmSpec& spec) {
  check_activation_type(kKernel, spec.type);
  check_positive(kKernel, "m", spec.m);
  check_positive(kKernel, "n", spec.n);
  check_positive(kKernel, "k", spec.k);
  check_finite(kKernel, "alpha", spec.alpha);
  check_finite(kKernel, "beta", spec.beta);
  check_product(kKernel, "a", spec.m, spec.k);
  check_product(kKernel, "b", spec.k, spec.n);
  check_product(kKernel, "c", spec.m, spec.n);
  return spec;
}

}  // namespace

Gemm::Gemm(const GemmSpec& spec) : spec_(checked(spec)) {}

void Gemm::run(const View& a, const View& b, const View* bias, const View& c, const View& scratch) const {
  check_view(kKernel, "a", a, spec_.m * spec_.k, spec_.type);
  check_view(kKernel, "b", b, spec_.k * spec_.n, spec_.type);
  check_presence(kKernel, "bias", bias, spec_.bias);
  if (bias != nullptr) check_view(kKernel, "bias", *bias, spec_.n, parameter_type(spec_.type));
  check_view(kKernel, "c", c, spec_.m * spec_.n, spec_.type);
  check_room(kKernel, "scratch", scratch, scratch_bytes_);
  do_run(a, b, bias, c, scratch);
}

}  // namespace ghostbatch
