#include "reference/kernels.h"

namespace ghostbatch::reference {
namespace {

template <typename T>
class ReferenceGemm final : public Gemm {
 public:
  explicit ReferenceGemm(const GemmSpec& spec) : Gemm(spec) {}

  const char* implementation() const override { return "loops"; }

 protected:
  void do_run(const View& a, const View& b, const View* bias, const View& c, const View&) const override {
    const int64_t m = spec_.m, n = spec_.n, k = spec_.k;
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (int64_t l = 0; l < k; ++l) {
          const T left = a.as<T>()[spec_.transpose_a ? l * m + i : i * k + l];
          const T right = b.as<T>()[spec_.transpose_b ? j * k + l : l * n + j];
          sum += static_cast<double>(left) * static_cast<double>(right);
        }
        double result = spec_.alpha * sum;
        T& stored = c.as<T>()[i * n + j];
        if (spec_.beta != 0) result += spec_.beta * static_cast<double>(stored);
        if (bias != nullptr) result += static_cast<double>(bias->as<Parameter<T>>()[j]);
        stored = static_cast<T>(spec_.relu ? rectify(result) : result);
      }
    }
  }
};

}  // namespace

Gemm* make_gemm(const GemmSpec& spec) {
  return with_type("gemm", spec.type,
                   [&](auto element) -> Gemm* { return new ReferenceGemm<decltype(element)>(spec); });
}

}  // namespace ghostbatch::reference
