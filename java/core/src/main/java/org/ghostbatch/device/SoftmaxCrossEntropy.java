package org.ghostbatch.device;

import org.bytedeco.javacpp.Pointer;
import org.ghostbatch.binding.Resource;

/**
 * Softmax, cross-entropy with label smoothing e, gradient and correct count in one pass: t = (1 -
 * e) onehot(label) + e / classes, diff_logits_i = scale * weight_i * (softmax - t).
 */
public final class SoftmaxCrossEntropy extends NativeObject {
  private final org.ghostbatch.binding.SoftmaxCrossEntropy binding;
  private final DataType type;
  private final org.ghostbatch.binding.LossResult sums;
  private final String implementation;

  private SoftmaxCrossEntropy(
      Device device,
      org.ghostbatch.binding.SoftmaxCrossEntropy binding,
      DataType type,
      org.ghostbatch.binding.LossResult sums) {
    super(device, "softmax_cross_entropy", new Resource[] {binding}, new Pointer[] {sums});
    this.binding = binding;
    this.type = type;
    this.sums = sums;
    this.implementation = binding.implementation();
  }

  static SoftmaxCrossEntropy create(Device device, DataType type) {
    try {
      return new SoftmaxCrossEntropy(
          device,
          device.binding().softmax_cross_entropy(),
          type,
          new org.ghostbatch.binding.LossResult());
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    }
  }

  /**
   * Fills {@code result}, and diffLogits where it is not null.
   *
   * @param logits [rows, classes]; diffLogits may be the same
   * @param labels s32 [rows], each in [0, classes)
   * @param weights f32 [rows], a factor for each row, or null for 1
   * @param scale of the gradient: 1 / batch for a mean
   */
  public void run(
      Tensor logits,
      Tensor labels,
      Tensor weights,
      int rows,
      int classes,
      double labelSmoothing,
      double scale,
      Tensor diffLogits,
      LossResult result) {
    Check.positive(kind, "rows", rows);
    Check.positive(kind, "classes", classes);
    Check.present(kind, "a result", result);
    Check.finite(kind, "scale", scale);
    if (!(labelSmoothing >= 0 && labelSmoothing <= 1)) {
      throw Check.bad(kind, "label smoothing in [0, 1]", labelSmoothing);
    }
    long elements = (long) rows * classes;
    begin();
    try {
      binding.run(
          use("logits", logits, type, elements),
          use("labels", labels, DataType.S32, rows),
          weights == null ? NO_VIEW : use("weights", weights, DataType.F32, rows),
          rows,
          classes,
          labelSmoothing,
          scale,
          diffLogits == null ? NO_VIEW : use("diff_logits", diffLogits, type, elements),
          sums);
      result.loss = sums.loss();
      result.correct = sums.correct();
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** What runs. */
  public String implementation() {
    return implementation;
  }
}
