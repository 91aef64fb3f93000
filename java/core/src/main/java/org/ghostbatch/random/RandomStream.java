package org.ghostbatch.random;

/**
 * Random numbers one after another from one Philox stream: the words of counters (a, b, c, 0), (a,
 * b, c, 1), ...
 *
 * <p>Not thread-safe; make one where it is used, it is cheap.
 */
public final class RandomStream {
  private final long seed;
  private final int a;
  private final int b;
  private final int c;
  private final int[] words = new int[4];
  private int block;
  private int next = 4;

  public RandomStream(long seed, int a, int b, int c) {
    this.seed = seed;
    this.a = a;
    this.b = b;
    this.c = c;
  }

  /** The next 32 random bits. */
  public int nextInt() {
    if (next == 4) {
      Philox.words(seed, a, b, c, block++, words);
      next = 0;
    }
    return words[next++];
  }

  /**
   * A number in [0, bound), each equally likely (Lemire 2019, arXiv 1805.10941, with rejection).
   */
  public int nextInt(int bound) {
    if (bound <= 0) {
      throw new IllegalArgumentException("[random] needs a bound > 0, got " + bound);
    }
    long product = (nextInt() & 0xFFFFFFFFL) * bound;
    if ((product & 0xFFFFFFFFL) < bound) {
      long reject = (0x1_0000_0000L - bound) % bound;
      while ((product & 0xFFFFFFFFL) < reject) {
        product = (nextInt() & 0xFFFFFFFFL) * bound;
      }
    }
    return (int) (product >>> 32);
  }

  /** A double in [0, 1) of 53 random bits. */
  public double nextDouble() {
    int high = nextInt();
    return Philox.unit(high, nextInt());
  }

  /** A double in [low, high). */
  public double nextDouble(double low, double high) {
    return low + (high - low) * nextDouble();
  }
}
