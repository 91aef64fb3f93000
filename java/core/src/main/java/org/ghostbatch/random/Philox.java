package org.ghostbatch.random;

/**
 * Philox4x32-10: four random words for every (key, counter), with no state in between.
 *
 * <p>Equal, bit for bit, to the native {@code ghostbatch::philox}. Doubles are made with {@link
 * StrictMath} only, so every JVM draws the same numbers.
 *
 * @see <a href="https://doi.org/10.1145/2063384.2063405">Salmon et al., Parallel random numbers: as
 *     easy as 1, 2, 3</a>
 */
public final class Philox {
  private static final double TWO_PI = 6.283185307179586;

  private Philox() {}

  /** Writes the four words of key {@code seed} and counter (a, b, c, d) to {@code words[0..3]}. */
  public static void words(long seed, int a, int b, int c, int d, int[] words) {
    int k0 = (int) seed;
    int k1 = (int) (seed >>> 32);
    for (int round = 0; round < 10; round++) {
      long p0 = 0xD2511F53L * (a & 0xFFFFFFFFL);
      long p1 = 0xCD9E8D57L * (c & 0xFFFFFFFFL);
      a = (int) (p1 >>> 32) ^ b ^ k0;
      b = (int) p1;
      c = (int) (p0 >>> 32) ^ d ^ k1;
      d = (int) p0;
      k0 += 0x9E3779B9;
      k1 += 0xBB67AE85;
    }
    words[0] = a;
    words[1] = b;
    words[2] = c;
    words[3] = d;
  }

  /**
   * A double in [0, 1) of 53 random bits: the high 27 of {@code high}, the high 26 of {@code low}.
   */
  static double unit(int high, int low) {
    return (((long) (high >>> 5) << 26) | (low >>> 6)) * 0x1.0p-53;
  }

  /**
   * Standard normal numbers of elements [first, first + target.length) of a stream, by Box-Muller.
   *
   * <p>Element i depends on (seed, stream, i) alone, so ranges may be drawn in any order and on any
   * thread. Elements 2j and 2j + 1 are sqrt(-2 ln(1 - u)) times cos and sin of 2 pi v, with u, v
   * drawn at counter (stream, j low, j high, 0).
   *
   * @param stream counter word, see {@link Purpose#stream}
   */
  public static void gaussian(long seed, int stream, long first, double[] target) {
    checkRange(first, target.length);
    int[] words = new int[4];
    for (int i = 0; i < target.length; ) {
      long element = first + i;
      long pair = element >>> 1;
      words(seed, stream, (int) pair, (int) (pair >>> 32), 0, words);
      double radius = StrictMath.sqrt(-2 * StrictMath.log(1 - unit(words[0], words[1])));
      double angle = TWO_PI * unit(words[2], words[3]);
      if ((element & 1) == 0) {
        target[i++] = radius * StrictMath.cos(angle);
        if (i == target.length) {
          return;
        }
      }
      target[i++] = radius * StrictMath.sin(angle);
    }
  }

  /**
   * Uniform numbers in [0, 1) of elements [first, first + target.length) of a stream.
   *
   * <p>Element i depends on (seed, stream, i) alone: words (0, 1) or (2, 3) of counter (stream, j
   * low, j high, 1), j = i / 2.
   *
   * @param stream counter word, see {@link Purpose#stream}
   */
  public static void uniform(long seed, int stream, long first, double[] target) {
    checkRange(first, target.length);
    int[] words = new int[4];
    for (int i = 0; i < target.length; ) {
      long element = first + i;
      long pair = element >>> 1;
      words(seed, stream, (int) pair, (int) (pair >>> 32), 1, words);
      if ((element & 1) == 0) {
        target[i++] = unit(words[0], words[1]);
        if (i == target.length) {
          return;
        }
      }
      target[i++] = unit(words[2], words[3]);
    }
  }

  private static void checkRange(long first, int length) {
    if (first < 0 || first > Long.MAX_VALUE - length) {
      throw new IllegalArgumentException("[random] needs a first element >= 0, got " + first);
    }
  }
}
