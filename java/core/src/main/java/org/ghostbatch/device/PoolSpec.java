package org.ghostbatch.device;

/**
 * Pooling of [N,H,W,C] to [N,P,Q,C], P = floor((H + 2 padHeight + extraHeight - windowHeight) /
 * strideHeight) + 1. Padding never wins a maximum and does not count in an average.
 *
 * @param padHeight rows above and below
 * @param extraHeight further rows below; padHeight + extraHeight is less than windowHeight
 * @param extraWidth further columns on the right
 */
public record PoolSpec(
    PoolKind kind,
    int batch,
    int height,
    int width,
    int channels,
    int windowHeight,
    int windowWidth,
    int strideHeight,
    int strideWidth,
    int padHeight,
    int padWidth,
    int extraHeight,
    int extraWidth,
    DataType type) {
  private static final String KIND = "pooling";

  public PoolSpec {
    Check.present(KIND, "a kind", kind);
    Check.positive(KIND, "batch", batch);
    Check.positive(KIND, "height", height);
    Check.positive(KIND, "width", width);
    Check.positive(KIND, "channels", channels);
    Check.positive(KIND, "window height", windowHeight);
    Check.positive(KIND, "window width", windowWidth);
    Check.positive(KIND, "stride height", strideHeight);
    Check.positive(KIND, "stride width", strideWidth);
    Check.range(KIND, "pad height", padHeight, 0, windowHeight - 1);
    Check.range(KIND, "pad width", padWidth, 0, windowWidth - 1);
    Check.range(KIND, "extra height", extraHeight, 0, windowHeight - 1 - padHeight);
    Check.range(KIND, "extra width", extraWidth, 0, windowWidth - 1 - padWidth);
    Check.activation(KIND, type);
    long paddedHeight = height + 2L * padHeight + extraHeight;
    long paddedWidth = width + 2L * padWidth + extraWidth;
    if (windowHeight > paddedHeight || windowWidth > paddedWidth) {
      throw Check.bad(
          KIND,
          "a window inside the padded image of " + paddedHeight + " x " + paddedWidth,
          windowHeight + " x " + windowWidth);
    }
    if (kind == PoolKind.MAX && (long) windowHeight * windowWidth > 255) {
      throw Check.bad(KIND, "a window of at most 255 cells", windowHeight + " x " + windowWidth);
    }
    Check.product(KIND, "src", batch, height, width, channels);
  }

  /** f32, a square window that moves by its own size, no padding. */
  public static PoolSpec of(
      PoolKind kind, int batch, int height, int width, int channels, int window) {
    return new PoolSpec(
        kind,
        batch,
        height,
        width,
        channels,
        window,
        window,
        window,
        window,
        0,
        0,
        0,
        0,
        DataType.F32);
  }

  public PoolSpec withStride(int stride) {
    return new PoolSpec(
        kind,
        batch,
        height,
        width,
        channels,
        windowHeight,
        windowWidth,
        stride,
        stride,
        padHeight,
        padWidth,
        extraHeight,
        extraWidth,
        type);
  }

  /**
   * f32, a square window, padded as Keras's {@code same}: P = ceil(H / stride), from d = max(0, (P
   * - 1) stride + window - H) rows of padding, floor(d / 2) of them above.
   */
  public static PoolSpec same(
      PoolKind kind, int batch, int height, int width, int channels, int window, int stride) {
    Check.positive(KIND, "height", height);
    Check.positive(KIND, "width", width);
    Check.positive(KIND, "stride", stride);
    int rows = samePadding(height, window, stride);
    int columns = samePadding(width, window, stride);
    return new PoolSpec(
        kind,
        batch,
        height,
        width,
        channels,
        window,
        window,
        stride,
        stride,
        rows / 2,
        columns / 2,
        rows % 2,
        columns % 2,
        DataType.F32);
  }

  private static int samePadding(int size, int window, int stride) {
    int last = (size - 1) / stride * stride; // where the last window begins
    return (int) Math.max(0, (long) last + window - size);
  }

  /** The same on all sides, and no more. */
  public PoolSpec withPadding(int padding) {
    return new PoolSpec(
        kind,
        batch,
        height,
        width,
        channels,
        windowHeight,
        windowWidth,
        strideHeight,
        strideWidth,
        padding,
        padding,
        0,
        0,
        type);
  }

  public PoolSpec withType(DataType type) {
    return new PoolSpec(
        kind,
        batch,
        height,
        width,
        channels,
        windowHeight,
        windowWidth,
        strideHeight,
        strideWidth,
        padHeight,
        padWidth,
        extraHeight,
        extraWidth,
        type);
  }

  /** P: rows of the result. */
  public int outHeight() {
    return (int) ((height + 2L * padHeight + extraHeight - windowHeight) / strideHeight + 1);
  }

  /** Q: columns of the result. */
  public int outWidth() {
    return (int) ((width + 2L * padWidth + extraWidth - windowWidth) / strideWidth + 1);
  }

  /** N * H * W * C. */
  public long srcElements() {
    return (long) batch * height * width * channels;
  }

  /** N * P * Q * C. */
  public long dstElements() {
    return (long) batch * outHeight() * outWidth() * channels;
  }

  /** The native spec; to be closed after use. */
  org.ghostbatch.binding.PoolSpec toBinding() {
    return new org.ghostbatch.binding.PoolSpec()
        .kind(kind.binding)
        .batch(batch)
        .height(height)
        .width(width)
        .channels(channels)
        .window_h(windowHeight)
        .window_w(windowWidth)
        .stride_h(strideHeight)
        .stride_w(strideWidth)
        .pad_h(padHeight)
        .pad_w(padWidth)
        .extra_h(extraHeight)
        .extra_w(extraWidth)
        .type(type.binding);
  }
}
