package org.ghostbatch.random;

/**
 * What a stream of random numbers is for; part of the counter, so that streams never overlap.
 * Mirrors the native enum.
 */
public enum Purpose {
  WEIGHTS(1),
  SHUFFLE(2),
  AUGMENT(3),
  DROPOUT(4),
  NOISE(5),
  PROBE(6),
  DIRECTION(7);

  private final int code;

  Purpose(int code) {
    this.code = code;
  }

  /**
   * The counter word of stream {@code number} (a layer, say) of this purpose: purpose in the top
   * byte, number below.
   */
  public int stream(int number) {
    if (number < 0 || number > 0xFFFFFF) {
      throw new IllegalArgumentException(
          "[random] needs a stream number in [0, 16777215], got " + number);
    }
    return code << 24 | number;
  }
}
