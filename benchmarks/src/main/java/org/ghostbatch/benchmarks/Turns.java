package org.ghostbatch.benchmarks;

import java.util.ArrayList;
import java.util.List;

/** What one side took, turn by turn. */
final class Turns {
  private final List<Double> values = new ArrayList<>();
  private long peakBytes;

  void add(Worker.Measurement measurement) {
    values.add(measurement.seconds());
    peakBytes = Math.max(peakBytes, measurement.peakBytes());
  }

  long peakBytes() {
    return peakBytes;
  }

  /** This over the other, turn by turn. */
  Turns ratio(Turns other) {
    Turns ratios = new Turns();
    for (int i = 0; i < values.size(); i++) {
      ratios.values.add(values.get(i) / other.values.get(i));
    }
    return ratios;
  }

  Turns times(double factor) {
    Turns product = new Turns();
    values.forEach(value -> product.values.add(value * factor));
    return product;
  }

  double min() {
    return values.stream().mapToDouble(value -> value).min().orElseThrow();
  }

  double max() {
    return values.stream().mapToDouble(value -> value).max().orElseThrow();
  }

  double median() {
    double[] sorted = values.stream().mapToDouble(value -> value).sorted().toArray();
    int middle = sorted.length / 2;
    return sorted.length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }
}
