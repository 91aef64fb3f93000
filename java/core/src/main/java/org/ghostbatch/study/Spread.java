package org.ghostbatch.study;

import java.util.List;

/**
 * Mean and spread of a few values.
 *
 * @param count n, at least 1
 * @param mean sum / n
 * @param std sqrt(sum (x - mean)^2 / (n - 1)), the sample standard deviation; NaN where n = 1
 */
public record Spread(int count, double mean, double std) {
  /** Of these values. @throws IllegalArgumentException where there is none */
  public static Spread of(List<Double> values) {
    if (values.isEmpty()) {
      throw new IllegalArgumentException("[spread] needs at least one value, got none");
    }
    int count = values.size();
    double mean = values.stream().mapToDouble(x -> x).sum() / count;
    double squares = values.stream().mapToDouble(x -> (x - mean) * (x - mean)).sum();
    return new Spread(count, mean, count == 1 ? Double.NaN : Math.sqrt(squares / (count - 1)));
  }
}
