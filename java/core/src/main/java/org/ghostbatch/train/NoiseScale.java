package org.ghostbatch.train;

import java.util.Locale;

/**
 * The gradient noise scale B = tr(Sigma) / |G|^2, for the gradient G of the loss and the covariance
 * Sigma of the gradients of single samples: about the batch size up to which larger batches save
 * updates in proportion, and beyond which they hardly save any, the critical batch size (McCandlish
 * et al. 2018, arXiv 1812.06162, eq. 2.9). Moving averages over updates, see {@link
 * NoiseScaleEstimator}.
 *
 * @param scale in samples; NaN where noise hides the gradient, and without two measured updates
 * @param low end of its 95 % interval; 0 where nothing bounds it
 * @param high likewise; infinite where nothing bounds it
 * @param gradientSquare |G|^2; an unbiased estimate, below 0 perhaps
 * @param covarianceTrace tr(Sigma)
 * @param updates that were measured
 */
public record NoiseScale(
    double scale,
    double low,
    double high,
    double gradientSquare,
    double covarianceTrace,
    long updates) {
  /** As {@code 530 (410-700)}, or {@code unknown (at least 410)}. */
  @Override
  public String toString() {
    return (Double.isNaN(scale) ? "unknown" : rounded(scale))
        + (Double.isInfinite(high)
            ? " (at least " + rounded(low) + ")"
            : " (" + rounded(low) + "-" + rounded(high) + ")");
  }

  private static String rounded(double value) {
    return String.format(Locale.ROOT, "%.0f", value);
  }
}
