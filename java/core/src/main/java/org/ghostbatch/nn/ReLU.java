package org.ghostbatch.nn;

/** max(0, x), element by element; fused with a batch norm before it. */
public record ReLU() implements Layer {
  public static ReLU of() {
    return new ReLU();
  }
}
