package org.ghostbatch.nn;

/** Mean of each window; padding does not count. A square window. */
public record AvgPool2d(int kernel, int stride, int padding) implements Layer {
  public AvgPool2d {
    Check.atLeast("avgpool2d", "kernel", kernel, 1);
    Check.atLeast("avgpool2d", "stride", stride, 1);
    Check.atLeast("avgpool2d", "padding", padding, 0);
    if (padding >= kernel) {
      throw Check.bad("avgpool2d", "padding below the kernel of " + kernel, padding);
    }
  }

  /** Moves by its own size, without padding. */
  public static AvgPool2d of(int kernel) {
    return new AvgPool2d(kernel, kernel, 0);
  }

  public AvgPool2d stride(int stride) {
    return new AvgPool2d(kernel, stride, padding);
  }

  public AvgPool2d padding(int padding) {
    return new AvgPool2d(kernel, stride, padding);
  }
}
