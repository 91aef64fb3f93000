package org.ghostbatch.optim;

import java.util.List;
import java.util.stream.Collectors;

/**
 * The learning rate by epoch, before the rule for the batch size and before warm-up.
 *
 * <p>Epochs are fractional: e = updates done / updates of an epoch.
 */
public sealed interface Schedule {
  /**
   * The rate of an update.
   *
   * @param epoch e, epochs done before the update
   * @param epochs E, epochs of the whole training
   */
  double rate(double epoch, double epochs);

  /**
   * The schedule with all boundaries multiplied by {@code factor}; those that follow E by
   * themselves stay.
   */
  default Schedule stretch(double factor) {
    Check.positive("schedule", "factor", factor);
    return this;
  }

  /** Whether rates follow E, so that a longer training has other rates from its start on. */
  default boolean followsLength() {
    return false;
  }

  /** rate(e) = rate. */
  record Constant(double rate) implements Schedule {
    public Constant {
      Check.notNegative("schedule", "learning rate", rate);
    }

    @Override
    public double rate(double epoch, double epochs) {
      return rate;
    }

    @Override
    public String toString() {
      return "constant(rate=" + rate + ")";
    }
  }

  /**
   * rate(e) = the rate of the last step whose boundary is at most e.
   *
   * @param steps the first at epoch 0, boundaries increasing
   */
  record Steps(List<Step> steps) implements Schedule {
    /**
     * @param epoch boundary, in epochs
     * @param rate absolute
     */
    public record Step(double epoch, double rate) {
      public Step {
        Check.notNegative("schedule", "epoch", epoch);
        Check.notNegative("schedule", "learning rate", rate);
      }
    }

    public Steps {
      steps = List.copyOf(steps);
      Boundaries.check("schedule", steps.stream().map(Step::epoch).toList());
    }

    @Override
    public double rate(double epoch, double epochs) {
      double rate = steps.get(0).rate();
      // By index: it is asked for every update, and an iterator would be garbage.
      for (int i = 0; i < steps.size(); i++) {
        if (steps.get(i).epoch() <= epoch) {
          rate = steps.get(i).rate();
        }
      }
      return rate;
    }

    @Override
    public Schedule stretch(double factor) {
      Check.positive("schedule", "factor", factor);
      return new Steps(
          steps.stream().map(step -> new Step(step.epoch() * factor, step.rate())).toList());
    }

    @Override
    public String toString() {
      return steps.stream()
          .map(step -> Boundaries.text(step.epoch()) + ":" + step.rate())
          .collect(Collectors.joining(","));
    }
  }

  /**
   * rate(e) = rate (1 + cos(pi e / E)) / 2 (Loshchilov and Hutter 2017, arXiv 1608.03983, without
   * restarts).
   */
  record Cosine(double rate) implements Schedule {
    public Cosine {
      Check.notNegative("schedule", "learning rate", rate);
    }

    @Override
    public double rate(double epoch, double epochs) {
      return rate * (1 + StrictMath.cos(StrictMath.PI * progress(epoch, epochs))) / 2;
    }

    @Override
    public boolean followsLength() {
      return true;
    }

    @Override
    public String toString() {
      return "cosine(rate=" + rate + ")";
    }
  }

  /** rate(e) = rate (1 - e / E)^power. */
  record Polynomial(double rate, double power) implements Schedule {
    public Polynomial {
      Check.notNegative("schedule", "learning rate", rate);
      Check.positive("schedule", "power", power);
    }

    @Override
    public double rate(double epoch, double epochs) {
      return rate * StrictMath.pow(1 - progress(epoch, epochs), power);
    }

    @Override
    public boolean followsLength() {
      return true;
    }

    @Override
    public String toString() {
      return "polynomial(rate=" + rate + ",power=" + power + ")";
    }
  }

  /** Reads what {@code toString} writes: {@code 0:0.1,81:0.01}, {@code cosine(rate=0.1)}, ... */
  static Schedule parse(String text) {
    if (text.contains(":")) {
      return new Steps(
          Boundaries.parse("schedule", text).stream()
              .map(
                  entry ->
                      new Steps.Step(
                          entry.epoch(),
                          Check.number("schedule", "a learning rate", entry.value())))
              .toList());
    }
    Settings settings = Settings.parse("schedule", text);
    Schedule schedule =
        switch (settings.name()) {
          case "constant" -> new Constant(settings.number("rate", 0.1));
          case "cosine" -> new Cosine(settings.number("rate", 0.1));
          case "polynomial" ->
              new Polynomial(settings.number("rate", 0.1), settings.number("power", 1));
          default ->
              throw new IllegalArgumentException(
                  "[schedule] needs EPOCH:RATE,..., constant, cosine or polynomial, got \""
                      + text
                      + "\"");
        };
    settings.requireEmpty();
    return schedule;
  }

  private static double progress(double epoch, double epochs) {
    Check.positive("schedule", "number of epochs", epochs);
    return Math.min(1, Math.max(0, epoch / epochs));
  }
}
