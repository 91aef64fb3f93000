package org.ghostbatch.analysis;

import java.util.function.DoubleUnaryOperator;

/**
 * The law by which weights leave their start, d(t) = ||w_t - w_0||, by update t: which of three
 * describes it best by Akaike's criterion, AIC = m ln(RSS / m) + 2 k for m points and k numbers
 * fitted. A random walk in a random potential is ultra-slow, d ~ log t (Hoffer et al. 2017, arXiv
 * 1705.08741, section 3); one without a potential has d ~ sqrt t.
 *
 * @param logarithm d = a + b ln t
 * @param root d = a + b sqrt t
 * @param power d = b t^p
 */
public record Diffusion(Fit logarithm, Fit root, Fit power) {
  private static final double LEAST_POWER = 1e-3;
  private static final double MOST_POWER = 3;
  private static final double GOLDEN = (Math.sqrt(5) - 1) / 2;

  /**
   * A law with its numbers.
   *
   * @param offset a; 0 where there is none
   * @param factor b
   * @param exponent p; NaN where there is none
   * @param aic Akaike's criterion: less is better
   * @param r2 share of the variance of d that it explains
   */
  public record Fit(double offset, double factor, double exponent, double aic, double r2) {}

  /**
   * Fits all three by least squares.
   *
   * @param updates t, above 0, not all the same
   * @param distances d, as many, at least 4
   */
  public static Diffusion fit(double[] updates, double[] distances) {
    if (updates.length < 4 || updates.length != distances.length) {
      throw Check.bad(
          "diffusion",
          "at least 4 updates and as many distances",
          updates.length + " and " + distances.length);
    }
    boolean same = true;
    for (int i = 0; i < updates.length; i++) {
      same &= updates[i] == updates[0];
      if (!(updates[i] > 0) || !Double.isFinite(updates[i]) || !Double.isFinite(distances[i])) {
        throw Check.bad(
            "diffusion", "updates above 0 and finite distances", updates[i] + ", " + distances[i]);
      }
    }
    if (same) {
      throw Check.bad("diffusion", "several updates", updates[0] + " alone");
    }
    return new Diffusion(
        line(updates, distances, Math::log),
        line(updates, distances, Math::sqrt),
        power(updates, distances));
  }

  /** The name of the law with the least criterion: log, sqrt or power. */
  public String best() {
    if (logarithm.aic() <= Math.min(root.aic(), power.aic())) {
      return "log";
    }
    return root.aic() <= power.aic() ? "sqrt" : "power";
  }

  private static Fit line(double[] t, double[] d, DoubleUnaryOperator of) {
    int m = t.length;
    double meanX = 0;
    double meanY = 0;
    for (int i = 0; i < m; i++) {
      meanX += of.applyAsDouble(t[i]) / m;
      meanY += d[i] / m;
    }
    double xx = 0;
    double xy = 0;
    for (int i = 0; i < m; i++) {
      double x = of.applyAsDouble(t[i]) - meanX;
      xx += x * x;
      xy += x * (d[i] - meanY);
    }
    double b = xy / xx;
    double a = meanY - b * meanX;
    return fit(t, d, a, b, Double.NaN, x -> a + b * of.applyAsDouble(x));
  }

  /** The power by golden sections, the factor by least squares for each. */
  private static Fit power(double[] t, double[] d) {
    double low = LEAST_POWER;
    double high = MOST_POWER;
    for (int i = 0; i < 80; i++) {
      double left = high - GOLDEN * (high - low);
      double right = low + GOLDEN * (high - low);
      if (residual(t, d, left) < residual(t, d, right)) {
        high = right;
      } else {
        low = left;
      }
    }
    double p = (low + high) / 2;
    double b = factor(t, d, p);
    return fit(t, d, 0, b, p, x -> b * Math.pow(x, p));
  }

  private static double factor(double[] t, double[] d, double p) {
    double xx = 0;
    double xy = 0;
    for (int i = 0; i < t.length; i++) {
      double x = Math.pow(t[i], p);
      xx += x * x;
      xy += x * d[i];
    }
    return xy / xx;
  }

  private static double residual(double[] t, double[] d, double p) {
    double b = factor(t, d, p);
    return squares(t, d, x -> b * Math.pow(x, p));
  }

  private static double squares(double[] t, double[] d, DoubleUnaryOperator law) {
    double sum = 0;
    for (int i = 0; i < t.length; i++) {
      double off = d[i] - law.applyAsDouble(t[i]);
      sum += off * off;
    }
    return sum;
  }

  /** All three laws have two numbers; with the noise's variance that makes k = 3. */
  private static Fit fit(
      double[] t, double[] d, double a, double b, double p, DoubleUnaryOperator law) {
    int m = t.length;
    double rss = squares(t, d, law);
    double mean = 0;
    for (double value : d) {
      mean += value / m;
    }
    double all = 0;
    for (double value : d) {
      all += (value - mean) * (value - mean);
    }
    double aic = m * Math.log(Math.max(rss / m, Double.MIN_NORMAL)) + 2 * 3;
    return new Fit(a, b, p, aic, all == 0 ? Double.NaN : 1 - rss / all);
  }
}
