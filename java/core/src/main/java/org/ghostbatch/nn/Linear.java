package org.ghostbatch.nn;

/** Linear layer: [in] to [out]; an image goes through {@link Flatten} first. */
public record Linear(int out, boolean bias, Initializer init) implements Layer {
  public Linear {
    Check.atLeast("linear", "outputs", out, 1);
    Check.present("linear", "an initializer", init);
  }

  /** With bias, weights from {@link Initializer#PYTORCH}. */
  public static Linear of(int out) {
    return new Linear(out, true, Initializer.PYTORCH);
  }

  public Linear bias(boolean bias) {
    return new Linear(out, bias, init);
  }

  public Linear init(Initializer init) {
    return new Linear(out, bias, init);
  }
}
