package org.ghostbatch.random;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.Arrays;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class ShuffleTest {
  private static final int HASH = -1964289647;

  @Test
  void isAPermutation() {
    assertThrows(IllegalArgumentException.class, () -> Shuffle.permutation(-1, 1, 0));
    for (int n : new int[] {0, 1, 2, 3, 17, 1000}) {
      int[] order = Shuffle.permutation(n, 5, 2);
      Arrays.sort(order);
      assertArrayEquals(IntStream.range(0, n).toArray(), order);
    }
  }

  @Test
  void dependsOnSeedAndEpochAlone() {
    int[] order = Shuffle.permutation(1000, 1, 0);
    int[] again = new int[1000];
    Shuffle.fill(again, 1, 0);
    assertArrayEquals(order, again);
    assertFalse(Arrays.equals(order, Shuffle.permutation(1000, 2, 0)));
    assertFalse(Arrays.equals(order, Shuffle.permutation(1000, 1L << 32 | 1, 0)));
    assertFalse(Arrays.equals(order, Shuffle.permutation(1000, 1, 1)));
    assertFalse(Arrays.equals(order, Shuffle.permutation(1000, 1, 1L << 32)));
  }

  @Test
  void isTheSameOnEveryJvm() {
    assertEquals(HASH, Arrays.hashCode(Shuffle.permutation(60_000, 1, 0)));
  }

  @Test
  void everyPermutationIsEquallyLikely() {
    int[] counts = new int[27];
    for (int epoch = 0; epoch < 12_000; epoch++) {
      int[] order = Shuffle.permutation(3, 11, epoch);
      counts[9 * order[0] + 3 * order[1] + order[2]]++;
    }
    assertEquals(6, Arrays.stream(counts).filter(count -> count > 0).count());
    for (int count : counts) {
      assertEquals(count == 0 ? 0 : 2000, count, 5 * 41);
    }
  }
}
