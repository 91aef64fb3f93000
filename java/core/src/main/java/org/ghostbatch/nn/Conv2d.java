package org.ghostbatch.nn;

/**
 * 2-D convolution with square filters: [H, W, C] to [P, Q, filters], P = floor((H + 2 padding -
 * dilation (kernel - 1) - 1) / stride) + 1.
 *
 * @param groups must divide channels and filters; groups = channels is depthwise
 */
public record Conv2d(
    int filters,
    int kernel,
    int stride,
    int padding,
    int dilation,
    int groups,
    boolean bias,
    Initializer init)
    implements Layer {
  public Conv2d {
    Check.atLeast("conv2d", "filters", filters, 1);
    Check.atLeast("conv2d", "kernel", kernel, 1);
    Check.atLeast("conv2d", "stride", stride, 1);
    Check.atLeast("conv2d", "padding", padding, 0);
    Check.atLeast("conv2d", "dilation", dilation, 1);
    Check.atLeast("conv2d", "groups", groups, 1);
    Check.present("conv2d", "an initializer", init);
    if (filters % groups != 0) {
      throw Check.bad("conv2d", "groups that divide " + filters + " filters", groups);
    }
  }

  /** Stride 1, no padding, with bias, weights from {@link Initializer#HE}. */
  public static Conv2d of(int filters, int kernel) {
    return new Conv2d(filters, kernel, 1, 0, 1, 1, true, Initializer.HE);
  }

  public Conv2d stride(int stride) {
    return new Conv2d(filters, kernel, stride, padding, dilation, groups, bias, init);
  }

  public Conv2d padding(int padding) {
    return new Conv2d(filters, kernel, stride, padding, dilation, groups, bias, init);
  }

  public Conv2d dilation(int dilation) {
    return new Conv2d(filters, kernel, stride, padding, dilation, groups, bias, init);
  }

  public Conv2d groups(int groups) {
    return new Conv2d(filters, kernel, stride, padding, dilation, groups, bias, init);
  }

  public Conv2d bias(boolean bias) {
    return new Conv2d(filters, kernel, stride, padding, dilation, groups, bias, init);
  }

  public Conv2d init(Initializer init) {
    return new Conv2d(filters, kernel, stride, padding, dilation, groups, bias, init);
  }
}
