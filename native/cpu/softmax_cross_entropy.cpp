#include "cpu/kernels.h"
#include "cpu/simd.h"
#include "cpu/simd_type.h"

namespace ghostbatch::cpu {
namespace {

constexpr const char* kKernel = "softmax_cross_entropy";

class SimdSoftmaxCrossEntropy final : public SoftmaxCrossEntropy {
 public:
  const char* implementation() const override { return simd_implementation(); }

 private:
  void do_run(const View& logits, const View& labels, const View* weights, int64_t rows, int64_t classes,
              double label_smoothing, double scale, const View* diff_logits, LossResult& result) const override {
    const SoftmaxTable& table = *table_for(kKernel, logits.type, simd_tables().softmax_f32, simd_tables().softmax_bf16);
    check_labels(kKernel, labels.as<int32_t>(), rows, classes);
    result = LossResult{};
    result.loss =
        table.run(logits.data, labels.as<int32_t>(), weights == nullptr ? nullptr : weights->as<float>(), rows, classes,
                  label_smoothing, scale, diff_logits == nullptr ? nullptr : diff_logits->data, result.correct);
  }
};

}  // namespace

SoftmaxCrossEntropy* make_softmax_cross_entropy() {
  simd_tables();
  return new SimdSoftmaxCrossEntropy();
}

}  // namespace ghostbatch::cpu
