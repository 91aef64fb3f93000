package org.ghostbatch.nn;

/**
 * Batch normalization per channel, of an image or a vector, with gamma 1 and beta 0 at first. Over
 * how many samples is a choice of training (the ghost batch), not of the layer.
 *
 * @param epsilon added to the variance, above 0
 * @see <a href="https://arxiv.org/abs/1502.03167">Ioffe and Szegedy 2015, arXiv 1502.03167</a>
 */
public record BatchNorm(double epsilon) implements Layer {
  public BatchNorm {
    if (!(epsilon > 0) || Double.isInfinite(epsilon)) {
      throw Check.bad("batch norm", "a finite epsilon > 0", epsilon);
    }
  }

  /** Epsilon 1e-5. */
  public static BatchNorm of() {
    return new BatchNorm(1e-5);
  }
}
