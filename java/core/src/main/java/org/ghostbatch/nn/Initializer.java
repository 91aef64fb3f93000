package org.ghostbatch.nn;

import java.util.Locale;

/**
 * Where a layer's first weights come from; fan-in and fan-out count weights per output and per
 * input.
 */
public enum Initializer {
  /**
   * N(0, sqrt(2 / fan-out)), bias 0: convolutions of Hoffer et al., fan-out k k K (He et al. 2015,
   * arXiv 1502.01852).
   */
  HE,
  /** U(-1 / sqrt(fan-in), 1 / sqrt(fan-in)), bias too: PyTorch's default. */
  PYTORCH,
  /** U(-sqrt(6 / (fan-in + fan-out)), same), bias 0: Keras's default (Glorot and Bengio 2010). */
  GLOROT;

  /** {@code he}, {@code pytorch} or {@code glorot}. */
  @Override
  public String toString() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** The initializer of that name. */
  public static Initializer of(String name) {
    for (Initializer initializer : values()) {
      if (initializer.toString().equals(name)) {
        return initializer;
      }
    }
    throw Check.bad("initializer", "he, pytorch or glorot", name);
  }
}
