#include <cmath>

#include "reference/kernels.h"

namespace ghostbatch::reference {
namespace {

constexpr const char* kKernel = "softmax_cross_entropy";

class ReferenceSoftmaxCrossEntropy final : public SoftmaxCrossEntropy {
 public:
  const char* implementation() const override { return "loops"; }

 protected:
  void do_run(const View& logits, const View& labels, const View* weights, int64_t rows, int64_t classes,
              double label_smoothing, double scale, const View* diff_logits, LossResult& result) const override {
    check_labels(kKernel, labels.as<int32_t>(), rows, classes);
    with_type(kKernel, logits.type, [&](auto element) {
      using T = decltype(element);
      for (int64_t row = 0; row < rows; ++row) {
        const T* const x = logits.as<T>() + row * classes;
        const int32_t label = labels.as<int32_t>()[row];
        const double weight = weights != nullptr ? static_cast<double>(weights->as<float>()[row]) : 1.0;

        // First largest logit; a row with NaN has none, and its sums below are NaN.
        int64_t largest = 0;
        double mean = 0;
        bool ordered = true;
        for (int64_t c = 0; c < classes; ++c) {
          if (static_cast<double>(x[c]) > static_cast<double>(x[largest])) largest = c;
          ordered = ordered && !std::isnan(static_cast<double>(x[c]));
          mean += static_cast<double>(x[c]) / static_cast<double>(classes);
        }
        if (ordered && largest == label) ++result.correct;

        // log sum exp, shifted by the largest.
        const auto shift = static_cast<double>(x[largest]);
        double sum = 0;
        for (int64_t c = 0; c < classes; ++c) sum += std::exp(static_cast<double>(x[c]) - shift);
        const double log_sum = shift + std::log(sum);
        result.loss += weight * ((1 - label_smoothing) * (log_sum - static_cast<double>(x[label])) +
                                 label_smoothing * (log_sum - mean));

        if (diff_logits == nullptr) continue;
        T* const diff = diff_logits->as<T>() + row * classes;
        for (int64_t c = 0; c < classes; ++c) {
          const double target =
              (c == label ? 1 - label_smoothing : 0.0) + label_smoothing / static_cast<double>(classes);
          diff[c] = static_cast<T>(scale * weight * (std::exp(static_cast<double>(x[c]) - log_sum) - target));
        }
      }
    });
  }
};

}  // namespace

SoftmaxCrossEntropy* make_softmax_cross_entropy() {
  return new ReferenceSoftmaxCrossEntropy();
}

}  // namespace ghostbatch::reference
