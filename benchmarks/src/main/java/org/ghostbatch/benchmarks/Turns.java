package org.ghostbatch.benchmarks;

import java.util.ArrayList;
import java.util.List;

/** Seconds that one side took for a run, turn by turn. */
final class Turns {
  private final List<Double> values = new ArrayList<>();
  private long peakBytes;

  void add(Worker.Measurement measurement) {
    values.add(measurement.seconds());
    peakBytes = Math.max(peakBytes, measurement.peakBytes());
  }

  /** The most memory that the side has held. */
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

  Figure figure() {
    return Figure.of(values.stream().mapToDouble(value -> value).toArray());
  }
}
