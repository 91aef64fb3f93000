package org.ghostbatch.nn;

/** An image [H, W, C] as a vector of H W C values; costs nothing. */
public record Flatten() implements Layer {
  public static Flatten of() {
    return new Flatten();
  }
}
