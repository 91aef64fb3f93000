package org.ghostbatch.nn;

/** Mean over the whole image: [H, W, C] to a vector [C]. */
public record GlobalAvgPool() implements Layer {
  public static GlobalAvgPool of() {
    return new GlobalAvgPool();
  }
}
