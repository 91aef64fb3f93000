package org.ghostbatch.analysis;

import java.util.List;

/**
 * A density of eigenvalues as points with weights that add up to 1: the raw result, and what
 * follows from it.
 */
public final class Density {
  /**
   * Width of the Gaussians that the curve is drawn with, as a share of the range of eigenvalues.
   */
  private static final double WIDTH = 0.0032;

  private static final double MARGIN = 0.05;

  private final long dimension;
  private final List<double[]> nodes;

  /**
   * The mean of probes.
   *
   * @param dimension n, the number of eigenvalues
   * @param probes of each its nodes, as of {@link Hessian#densityProbe}
   */
  public Density(long dimension, List<List<double[]>> probes) {
    this.dimension = dimension;
    this.nodes =
        probes.stream()
            .flatMap(List::stream)
            .map(node -> new double[] {node[0], node[1] / probes.size()})
            .toList();
  }

  /** Points and their weights, {eigenvalue, weight}. */
  public List<double[]> nodes() {
    return nodes.stream().map(double[]::clone).toList();
  }

  /** Mean of the k-th power of the eigenvalues: moment(1) n is the trace. */
  public double moment(int k) {
    return nodes.stream().mapToDouble(node -> node[1] * Math.pow(node[0], k)).sum();
  }

  /** Share of the eigenvalues below a bound. */
  public double shareBelow(double bound) {
    return nodes.stream().filter(node -> node[0] < bound).mapToDouble(node -> node[1]).sum();
  }

  /** How many of the eigenvalues exceed a bound. */
  public double countAbove(double bound) {
    return dimension
        * nodes.stream().filter(node -> node[0] > bound).mapToDouble(node -> node[1]).sum();
  }

  /**
   * The density at so many points across the range of eigenvalues, {eigenvalue, density}: each node
   * a Gaussian of 0.32 % of the range.
   */
  public double[][] curve(int points) {
    Check.range("density", "points", points, 2, 1 << 20);
    double least = nodes.stream().mapToDouble(node -> node[0]).min().orElse(0);
    double most = nodes.stream().mapToDouble(node -> node[0]).max().orElse(0);
    double range = most > least ? most - least : Math.max(1e-12, Math.abs(most));
    double sigma = WIDTH * range;
    double[][] curve = new double[points][2];
    for (int i = 0; i < points; i++) {
      double at = least - MARGIN * range + (1 + 2 * MARGIN) * range * i / (points - 1);
      double sum = 0;
      for (double[] node : nodes) {
        double z = (at - node[0]) / sigma;
        sum += node[1] * Math.exp(-z * z / 2);
      }
      curve[i][0] = at;
      curve[i][1] = sum / (sigma * Math.sqrt(2 * Math.PI));
    }
    return curve;
  }
}
