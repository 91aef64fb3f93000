package org.ghostbatch.optim;

import java.util.List;
import java.util.stream.Stream;

/** Texts like {@code 0:0.1,81:0.01}, boundaries in epochs with what holds from there on. */
final class Boundaries {
  private Boundaries() {}

  record Entry(double epoch, String value) {}

  static List<Entry> parse(String kind, String text) {
    return Stream.of(text.split(",", -1))
        .map(
            entry -> {
              String[] parts = entry.split(":", -1);
              if (parts.length != 2) {
                throw new IllegalArgumentException(
                    "[" + kind + "] needs EPOCH:VALUE,EPOCH:VALUE,..., got \"" + text + "\"");
              }
              // With 0 added, -0 is 0: else two that mean the same would differ.
              return new Entry(Check.number(kind, "an epoch", parts[0]) + 0.0, parts[1]);
            })
        .toList();
  }

  static void check(String kind, List<Double> epochs) {
    if (epochs.isEmpty() || epochs.get(0) != 0) {
      throw new IllegalArgumentException(
          "[" + kind + "] needs a first boundary at epoch 0, got " + epochs);
    }
    for (int i = 1; i < epochs.size(); i++) {
      if (epochs.get(i) <= epochs.get(i - 1)) {
        throw new IllegalArgumentException(
            "[" + kind + "] needs increasing boundaries, got " + epochs);
      }
    }
  }

  /** The number, without the fraction of whole ones. */
  static String text(double epoch) {
    return epoch == Math.rint(epoch) && epoch < 1e15
        ? Long.toString((long) epoch)
        : Double.toString(epoch);
  }
}
