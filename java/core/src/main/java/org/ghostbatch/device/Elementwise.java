package org.ghostbatch.device;

import org.bytedeco.javacpp.Pointer;
import org.ghostbatch.binding.DropoutKey;
import org.ghostbatch.binding.Resource;

/** ReLU, sums and dropout on activations of one type; in place is allowed. */
public final class Elementwise extends NativeObject {
  private final org.ghostbatch.binding.Elementwise binding;
  private final DataType type;
  private final DropoutKey key;
  private final String implementation;

  private Elementwise(
      Device device, org.ghostbatch.binding.Elementwise binding, DataType type, DropoutKey key) {
    super(device, "elementwise", new Resource[] {binding}, new Pointer[] {key});
    this.binding = binding;
    this.type = type;
    this.key = key;
    this.implementation = binding.implementation();
  }

  static Elementwise create(Device device, DataType type) {
    try {
      return new Elementwise(device, device.binding().elementwise(), type, new DropoutKey());
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    }
  }

  /** dst = max(0, src) for the first {@code elements}; NaN stays NaN. */
  public void relu(Tensor src, Tensor dst, long elements) {
    count(elements);
    begin();
    try {
      binding.relu(use("src", src, type, elements), use("dst", dst, type, elements), elements);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** diffSrc = diffDst where dst > 0, else 0. */
  public void reluBackward(Tensor dst, Tensor diffDst, Tensor diffSrc, long elements) {
    count(elements);
    begin();
    try {
      binding.relu_backward(
          use("dst", dst, type, elements),
          use("diff_dst", diffDst, type, elements),
          use("diff_src", diffSrc, type, elements),
          elements);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** dst = a + b, then max(0, .) where {@code relu}. */
  public void add(Tensor a, Tensor b, Tensor dst, long elements, boolean relu) {
    count(elements);
    begin();
    try {
      binding.add(
          use("a", a, type, elements),
          use("b", b, type, elements),
          use("dst", dst, type, elements),
          elements,
          relu);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /**
   * dst = src * mask / (1 - rate), with a mask keyed by (seed, layer, step, row, element); the same
   * call is the backward.
   *
   * @param rate in [0, 1): the share that is dropped
   */
  public void dropout(
      Tensor src,
      Tensor dst,
      int rows,
      int rowElements,
      double rate,
      long seed,
      int layer,
      long step) {
    Check.positive(kind, "rows", rows);
    Check.positive(kind, "row elements", rowElements);
    if (!(rate >= 0 && rate < 1)) {
      throw Check.bad(kind, "rate in [0, 1)", rate);
    }
    long elements = (long) rows * rowElements;
    begin();
    try {
      key.seed(seed).layer(layer).step(step).first_row(0);
      binding.dropout(
          use("src", src, type, elements),
          use("dst", dst, type, elements),
          rows,
          rowElements,
          rate,
          key);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** Sets elements [first, first + elements) to zero. */
  public void zero(Tensor dst, long first, long elements) {
    count(elements);
    Check.range(kind, "first", first, 0, 1L << 48);
    begin();
    try {
      binding._zero(use("dst", dst, type, first + elements), first, elements);
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

  private void count(long elements) {
    Check.range(kind, "elements", elements, 0, 1L << 48);
  }
}
