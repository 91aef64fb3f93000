package org.ghostbatch.analysis;

import java.util.Arrays;

/**
 * A mean of independent draws, and how well it is known.
 *
 * @param standardError of the mean
 */
public record Estimate(double mean, double standardError, int draws) {
  static Estimate of(double[] values) {
    double mean = Arrays.stream(values).average().orElse(Double.NaN);
    double squares = Arrays.stream(values).map(value -> (value - mean) * (value - mean)).sum();
    int draws = values.length;
    return new Estimate(mean, Math.sqrt(squares / (draws - 1) / draws), draws);
  }
}
