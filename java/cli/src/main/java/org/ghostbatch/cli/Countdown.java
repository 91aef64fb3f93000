package org.ghostbatch.cli;

import java.util.Locale;
import java.util.function.LongSupplier;

/** Shows how many of some points are done, and how long the others take at the pace so far. */
final class Countdown {
  private final Terminal terminal;
  private final int first;
  private final int points;
  private final LongSupplier nanos;
  private final long begin;

  /**
   * @param first the point that it starts with, those before it are from another time
   */
  Countdown(Terminal terminal, int first, int points, LongSupplier nanos) {
    this.terminal = terminal;
    this.first = first;
    this.points = points;
    this.nanos = nanos;
    this.begin = nanos.getAsLong();
  }

  /** Before a point, counted from 0. */
  void at(int point) {
    double seconds = (nanos.getAsLong() - begin) / 1e9;
    int done = point - first;
    terminal.status(
        String.format(Locale.ROOT, "point %d of %d", point + 1, points)
            + (done == 0
                ? ""
                : ", " + Figures.duration(seconds / done * (points - point)) + " left"));
  }
}
