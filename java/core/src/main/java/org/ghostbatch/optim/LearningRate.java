package org.ghostbatch.optim;

/**
 * The learning rate of every update: rule(B) schedule(e) min(1, (e + 1/u) / W).
 *
 * <p>B is the batch size, e the epochs done before the update, u the updates of its epoch, W the
 * epochs of warm-up. So warm-up rises linearly to the full rate, which the last of its updates has;
 * none of them has rate 0.
 *
 * @param warmupEpochs W, 0 for none
 */
public record LearningRate(Schedule schedule, BatchRule rule, double warmupEpochs) {
  public LearningRate {
    Check.present("learning rate", "a schedule", schedule);
    Check.present("learning rate", "a rule", rule);
    Check.notNegative("learning rate", "number of warm-up epochs", warmupEpochs);
  }

  /** A constant rate, whatever the batch size. */
  public static LearningRate constant(double rate) {
    return new LearningRate(new Schedule.Constant(rate), BatchRule.none(), 0);
  }

  /**
   * The rate of an update.
   *
   * @param epoch e, epochs done before the update: whole ones plus updates done of this one / u
   * @param updatesPerEpoch u, of the current epoch, at least 1
   * @param epochs E, epochs of the whole training, above 0
   * @param batch B, the batch size in force (not the size of a short last batch)
   */
  public double rate(double epoch, long updatesPerEpoch, double epochs, int batch) {
    if (updatesPerEpoch < 1) {
      throw new IllegalArgumentException(
          "[learning rate] needs updates per epoch >= 1, got " + updatesPerEpoch);
    }
    double full = rule.factor(batch) * schedule.rate(epoch, epochs);
    return warmupEpochs == 0
        ? full
        : full * Math.min(1, (epoch + 1.0 / updatesPerEpoch) / warmupEpochs);
  }

  /**
   * All boundaries, warm-up's end among them, multiplied by {@code factor}: for regime adaptation.
   */
  public LearningRate stretch(double factor) {
    return new LearningRate(schedule.stretch(factor), rule, warmupEpochs * factor);
  }
}
