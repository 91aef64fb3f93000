package org.ghostbatch.train;

/**
 * Training went where numbers are not finite. The update was not made: the weights are the last
 * that were good, and no checkpoint is written after it.
 */
public final class DivergedException extends IllegalStateException {
  private static final long serialVersionUID = 1;

  private final long update;

  DivergedException(long update, double loss, double gradientNorm, String where) {
    super(
        "[trainer] needs finite numbers, got loss "
            + loss
            + " and gradient norm "
            + gradientNorm
            + " at update "
            + update
            + (where == null ? "" : ": " + where)
            + "; a lower learning rate, warm-up or clipping helps");
    this.update = update;
  }

  /** Number of the update that was not made, from 1. */
  public long update() {
    return update;
  }
}
