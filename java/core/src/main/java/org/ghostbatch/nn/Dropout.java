package org.ghostbatch.nn;

/**
 * Drops each element with probability {@code rate} in training, and divides the others by 1 - rate.
 *
 * @param rate in [0, 1)
 */
public record Dropout(double rate) implements Layer {
  public Dropout {
    if (!(rate >= 0 && rate < 1)) {
      throw Check.bad("dropout", "a rate in [0, 1)", rate);
    }
  }

  public static Dropout of(double rate) {
    return new Dropout(rate);
  }
}
