package org.ghostbatch.train;

import java.util.List;
import org.ghostbatch.io.JsonObject;

/**
 * Estimates the gradient noise scale from the parts of batches whose gradients are added up anyway.
 *
 * <p>Let a batch of B samples have K parts, and G_k be the mean gradient of the n_k samples of part
 * k. Then E n_k |G_k|^2 = n_k |G|^2 + tr(Sigma), and E B |G_B|^2 = B |G|^2 + tr(Sigma) for the
 * whole, so that with Q = sum_k n_k |G_k|^2
 *
 * <pre>
 *   S = (Q - B |G_B|^2) / (K - 1),   |G|^2 = |G_B|^2 - S / B
 * </pre>
 *
 * are unbiased for tr(Sigma) and for the square of the true gradient, whatever the sizes of the
 * parts. For equal ones they are McCandlish et al.'s of batch sizes B / K and B, averaged over all
 * K small batches. Parts must be independent draws, as whole ghosts are. Micro-batches of one ghost
 * share its statistics: from them S comes out at more than twice what it is.
 *
 * <p>Both are averaged over updates before they are divided, by moving averages of decay 0.99 with
 * the bias of their start corrected. The interval is Fieller's for a ratio of means, from the
 * weighted variances and covariance of the estimates, as if updates were independent draws of one
 * distribution: it says how well the average over the updates of late is known, not how the scale
 * moves.
 *
 * @see <a href="https://arxiv.org/abs/1812.06162">McCandlish et al. 2018, arXiv 1812.06162,
 *     Appendix A.1</a>
 */
final class NoiseScaleEstimator {
  /** Parts that an update must have: of fewer, S says little. */
  static final int LEAST_PARTS = 4;

  private static final double DECAY = 0.99;

  /** Of the normal distribution, for an interval of 95 %. */
  private static final double QUANTILE = 1.96;

  private static final int SUMS = 5;

  private long updates;

  // Moving averages from 0 of S, |G|^2, their squares, and their product.
  private final double[] sums = new double[SUMS];

  /**
   * Takes an update; one of fewer parts than {@link #LEAST_PARTS}, as an epoch's last may be, is
   * passed over.
   *
   * @param partSquares Q
   * @param parts K
   * @param batch B
   * @param norm |G_B|
   */
  void add(double partSquares, int parts, int batch, double norm) {
    if (parts < LEAST_PARTS) {
      return;
    }
    double square = norm * norm;
    double trace = (partSquares - batch * square) / (parts - 1);
    double gradient = square - trace / batch;
    updates++;
    average(0, trace);
    average(1, gradient);
    average(2, trace * trace);
    average(3, gradient * gradient);
    average(4, trace * gradient);
  }

  private void average(int i, double value) {
    sums[i] = DECAY * sums[i] + (1 - DECAY) * value;
  }

  /** What is known so far. */
  NoiseScale estimate() {
    double all = 1 - Math.pow(DECAY, updates); // of the weights
    double trace = sums[0] / all;
    double gradient = sums[1] / all;
    if (updates < 2) {
      return new NoiseScale(Double.NaN, 0, Double.POSITIVE_INFINITY, gradient, trace, updates);
    }
    // Sum of the squares of the weights, and what a mean's variance is of the weighted one.
    double squares = (1 - DECAY) / (1 + DECAY) * (1 - Math.pow(DECAY, 2 * updates)) / (all * all);
    double ofMean = squares / (1 - squares);
    double ofTrace = ofMean * (sums[2] / all - trace * trace);
    double ofGradient = ofMean * (sums[3] / all - gradient * gradient);
    double ofBoth = ofMean * (sums[4] / all - trace * gradient);
    // Ratios r for which trace - r gradient is within the quantile of 0: a r^2 - 2 b r + c <= 0.
    double q = QUANTILE * QUANTILE;
    double a = gradient * gradient - q * ofGradient;
    double b = trace * gradient - q * ofBoth;
    double c = trace * trace - q * ofTrace;
    double root = Math.sqrt(Math.max(0, b * b - a * c));
    return new NoiseScale(
        gradient > 0 ? trace / gradient : Double.NaN,
        c > 0 && b + root > 0 ? c / (b + root) : 0,
        a > 0 && gradient > 0 ? (b + root) / a : Double.POSITIVE_INFINITY,
        gradient,
        trace,
        updates);
  }

  JsonObject toJson() {
    return new JsonObject()
        .put("updates", updates)
        .put("sums", List.of(sums[0], sums[1], sums[2], sums[3], sums[4]));
  }

  static NoiseScaleEstimator fromJson(JsonObject json) {
    NoiseScaleEstimator estimator = new NoiseScaleEstimator();
    estimator.updates = json.getLong("updates");
    List<?> sums = json.getList("sums");
    if (sums.size() != SUMS) {
      throw Check.bad("checkpoint", SUMS + " sums of the noise scale", sums.size());
    }
    for (int i = 0; i < SUMS; i++) {
      if (!(sums.get(i) instanceof Number number)) {
        throw Check.bad("checkpoint", "sums of the noise scale as numbers", sums.get(i));
      }
      estimator.sums[i] = number.doubleValue();
    }
    return estimator;
  }
}
