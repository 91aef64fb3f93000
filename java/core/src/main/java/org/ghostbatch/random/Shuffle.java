package org.ghostbatch.random;

/**
 * The order in which an epoch visits the samples: a permutation keyed by seed and epoch, the same
 * on every JVM.
 */
public final class Shuffle {
  private Shuffle() {}

  /** A permutation of [0, count), each equally likely, of this seed and epoch. */
  public static int[] permutation(int count, long seed, long epoch) {
    if (count < 0) {
      throw new IllegalArgumentException("[shuffle] needs a count >= 0, got " + count);
    }
    int[] order = new int[count];
    fill(order, seed, epoch);
    return order;
  }

  /**
   * Writes the permutation of [0, order.length) to {@code order}: Fisher-Yates from the end, no
   * memory allocated per element.
   */
  public static void fill(int[] order, long seed, long epoch) {
    for (int i = 0; i < order.length; i++) {
      order[i] = i;
    }
    var random =
        new RandomStream(seed, Purpose.SHUFFLE.stream(0), (int) epoch, (int) (epoch >>> 32));
    for (int i = order.length - 1; i > 0; i--) {
      int j = random.nextInt(i + 1);
      int swap = order[i];
      order[i] = order[j];
      order[j] = swap;
    }
  }
}
