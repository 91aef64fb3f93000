package org.ghostbatch.random;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import org.junit.jupiter.api.Test;

class PhiloxTest {
  private static final int GAUSSIAN_HASH = -586425692;
  private static final int UNIFORM_HASH = 1628225503;

  @Test
  void givesTheKnownAnswersOfRandom123() {
    assertWords("6627e8d5 e169c58d bc57ac4c 9b00dbd8", 0, 0, 0, 0, 0);
    assertWords("408f276d 41c83b0e a20bc7c6 6d5451fd", -1, -1, -1, -1, -1);
    assertWords(
        "d16cfe09 94fdcceb 5001e420 24126ea1",
        0x299f31d0a4093822L,
        0x243f6a88,
        0x85a308d3,
        0x13198a2e,
        0x03707344);
  }

  private static void assertWords(String expected, long seed, int a, int b, int c, int d) {
    int[] words = new int[4];
    Philox.words(seed, a, b, c, d, words);
    assertEquals(
        expected, String.format("%08x %08x %08x %08x", words[0], words[1], words[2], words[3]));
  }

  @Test
  void streamsOfPurposesDoNotOverlap() {
    assertEquals(0x01000000, Purpose.WEIGHTS.stream(0));
    assertEquals(0x06ffffff, Purpose.PROBE.stream(0xFFFFFF));
    assertThrows(IllegalArgumentException.class, () -> Purpose.WEIGHTS.stream(1 << 24));
    assertThrows(IllegalArgumentException.class, () -> Purpose.WEIGHTS.stream(-1));
  }

  @Test
  void elementsDoNotDependOnTheRangeTheyAreDrawnIn() {
    double[] gaussian = new double[101];
    double[] uniform = new double[101];
    int stream = Purpose.WEIGHTS.stream(3);
    Philox.gaussian(7, stream, 0, gaussian);
    Philox.uniform(7, stream, 0, uniform);
    for (int first = 0; first < 9; first++) {
      for (int length = 0; length < 9; length++) {
        double[] part = new double[length];
        Philox.gaussian(7, stream, first, part);
        assertArrayEquals(Arrays.copyOfRange(gaussian, first, first + length), part);
        Philox.uniform(7, stream, first, part);
        assertArrayEquals(Arrays.copyOfRange(uniform, first, first + length), part);
      }
    }
    double[] far = new double[2];
    Philox.gaussian(7, stream, 1L << 40, far);
    assertNotEquals(gaussian[0], far[0]);
    assertThrows(IllegalArgumentException.class, () -> Philox.gaussian(7, stream, -1, far));
  }

  @Test
  void gaussianHasTheBitsThatEveryJvmGives() {
    double[] values = new double[100_000];
    Philox.gaussian(1, Purpose.WEIGHTS.stream(0), 0, values);
    assertEquals(GAUSSIAN_HASH, Arrays.hashCode(values));
    double[] uniform = new double[100_000];
    Philox.uniform(1, Purpose.WEIGHTS.stream(0), 0, uniform);
    assertEquals(UNIFORM_HASH, Arrays.hashCode(uniform));
  }

  @Test
  void gaussianHasTheMomentsOfANormal() {
    double[] values = new double[200_000];
    Philox.gaussian(42, Purpose.PROBE.stream(0), 0, values);
    double[] moments = new double[5];
    for (double value : values) {
      assertTrue(Double.isFinite(value));
      for (int power = 1; power <= 4; power++) {
        moments[power] += Math.pow(value, power) / values.length;
      }
    }
    // Five standard errors of each moment of 200,000 draws.
    assertEquals(0, moments[1], 0.0112);
    assertEquals(1, moments[2], 0.0159);
    assertEquals(0, moments[3], 0.0434);
    assertEquals(3, moments[4], 0.1096);
  }

  @Test
  void boundedDrawsAreUniformAndInRange() {
    var random = new RandomStream(3, Purpose.NOISE.stream(0), 0, 0);
    for (int bound : new int[] {1, 2, 3, 7, 10, 1 << 30, Integer.MAX_VALUE}) {
      for (int i = 0; i < 1000; i++) {
        int value = random.nextInt(bound);
        assertTrue(value >= 0 && value < bound);
      }
    }
    // 2^32 is not a multiple of the bound: without rejection, some values would have two words,
    // others
    // three.
    int bound = (1 << 30) + (1 << 29);
    int[] remainders = new int[3];
    for (int i = 0; i < 30_000; i++) {
      remainders[random.nextInt(bound) % 3]++;
    }
    for (int count : remainders) {
      assertEquals(10_000, count, 5 * 82);
    }
    assertThrows(IllegalArgumentException.class, () -> random.nextInt(0));
  }

  @Test
  void streamIsTheWordsOfItsCounters() {
    var random = new RandomStream(9, 1, 2, 3);
    int[] words = new int[4];
    for (int block = 0; block < 3; block++) {
      Philox.words(9, 1, 2, 3, block, words);
      for (int word : words) {
        assertEquals(word, random.nextInt());
      }
    }
    double value = random.nextDouble(-2, 5);
    assertTrue(value >= -2 && value < 5);
  }
}
