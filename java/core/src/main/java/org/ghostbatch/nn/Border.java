package org.ghostbatch.nn;

import java.util.Locale;

/** What a pooling does at the lower and right border of its image. */
public enum Border {
  /** As PyTorch: windows that would reach beyond the padding are left out. */
  FLOOR,
  /** As FLOOR; and a window larger than the padded image, there an error, is cut to it. */
  CLIP,
  /**
   * As Keras's {@code same}: ceil(size / stride) windows, with the padding that this takes; where
   * it is odd, the odd row or column comes last.
   */
  SAME;

  /** {@code floor}, {@code clip} or {@code same}. */
  @Override
  public String toString() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** The border of that name. */
  public static Border of(String name) {
    for (Border border : values()) {
      if (border.toString().equals(name)) {
        return border;
      }
    }
    throw Check.bad("border", "floor, clip or same", name);
  }
}
