package org.ghostbatch.optim;

import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * The batch size by epoch: each phase holds from its boundary to the next one's. A change takes
 * effect in the first epoch that starts at or after the boundary.
 *
 * @param phases the first at epoch 0, boundaries increasing
 */
public record BatchSchedule(List<Phase> phases) {
  /**
   * @param epoch boundary, in epochs
   * @param batch samples of an update, at least 1
   */
  public record Phase(double epoch, int batch) {
    public Phase {
      Check.notNegative("batch schedule", "epoch", epoch);
      if (batch < 1) {
        throw new IllegalArgumentException("[batch schedule] needs a batch >= 1, got " + batch);
      }
    }
  }

  public BatchSchedule {
    phases = List.copyOf(phases);
    Boundaries.check("batch schedule", phases.stream().map(Phase::epoch).toList());
  }

  /** One size for all epochs. */
  public static BatchSchedule constant(int batch) {
    return new BatchSchedule(List.of(new Phase(0, batch)));
  }

  /** The batch size of the epoch that starts at {@code epoch}. */
  public int batch(double epoch) {
    int batch = first();
    for (Phase phase : phases) {
      if (phase.epoch() <= epoch) {
        batch = phase.batch();
      }
    }
    return batch;
  }

  /** The first batch size. */
  public int first() {
    return phases.get(0).batch();
  }

  /** The largest batch size. */
  public int largest() {
    return phases.stream().mapToInt(Phase::batch).max().orElseThrow();
  }

  /** All boundaries multiplied by {@code factor}. */
  public BatchSchedule stretch(double factor) {
    Check.positive("batch schedule", "factor", factor);
    return new BatchSchedule(
        phases.stream().map(p -> new Phase(p.epoch() * factor, p.batch())).toList());
  }

  /** Reads {@code 128}, or boundaries and sizes as {@code 0:128,30:1024}. */
  public static BatchSchedule parse(String text) {
    if (!text.contains(":")) {
      return constant(Check.integer("batch schedule", "a batch", text));
    }
    return new BatchSchedule(
        Boundaries.parse("batch schedule", text).stream()
            .map(
                entry ->
                    new Phase(
                        entry.epoch(), Check.integer("batch schedule", "a batch", entry.value())))
            .toList());
  }

  @Override
  public String toString() {
    Stream<String> texts =
        phases.stream().map(phase -> Boundaries.text(phase.epoch()) + ":" + phase.batch());
    return phases.size() == 1 ? Integer.toString(first()) : texts.collect(Collectors.joining(","));
  }
}
