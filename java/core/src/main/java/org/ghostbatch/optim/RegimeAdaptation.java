package org.ghostbatch.optim;

/**
 * Regime adaptation: with a batch of B instead of {@code base}, every phase of e epochs takes B /
 * base e epochs, so that the number of updates stays (Hoffer et al. 2017, arXiv 1705.08741, section
 * 5).
 *
 * @param base the batch size for which the epochs were chosen, at least 1
 */
public record RegimeAdaptation(int base) {
  public RegimeAdaptation {
    if (base < 1) {
      throw new IllegalArgumentException(
          "[regime adaptation] needs a base batch >= 1, got " + base);
    }
  }

  /** B / base: what boundaries of schedules are multiplied by, see {@link Schedule#stretch}. */
  public double factor(int batch) {
    if (batch < 1) {
      throw new IllegalArgumentException("[regime adaptation] needs a batch >= 1, got " + batch);
    }
    return (double) batch / base;
  }

  /** ceil(epochs B / base). */
  public int epochs(int epochs, int batch) {
    factor(batch);
    long product = (long) epochs * batch;
    long stretched = product / base + (product % base > 0 ? 1 : 0);
    if (epochs < 1 || stretched > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          "[regime adaptation] needs 1 to 2147483647 epochs, got "
              + epochs
              + " stretched to "
              + stretched);
    }
    return (int) stretched;
  }
}
