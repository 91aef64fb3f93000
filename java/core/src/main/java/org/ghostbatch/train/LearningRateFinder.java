package org.ghostbatch.train;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.Consumer;
import org.ghostbatch.data.Dataset;

/**
 * Finds a learning rate by a short training in which it rises from update to update: r_i = from (to
 * / from)^(i / (N - 1)). At first nothing happens; then the loss falls, faster and faster; then it
 * rises, and the network is lost. A good rate lies where it falls.
 *
 * <p>Losses are of single batches, so they are smoothed: s_i = 0.9 s_{i-1} + 0.1 loss_i, divided by
 * 1 - 0.9^(i + 1) for the start at 0. The sweep ends where s is four times its lowest, or something
 * is not finite. Same seed, data and settings, same result.
 *
 * @param updates N, at least 20
 * @param from lowest rate, above 0
 * @param to highest rate
 * @see <a href="https://arxiv.org/abs/1506.01186">Smith 2017, arXiv 1506.01186, section 3.3</a>
 */
public record LearningRateFinder(int updates, double from, double to) {
  private static final String KIND = "learning rate finder";
  private static final double SMOOTHING = 0.9;
  private static final double DIVERGED = 4;

  /** What is left of the loss where it counts as fallen. */
  private static final double FELL = 0.95;

  /** Updates at the start in which smoothed losses are of few batches still. */
  private static final int UNSETTLED = 8;

  public LearningRateFinder {
    if (updates < 20) {
      throw Check.bad(KIND, "20 updates or more", updates);
    }
    if (!(from > 0 && to > from && Double.isFinite(to))) {
      throw Check.bad(KIND, "rates 0 < from < to", from + " and " + to);
    }
  }

  /** A hundred updates from 1e-6 to 10. */
  public static LearningRateFinder of() {
    return new LearningRateFinder(100, 1e-6, 10);
  }

  public LearningRateFinder withUpdates(int updates) {
    return new LearningRateFinder(updates, from, to);
  }

  /**
   * One update.
   *
   * @param rate as it was used, after any rule for the batch size
   * @param loss mean over the batch, before the update
   * @param smoothed of the losses so far
   */
  public record Point(double rate, double loss, double smoothed) {
    /** Names of the columns of {@link #csv}. */
    public static final String CSV_HEADER = "learning_rate,loss,smoothed_loss";

    /** The point as comma-separated values. */
    public String csv() {
      return String.format(Locale.ROOT, "%s,%s,%s", rate, loss, smoothed);
    }
  }

  /**
   * What was found.
   *
   * @param points one an update, to where the sweep ended
   * @param diverged whether it ended early since the loss had grown
   * @param steepest place in {@code points} where the smoothed loss falls fastest over the rate's
   *     logarithm, or -1 where it never falls
   * @param lowest place of the lowest smoothed loss, or -1
   */
  public record Result(List<Point> points, boolean diverged, int steepest, int lowest) {
    public Result {
      points = List.copyOf(points);
    }

    /** Rate at which the loss falls fastest; NaN where it never does. */
    public double steepestRate() {
      return steepest < 0 ? Double.NaN : points.get(steepest).rate;
    }

    /** A tenth of the rate at which the loss is lowest; NaN where it never falls. */
    public double tenthOfLowestRate() {
      return steepest < 0 ? Double.NaN : points.get(lowest).rate / 10;
    }

    /** The smaller of both: the larger is often too near the edge. NaN where there is none. */
    public double suggestion() {
      return Math.min(steepestRate(), tenthOfLowestRate());
    }
  }

  /**
   * Sweeps, over the data as often as it takes. The trainer is spent afterwards: its weights have
   * been far out.
   *
   * @param trainer new; its batch size, ghosts, optimizer, clipping and augmentation are those that
   *     the rate is found for
   * @param train as for {@link Trainer#fit}
   * @param each is told every point, or null; {@link Trainer#stop} ends the sweep
   * @throws IllegalArgumentException as {@link Trainer#fit}
   * @throws IllegalStateException where the trainer has trained before
   */
  public Result find(Trainer trainer, Dataset train, Consumer<Point> each) {
    Check.present(KIND, "a trainer", trainer);
    return trainer.train(train, () -> sweep(trainer, each));
  }

  private Result sweep(Trainer trainer, Consumer<Point> each) {
    List<Point> points = new ArrayList<>();
    boolean diverged = false;
    double sum = 0;
    double lowest = Double.POSITIVE_INFINITY;
    int inEpoch = trainer.updatesOf(0);
    for (int i = 0; i < updates && !diverged && !trainer.stopRequested(); i++) {
      if (i % inEpoch == 0) {
        trainer.feed().start(i / inEpoch, trainer.batchSize(0));
      }
      trainer.feed().next();
      double rate = from * StrictMath.pow(to / from, (double) i / (updates - 1));
      try {
        trainer.update(i / inEpoch, rate);
      } catch (DivergedException e) {
        diverged = true;
        break;
      }
      sum = SMOOTHING * sum + (1 - SMOOTHING) * trainer.lastLoss();
      double smoothed = sum / (1 - StrictMath.pow(SMOOTHING, i + 1));
      Point point = new Point(rate, trainer.lastLoss(), smoothed);
      points.add(point);
      if (each != null) {
        each.accept(point);
      }
      lowest = Math.min(lowest, smoothed);
      diverged = i >= UNSETTLED && smoothed > DIVERGED * lowest;
    }
    return result(points, diverged);
  }

  private static Result result(List<Point> points, boolean diverged) {
    int lowest = -1;
    for (int i = UNSETTLED; i < points.size(); i++) {
      if (lowest < 0 || points.get(i).smoothed < points.get(lowest).smoothed) {
        lowest = i;
      }
    }
    if (lowest < 0 || points.get(lowest).smoothed > FELL * points.get(UNSETTLED).smoothed) {
      return new Result(points, diverged, -1, lowest);
    }
    int steepest = -1;
    double fall = 0;
    for (int i = UNSETTLED; i <= lowest && i + 1 < points.size(); i++) {
      // Rates are evenly spaced on their logarithm.
      double slope = points.get(i - 1).smoothed - points.get(i + 1).smoothed;
      if (slope > fall) {
        fall = slope;
        steepest = i;
      }
    }
    return new Result(points, diverged, steepest, lowest);
  }
}
