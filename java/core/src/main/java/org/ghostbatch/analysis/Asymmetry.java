package org.ghostbatch.analysis;

/**
 * How unlike a loss f(t) is on the two sides of t = 0, along a line through a minimizer: valleys of
 * networks are no cones, the loss rises abruptly on one side of many directions, and slowly on the
 * other (He et al. 2019, arXiv 1902.00744). With the rise r(t) = f(t) - f(0), and T the end of the
 * shorter side:
 *
 * @param reach T
 * @param atReach (r(T) - r(-T)) / (r(T) + r(-T)), a: 0 where both sides rise alike, 1 and -1 where
 *     the right, or the left, rises alone, beyond these where the other falls; r(T) is (1 + a) / (1
 *     - a) times r(-T)
 * @param mean the same of the means of r over [0, T] and [-T, 0]
 * @param right the t > 0 at which the loss has doubled, r(t) = f(0); NaN where it does not so far
 * @param left the same on the other side, its distance from 0
 */
public record Asymmetry(double reach, double atReach, double mean, double right, double left) {
  private static final String KIND = "asymmetry";

  /**
   * Of a loss at points, with straight lines between them; where it doubles, lines between the
   * roots of rises, which are exact for a parabola.
   *
   * @param t ascending, 0 and numbers on both sides of it
   * @param f losses, as many
   */
  public static Asymmetry of(double[] t, double[] f) {
    int zero = zero(t, f);
    double reach = Math.min(-t[0], t[t.length - 1]);
    double right = mean(t, f, 0, reach) - f[zero];
    double left = mean(t, f, -reach, 0) - f[zero];
    return new Asymmetry(
        reach,
        at(t, f, reach),
        (right - left) / (right + left),
        width(t, f, zero, 1),
        width(t, f, zero, -1));
  }

  /** Right over left: how much wider the valley is to the right, where the loss has doubled. */
  public double widthRatio() {
    return right / left;
  }

  /** (r(x) - r(-x)) / (r(x) + r(-x)) for any x in (0, T]. */
  public static double at(double[] t, double[] f, double x) {
    double zero = f[zero(t, f)];
    double right = value(t, f, x) - zero;
    double left = value(t, f, -x) - zero;
    return (right - left) / (right + left);
  }

  private static int zero(double[] t, double[] f) {
    if (t.length != f.length) {
      throw Check.bad(KIND, "a loss for each t", t.length + " and " + f.length);
    }
    int zero = -1;
    for (int i = 0; i < t.length; i++) {
      if (i > 0 && !(t[i] > t[i - 1])) {
        throw Check.bad(KIND, "ascending t", t[i] + " behind " + t[i - 1]);
      }
      zero = t[i] == 0 ? i : zero;
    }
    if (zero < 1 || zero == t.length - 1) {
      throw Check.bad(KIND, "t = 0 and others on both sides", t.length + " without");
    }
    return zero;
  }

  private static double value(double[] t, double[] f, double x) {
    for (int i = 1; i < t.length; i++) {
      if (x >= t[i - 1] && x <= t[i]) {
        double share = (x - t[i - 1]) / (t[i] - t[i - 1]);
        return share == 0 ? f[i - 1] : share == 1 ? f[i] : f[i - 1] + share * (f[i] - f[i - 1]);
      }
    }
    throw Check.bad(KIND, "x in [" + t[0] + ", " + t[t.length - 1] + "]", x);
  }

  private static double mean(double[] t, double[] f, double from, double to) {
    double area = 0;
    for (int i = 1; i < t.length; i++) {
      double a = Math.max(t[i - 1], from);
      double b = Math.min(t[i], to);
      if (a < b) {
        area += (b - a) * (value(t, f, a) + value(t, f, b)) / 2;
      }
    }
    return area / (to - from);
  }

  private static double width(double[] t, double[] f, int zero, int side) {
    double wanted = Math.sqrt(f[zero]);
    double before = 0;
    for (int i = zero + side; i >= 0 && i < t.length; i += side) {
      double root = Math.sqrt(Math.max(0, f[i] - f[zero]));
      if (root >= wanted) {
        double from = Math.abs(t[i - side]);
        return from + (wanted - before) / (root - before) * (Math.abs(t[i]) - from);
      }
      before = root;
    }
    return Double.NaN;
  }
}
