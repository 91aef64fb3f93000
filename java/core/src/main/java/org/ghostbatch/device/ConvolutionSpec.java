package org.ghostbatch.device;

/**
 * A 2-D convolution (cross-correlation): src [N,H,W,C], weights [K,R,S,C/G], bias [K], dst
 * [N,P,Q,K] with P = (H + 2 padHeight - dilationHeight (R - 1) - 1) / strideHeight + 1. Start with
 * {@link #of} and change what differs.
 *
 * @param relu dst = max(0, .); forward only
 */
public record ConvolutionSpec(
    int batch,
    int height,
    int width,
    int channels,
    int filters,
    int kernelHeight,
    int kernelWidth,
    int strideHeight,
    int strideWidth,
    int padHeight,
    int padWidth,
    int dilationHeight,
    int dilationWidth,
    int groups,
    boolean bias,
    boolean relu,
    DataType type) {
  private static final String KIND = "convolution";

  public ConvolutionSpec {
    Check.positive(KIND, "batch", batch);
    Check.positive(KIND, "height", height);
    Check.positive(KIND, "width", width);
    Check.positive(KIND, "channels", channels);
    Check.positive(KIND, "filters", filters);
    Check.positive(KIND, "kernel height", kernelHeight);
    Check.positive(KIND, "kernel width", kernelWidth);
    Check.positive(KIND, "stride height", strideHeight);
    Check.positive(KIND, "stride width", strideWidth);
    Check.range(KIND, "pad height", padHeight, 0, 1 << 20);
    Check.range(KIND, "pad width", padWidth, 0, 1 << 20);
    Check.positive(KIND, "dilation height", dilationHeight);
    Check.positive(KIND, "dilation width", dilationWidth);
    Check.positive(KIND, "groups", groups);
    Check.activation(KIND, type);
    if (channels % groups != 0 || filters % groups != 0) {
      throw Check.bad(
          KIND,
          "groups that divide channels and filters",
          groups + " groups of " + channels + " channels and " + filters + " filters");
    }
    long spanHeight = (long) dilationHeight * (kernelHeight - 1) + 1;
    long spanWidth = (long) dilationWidth * (kernelWidth - 1) + 1;
    if (spanHeight > height + 2L * padHeight || spanWidth > width + 2L * padWidth) {
      throw Check.bad(
          KIND,
          "a filter inside the padded image of "
              + (height + 2L * padHeight)
              + " x "
              + (width + 2L * padWidth),
          spanHeight + " x " + spanWidth);
    }
    Check.product(KIND, "src", batch, height, width, channels);
    Check.product(KIND, "weights", filters, kernelHeight, kernelWidth, channels / groups);
    Check.product(
        KIND,
        "dst",
        batch,
        (height + 2L * padHeight - spanHeight) / strideHeight + 1,
        (width + 2L * padWidth - spanWidth) / strideWidth + 1,
        filters);
  }

  /** f32, stride 1, no padding, one group, no bias; src [batch, height, width, channels]. */
  public static ConvolutionSpec of(
      int batch, int height, int width, int channels, int filters, int kernel) {
    return new ConvolutionSpec(
        batch,
        height,
        width,
        channels,
        filters,
        kernel,
        kernel,
        1,
        1,
        0,
        0,
        1,
        1,
        1,
        false,
        false,
        DataType.F32);
  }

  public ConvolutionSpec withStride(int stride) {
    return new ConvolutionSpec(
        batch,
        height,
        width,
        channels,
        filters,
        kernelHeight,
        kernelWidth,
        stride,
        stride,
        padHeight,
        padWidth,
        dilationHeight,
        dilationWidth,
        groups,
        bias,
        relu,
        type);
  }

  public ConvolutionSpec withPadding(int padding) {
    return new ConvolutionSpec(
        batch,
        height,
        width,
        channels,
        filters,
        kernelHeight,
        kernelWidth,
        strideHeight,
        strideWidth,
        padding,
        padding,
        dilationHeight,
        dilationWidth,
        groups,
        bias,
        relu,
        type);
  }

  public ConvolutionSpec withDilation(int dilation) {
    return new ConvolutionSpec(
        batch,
        height,
        width,
        channels,
        filters,
        kernelHeight,
        kernelWidth,
        strideHeight,
        strideWidth,
        padHeight,
        padWidth,
        dilation,
        dilation,
        groups,
        bias,
        relu,
        type);
  }

  public ConvolutionSpec withGroups(int groups) {
    return new ConvolutionSpec(
        batch,
        height,
        width,
        channels,
        filters,
        kernelHeight,
        kernelWidth,
        strideHeight,
        strideWidth,
        padHeight,
        padWidth,
        dilationHeight,
        dilationWidth,
        groups,
        bias,
        relu,
        type);
  }

  public ConvolutionSpec withBias(boolean bias) {
    return new ConvolutionSpec(
        batch,
        height,
        width,
        channels,
        filters,
        kernelHeight,
        kernelWidth,
        strideHeight,
        strideWidth,
        padHeight,
        padWidth,
        dilationHeight,
        dilationWidth,
        groups,
        bias,
        relu,
        type);
  }

  public ConvolutionSpec withRelu(boolean relu) {
    return new ConvolutionSpec(
        batch,
        height,
        width,
        channels,
        filters,
        kernelHeight,
        kernelWidth,
        strideHeight,
        strideWidth,
        padHeight,
        padWidth,
        dilationHeight,
        dilationWidth,
        groups,
        bias,
        relu,
        type);
  }

  public ConvolutionSpec withType(DataType type) {
    return new ConvolutionSpec(
        batch,
        height,
        width,
        channels,
        filters,
        kernelHeight,
        kernelWidth,
        strideHeight,
        strideWidth,
        padHeight,
        padWidth,
        dilationHeight,
        dilationWidth,
        groups,
        bias,
        relu,
        type);
  }

  /** P: rows of the result. */
  public int outHeight() {
    long span = (long) dilationHeight * (kernelHeight - 1) + 1;
    return (int) ((height + 2L * padHeight - span) / strideHeight + 1);
  }

  /** Q: columns of the result. */
  public int outWidth() {
    long span = (long) dilationWidth * (kernelWidth - 1) + 1;
    return (int) ((width + 2L * padWidth - span) / strideWidth + 1);
  }

  /** Multiply-adds times two of one forward pass. */
  public double flops() {
    return 2.0
        * batch
        * outHeight()
        * outWidth()
        * filters
        * kernelHeight
        * kernelWidth
        * (channels / groups);
  }

  /** The native spec; to be closed after use. */
  org.ghostbatch.binding.ConvolutionSpec toBinding() {
    return new org.ghostbatch.binding.ConvolutionSpec()
        .batch(batch)
        .height(height)
        .width(width)
        .channels(channels)
        .filters(filters)
        .kernel_h(kernelHeight)
        .kernel_w(kernelWidth)
        .stride_h(strideHeight)
        .stride_w(strideWidth)
        .pad_h(padHeight)
        .pad_w(padWidth)
        .dilation_h(dilationHeight)
        .dilation_w(dilationWidth)
        .groups(groups)
        .bias(bias)
        .relu(relu)
        .type(type.binding);
  }
}
