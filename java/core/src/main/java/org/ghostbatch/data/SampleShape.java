package org.ghostbatch.data;

/**
 * The shape of one sample, stored [H, W, C]. A vector of n features is {@code new SampleShape(1, 1,
 * n)}.
 *
 * @param height rows H
 * @param width columns W
 * @param channels C, the innermost dimension
 */
public record SampleShape(int height, int width, int channels) {
  /**
   * @throws IllegalArgumentException where a size is below 1 or the element count overflows an int
   */
  public SampleShape {
    if (height < 1 || width < 1 || channels < 1) {
      throw new IllegalArgumentException(
          "[shape] needs height, width and channels >= 1, got "
              + height
              + "x"
              + width
              + "x"
              + channels);
    }
    if ((long) height * width > Integer.MAX_VALUE
        || (long) height * width * channels > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          "[shape] needs at most 2147483647 elements, got "
              + height
              + "x"
              + width
              + "x"
              + channels);
    }
  }

  /** H W C. */
  public int elements() {
    return height * width * channels;
  }

  /** Reads what {@link #toString} writes, as {@code 28x28x1}. */
  public static SampleShape parse(String text) {
    String[] sizes = text.strip().split("x", -1);
    if (sizes.length == 3) {
      try {
        return new SampleShape(
            Integer.parseInt(sizes[0]), Integer.parseInt(sizes[1]), Integer.parseInt(sizes[2]));
      } catch (NumberFormatException e) {
        // Falls through to the message below.
      }
    }
    throw new IllegalArgumentException("[shape] needs HEIGHTxWIDTHxCHANNELS, got " + text);
  }

  /** As {@code 28x28x1}. */
  @Override
  public String toString() {
    return height + "x" + width + "x" + channels;
  }
}
