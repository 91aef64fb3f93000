package org.ghostbatch.nn;

/**
 * Largest value of each window; padding never wins. A square window of at most 15 x 15 cells.
 *
 * @param padding on all sides; 0 with {@link Border#SAME}
 */
public record MaxPool2d(int kernel, int stride, int padding, Border border) implements Layer {
  public MaxPool2d {
    Check.atLeast("maxpool2d", "kernel", kernel, 1);
    Check.atLeast("maxpool2d", "stride", stride, 1);
    Check.atLeast("maxpool2d", "padding", padding, 0);
    Check.present("maxpool2d", "a border", border);
    if (padding >= kernel) {
      throw Check.bad("maxpool2d", "padding below the kernel of " + kernel, padding);
    }
    if (kernel > 15) {
      throw Check.bad("maxpool2d", "a kernel <= 15", kernel);
    }
    if (border == Border.SAME && padding != 0) {
      throw Check.bad("maxpool2d", "padding 0 with border same", padding);
    }
  }

  /** Moves by its own size, without padding. */
  public static MaxPool2d of(int kernel) {
    return new MaxPool2d(kernel, kernel, 0, Border.FLOOR);
  }

  public MaxPool2d stride(int stride) {
    return new MaxPool2d(kernel, stride, padding, border);
  }

  public MaxPool2d padding(int padding) {
    return new MaxPool2d(kernel, stride, padding, border);
  }

  public MaxPool2d border(Border border) {
    return new MaxPool2d(kernel, stride, padding, border);
  }
}
