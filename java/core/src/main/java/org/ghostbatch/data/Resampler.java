package org.ghostbatch.data;

/**
 * Scales images of bytes, keeping their proportions: a triangle filter, widened where the image
 * shrinks (antialiased bilinear, as PIL's and torchvision's), in integers of 22 fraction bits, so
 * with the same bits everywhere. Holds memory for reuse; not thread-safe.
 */
final class Resampler {
  private static final int FRACTION_BITS = 22;
  private static final int HALF = 1 << FRACTION_BITS - 1;

  private final Axis columns = new Axis();
  private final Axis rows = new Axis();
  private byte[] between = new byte[0];

  /**
   * Scales an image [height, width, channels] so that the shorter side, in terms of the shape's,
   * fits it, and cuts the shape from the centre: row (h' - H) / 2, rounded down, on, of h' rows.
   *
   * @param target receives [H, W, channels] of the shape at {@code offset}
   */
  void cover(
      byte[] source,
      int height,
      int width,
      int channels,
      byte[] target,
      int offset,
      SampleShape shape) {
    int toHeight = shape.height();
    int toWidth = shape.width();
    long scaledHeight = toHeight;
    long scaledWidth = toWidth;
    if ((long) toHeight * width >= (long) toWidth * height) {
      scaledWidth = (long) toHeight * width / height;
    } else {
      scaledHeight = (long) toWidth * height / width;
    }
    columns.set(width, scaledWidth, (scaledWidth - toWidth) / 2, toWidth);
    rows.set(height, scaledHeight, (scaledHeight - toHeight) / 2, toHeight);
    int first = rows.first();
    int count = rows.end() - first;
    int size = Math.multiplyExact(count, toWidth * channels);
    if (between.length < size) {
      between = new byte[size];
    }
    // Each row to the new width, then each column of these to the new height.
    int rowBytes = toWidth * channels;
    for (int y = 0; y < count; y++) {
      int from = (first + y) * width * channels;
      for (int x = 0; x < toWidth; x++) {
        for (int c = 0; c < channels; c++) {
          between[y * rowBytes + x * channels + c] = columns.sum(x, source, from + c, channels);
        }
      }
    }
    for (int y = 0; y < toHeight; y++) {
      for (int i = 0; i < rowBytes; i++) {
        target[offset + y * rowBytes + i] = rows.sum(y, between, i - first * rowBytes, rowBytes);
      }
    }
  }

  /** The weights of one direction, kept while sizes stay the same. */
  private static final class Axis {
    private int from;
    private long to;
    private long crop;
    private int count;
    private int width; // weights of an output
    private int[] starts = new int[0];
    private int[] counts = new int[0];
    private int[] weights = new int[0];

    void set(int from, long to, long crop, int count) {
      if (this.from == from && this.to == to && this.crop == crop && this.count == count) {
        return;
      }
      this.from = from;
      this.to = to;
      this.crop = crop;
      this.count = count;
      double scale = (double) from / to;
      double support = Math.max(1, scale);
      width = 2 * (int) Math.ceil(support) + 1;
      starts = new int[count];
      counts = new int[count];
      weights = new int[Math.multiplyExact(count, width)];
      double[] values = new double[width];
      for (int i = 0; i < count; i++) {
        double centre = (i + crop + 0.5) * scale;
        int start = Math.max(0, (int) (centre - support + 0.5));
        int end = Math.min(from, (int) (centre + support + 0.5));
        double sum = 0;
        for (int k = 0; k < end - start; k++) {
          values[k] = Math.max(0, 1 - Math.abs((start + k - centre + 0.5) / support));
          sum += values[k];
        }
        starts[i] = start;
        counts[i] = end - start;
        for (int k = 0; k < end - start; k++) {
          weights[i * width + k] = (int) (0.5 + values[k] / sum * (1 << FRACTION_BITS));
        }
      }
    }

    /** The first source place that is used. */
    int first() {
      return starts[0];
    }

    /** The source place behind the last that is used. */
    int end() {
      return starts[count - 1] + counts[count - 1];
    }

    /** The i-th output of a line whose source place s lies at offset + s * stride. */
    byte sum(int i, byte[] source, int offset, int stride) {
      int sum = HALF;
      int at = offset + starts[i] * stride;
      for (int k = 0; k < counts[i]; k++, at += stride) {
        sum += weights[i * width + k] * (source[at] & 0xFF);
      }
      return (byte) Math.min(255, sum >>> FRACTION_BITS);
    }
  }
}
