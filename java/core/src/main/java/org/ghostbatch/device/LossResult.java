package org.ghostbatch.device;

/** Sums over the rows of a batch, filled by the call that it is given to. */
public final class LossResult {
  double loss;
  long correct;

  /** Sum of weight * cross-entropy, natural logarithm. */
  public double loss() {
    return loss;
  }

  /** Rows whose first largest logit is the label. */
  public long correct() {
    return correct;
  }
}
