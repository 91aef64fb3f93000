#include "ghostbatch/elementwise.h"

#include "common/check.h"

namespace ghostbatch {
namespace {

constexpr const char* kSoftmax = "softmax_cross_entropy";

/// Views of one activation type that hold `elements`.
void check_operand(const char* kernel, const char* role, const View& view, int64_t elements, DataType type) {
  check_range(kernel, "elements", elements, 0, kMaxElements);
  check_activation_type(kernel, type);
  check_view_holds(kernel, role, view, elements, type);
}

}  // namespace

void Elementwise::relu(const View& src, const View& dst, int64_t elements) const {
  check_operand("relu", "src", src, elements, src.type);
  check_operand("relu", "dst", dst, elements, src.type);
  do_relu(src, dst, elements);
}

void Elementwise::relu_backward(const View& dst, const View& diff_dst, const View& diff_src, int64_t elements) const {
  check_operand("relu_backward", "dst", dst, elements, dst.type);
  check_operand("relu_backward", "diff_dst", diff_dst, elements, dst.type);
  check_operand("relu_backward", "diff_src", diff_src, elements, dst.type);
  do_relu_backward(dst, diff_dst, diff_src, elements);
}

void Elementwise::add(const View& a, const View& b, const View& dst, int64_t elements, bool relu) const {
  check_operand("add", "a", a, elements, a.type);
  check_operand("add", "b", b, elements, a.type);
  check_operand("add", "dst", dst, elements, a.type);
  do_add(a, b, dst, elements, relu);
}

void Elementwise::dropout(const View& src, const View& dst, int64_t rows, int64_t row_elements, double rate,
                          const DropoutKey& key) const {
  check_range("dropout", "rows", rows, 0, kMaxDimension);
  check_positive("dropout", "row_elements", row_elements);
  check_range("dropout", "first_row", key.first_row, 0, kMaxElements);
  if (!(rate >= 0 && rate < 1)) fail("dropout", "rate in [0, 1)", text(rate));
  if (rows == 0) return;
  const int64_t elements = check_product("dropout", "src", rows, row_elements);
  check_operand("dropout", "src", src, elements, src.type);
  check_operand("dropout", "dst", dst, elements, src.type);
  do_dropout(src, dst, rows, row_elements, rate, key);
}

void Elementwise::zero(const View& dst, int64_t first, int64_t elements) const {
  check_range("zero", "first", first, 0, kMaxElements);
  check_range("zero", "elements", elements, 0, kMaxElements);
  check_operand("zero", "dst", dst, first + elements, dst.type);
  do_zero(dst, first, elements);
}

void Elementwise::sign(const View& src, const View& dst, int64_t elements) const {
  check_operand("sign", "src", src, elements, src.type);
  check_view_holds("sign", "dst", dst, elements, DataType::u8);
  do_sign(src, dst, elements);
}

void SoftmaxCrossEntropy::run(const View& logits, const View& labels, const View* weights, int64_t rows,
                              int64_t classes, double label_smoothing, double scale, const View* diff_logits,
                              LossResult& result) const {
  check_range(kSoftmax, "rows", rows, 0, kMaxDimension);
  check_positive(kSoftmax, "classes", classes);
  if (!(label_smoothing >= 0 && label_smoothing < 1))
    fail(kSoftmax, "label_smoothing in [0, 1)", text(label_smoothing));
  check_finite(kSoftmax, "scale", scale);
  result = LossResult{};
  if (rows == 0) return;
  const int64_t elements = check_product(kSoftmax, "logits", rows, classes);
  check_activation_type(kSoftmax, logits.type);
  check_view_holds(kSoftmax, "logits", logits, elements, logits.type);
  check_view_holds(kSoftmax, "labels", labels, rows, DataType::s32);
  if (weights != nullptr) check_view_holds(kSoftmax, "weights", *weights, rows, DataType::f32);
  if (diff_logits != nullptr) check_view_holds(kSoftmax, "diff_logits", *diff_logits, elements, logits.type);
  do_run(logits, labels, weights, rows, classes, label_smoothing, scale, diff_logits, result);
}

}  // namespace ghostbatch
