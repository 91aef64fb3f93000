package org.ghostbatch.analysis;

/** The box around a point in which a loss is maximized, |z_i| <= r_i. */
public enum Box {
  /** r_i = epsilon (|x_i| + 1): Keskar et al. 2017, arXiv 1609.04836, Metric 2.1. */
  ABSOLUTE,
  /**
   * r_i = epsilon |x_i|: the same for all networks that differ in the scale of weights alone, as
   * adaptive sharpness (Kwon et al. 2021, arXiv 2102.11600).
   */
  RELATIVE;

  /** How far the corners of the box are from x, sqrt(sum r_i^2). */
  public double reach(double epsilon, double[] x) {
    double squares = 0;
    for (double value : x) {
      double radius = radius(epsilon, value);
      squares += radius * radius;
    }
    return Math.sqrt(squares);
  }

  double radius(double epsilon, double x) {
    return epsilon * (this == ABSOLUTE ? Math.abs(x) + 1 : Math.abs(x));
  }
}
