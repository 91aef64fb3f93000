package org.ghostbatch.optim;

import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * The batch size by epoch: each phase holds from its boundary to the next one's. A change takes
 * effect in the first epoch that starts at or after the boundary. Or the size of a first epoch, and
 * from there on what {@link #next} makes of the noise scale that is measured.
 *
 * @param phases the first at epoch 0, boundaries increasing; one alone where the batch is measured
 */
public record BatchSchedule(List<Phase> phases, Measured measured) {
  /** How often the batch size is chosen by the gradient noise scale. */
  public enum Measured {
    NEVER,
    /** After the first epoch, for all others. */
    ONCE,
    EVERY_EPOCH
  }

  private static final String AUTO = "auto:";
  private static final String NOISE = "noise:";

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
    Check.present("batch schedule", "how often it is measured", measured);
    if (measured != Measured.NEVER && phases.size() > 1) {
      throw new IllegalArgumentException(
          "[batch schedule] needs one batch to begin with where it is measured, got " + phases);
    }
  }

  /** Sizes by epoch alone. */
  public BatchSchedule(List<Phase> phases) {
    this(phases, Measured.NEVER);
  }

  /** An epoch with batches of {@code base}, all others with what the noise scale says then. */
  public static BatchSchedule auto(int base) {
    return new BatchSchedule(List.of(new Phase(0, base)), Measured.ONCE);
  }

  /** An epoch with batches of {@code base}, each other with what the noise scale says then. */
  public static BatchSchedule noise(int base) {
    return new BatchSchedule(List.of(new Phase(0, base)), Measured.EVERY_EPOCH);
  }

  /** One size for all epochs. */
  public static BatchSchedule constant(int batch) {
    return new BatchSchedule(List.of(new Phase(0, batch)));
  }

  /** Whether the batch size follows the noise scale. */
  public boolean follows() {
    return measured != Measured.NEVER;
  }

  /** Whether one size, known beforehand, is that of all epochs. */
  public boolean constant() {
    return phases.size() == 1 && !follows();
  }

  /**
   * The batch size of the next epoch where it is measured: the noise scale, but at least the first
   * batch, at most a tenth of the data (Smith et al. 2018, arXiv 1711.00489, stop to grow there),
   * and, measured every epoch, at most twice and at least half of the one before. A multiple of
   * {@code unit} unless it is the first batch.
   *
   * @param before the batch size of the epoch that has ended
   * @param scale the noise scale, in samples
   * @param samples of the training set
   */
  public int next(int before, double scale, int unit, int samples) {
    boolean inSteps = measured == Measured.EVERY_EPOCH;
    double least = inSteps ? Math.max(first(), before / 2.0) : first();
    double most = inSteps ? Math.min(largest(samples), 2.0 * before) : largest(samples);
    double wanted = Math.min(Math.max(scale, least), most);
    int batch = (int) Math.round(wanted / unit) * unit;
    return Math.max(first(), batch > most ? batch - unit : batch);
  }

  /** The batch size of the epoch that starts at {@code epoch}, where it is known beforehand. */
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

  /** The largest batch size on so many training samples; where it is measured, a bound. */
  public int largest(int samples) {
    int largest = phases.stream().mapToInt(Phase::batch).max().orElseThrow();
    return follows() ? Math.max(largest, samples / 10) : largest;
  }

  /** All boundaries multiplied by {@code factor}. */
  public BatchSchedule stretch(double factor) {
    Check.positive("batch schedule", "factor", factor);
    return new BatchSchedule(
        phases.stream().map(p -> new Phase(p.epoch() * factor, p.batch())).toList(), measured);
  }

  /**
   * Reads {@code 128}, boundaries and sizes as {@code 0:128,30:1024}, or {@code auto:128} and
   * {@code noise:128}, with the first batch.
   */
  public static BatchSchedule parse(String text) {
    if (text.startsWith(AUTO)) {
      return auto(Check.integer("batch schedule", "a batch", text.substring(AUTO.length())));
    }
    if (text.startsWith(NOISE)) {
      return noise(Check.integer("batch schedule", "a batch", text.substring(NOISE.length())));
    }
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
    if (follows()) {
      return (measured == Measured.ONCE ? AUTO : NOISE) + first();
    }
    Stream<String> texts =
        phases.stream().map(phase -> Boundaries.text(phase.epoch()) + ":" + phase.batch());
    return phases.size() == 1 ? Integer.toString(first()) : texts.collect(Collectors.joining(","));
  }
}
