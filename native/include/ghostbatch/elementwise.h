// Kernels without a shape: they take the number of elements at run time.
#pragma once

#include "ghostbatch/types.h"

namespace ghostbatch {

/// Where a dropout mask comes from: Philox keyed by (seed, layer, step, row in the batch, element); same on all backends.
struct DropoutKey {
  uint64_t seed = 0;
  uint32_t layer = 0;      // number of the dropout layer in its network
  uint64_t step = 0;       // update
  int64_t first_row = 0;   // of the batch, of the view's first row
};

/// ReLU, sums, dropout, signs. Activations f32, bf16, f64. Only the first `elements` are touched. In place is allowed.
class Elementwise : public Resource {
 public:
  /// dst = max(0, src); NaN stays NaN.
  void relu(const View& src, const View& dst, int64_t elements) const;
  /// diff_src = diff_dst where dst > 0, else 0.
  void relu_backward(const View& dst, const View& diff_dst, const View& diff_src, int64_t elements) const;
  /// dst = a + b, then max(0, .) where `relu`.
  void add(const View& a, const View& b, const View& dst, int64_t elements, bool relu) const;
  /// dst = src * mask / (1 - rate), element kept where its 32-bit word >= floor(rate * 2^32); rate in [0, 1). The same
  /// call is the backward (src = diff_dst). `row_elements` values a row; element e of a row uses word e % 4 of counter
  /// e / 4.
  void dropout(const View& src, const View& dst, int64_t rows, int64_t row_elements, double rate,
               const DropoutKey& key) const;
  /// Zero elements [first, first + elements): rows that hold no sample, before a sum over rows.
  void zero(const View& dst, int64_t first, int64_t elements) const;
  /// dst = 1 + sign(src), u8: 0, 1 or 2, and 1 where src is NaN. Not in place.
  void sign(const View& src, const View& dst, int64_t elements) const;
  virtual const char* implementation() const = 0;

 protected:
  Elementwise() = default;
  virtual void do_relu(const View& src, const View& dst, int64_t elements) const = 0;
  virtual void do_relu_backward(const View& dst, const View& diff_dst, const View& diff_src, int64_t elements) const = 0;
  virtual void do_add(const View& a, const View& b, const View& dst, int64_t elements, bool relu) const = 0;
  virtual void do_dropout(const View& src, const View& dst, int64_t rows, int64_t row_elements, double rate,
                          const DropoutKey& key) const = 0;
  virtual void do_zero(const View& dst, int64_t first, int64_t elements) const = 0;
  virtual void do_sign(const View& src, const View& dst, int64_t elements) const = 0;
};

/// Sums over rows: loss is the sum of weight * loss (natural log), `correct` counts rows whose first largest logit is
/// the label.
struct LossResult {
  double loss = 0;
  int64_t correct = 0;
};

/// Softmax, cross-entropy with label smoothing, its gradient and the number of correct rows, in one pass over logits:
///   loss_i = -sum_c t_c log p_c, t = (1 - e) onehot(label) + e / classes, diff_logits_i = scale * weight_i * (p - t).
class SoftmaxCrossEntropy : public Resource {
 public:
  /// logits [rows, classes], labels s32 [rows] (each in [0, classes), else an Error naming the row), weights f32 [rows]
  /// or null (1), diff_logits as logits or null; may be logits. Adds nothing: `result` is overwritten. A logit that is
  /// NaN makes the loss NaN and counts as wrong.
  void run(const View& logits, const View& labels, const View* weights, int64_t rows, int64_t classes,
           double label_smoothing, double scale, const View* diff_logits, LossResult& result) const;
  virtual const char* implementation() const = 0;

 protected:
  SoftmaxCrossEntropy() = default;
  /// Of one row at least; labels are to be checked, where they can be looked at.
  virtual void do_run(const View& logits, const View& labels, const View* weights, int64_t rows, int64_t classes,
                      double label_smoothing, double scale, const View* diff_logits, LossResult& result) const = 0;
};

}  // namespace ghostbatch
