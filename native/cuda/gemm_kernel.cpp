#include "cuda/biased_matmul.h"
#include "cuda/kernels.h"

namespace ghostbatch::cuda {
namespace {

/// Matrices are aligned to 16 bytes; the bias lies anywhere.
class CublasLtGemm final : public Gemm {
 public:
  CublasLtGemm(const Context& context, const GemmSpec& spec)
      : Gemm(spec), context_(context), product_(context, {spec, spec.type, false, context.allowed().tf32}) {
    scratch_bytes_ = product_.scratch_bytes();
  }

  const char* implementation() const override { return product_.implementation().c_str(); }

 protected:
  void do_run(const View& a, const View& b, const View* bias, const View& c, const View& scratch) const override {
    const auto lock = context_.lock();
    product_.run(a.data, b.data, bias, c, scratch);
  }

 private:
  const Context& context_;
  BiasedMatmul product_;
};

}  // namespace

Gemm* make_gemm(const Context& context, const GemmSpec& spec) {
  const auto lock = context.lock();
  return new CublasLtGemm(context, spec);
}

}  // namespace ghostbatch::cuda
