package org.ghostbatch.analysis;

import java.util.List;
import org.ghostbatch.train.EpochRow;

/**
 * Whether a run over-fitted in the usual sense: test accuracy that rises to a peak, and falls from
 * there while training accuracy rises on. Keskar et al. (2017, arXiv 1609.04836, section 2.1) found
 * none of it behind the generalization gap, so that stopping early does not help.
 *
 * @param peakEpoch epoch of the best test accuracy, from 1
 * @param peak that accuracy
 * @param last mean test accuracy of the last epochs, a tenth of the run, at least one
 * @param decay peak - last, less what a peak of noise is expected to have
 * @param noise standard deviation of the test accuracy from epoch to epoch, in the second half
 * @param trainMinusTest training less test accuracy in the last epochs
 */
public record Overfitting(
    int peakEpoch, double peak, double last, double decay, double noise, double trainMinusTest) {

  /**
   * The verdict on the epochs of a run.
   *
   * @throws IllegalArgumentException where fewer than 4 have a test accuracy
   */
  public static Overfitting of(List<EpochRow> epochs) {
    List<EpochRow> rows =
        epochs.stream().filter(row -> Double.isFinite(row.testAccuracy())).toList();
    int count = rows.size();
    if (count < 4) {
      throw Check.bad("overfitting", "at least 4 epochs with a test accuracy", count);
    }
    int best = 0;
    for (int i = 1; i < count; i++) {
      best = rows.get(i).testAccuracy() > rows.get(best).testAccuracy() ? i : best;
    }
    int tail = Math.max(1, count / 10);
    double last = 0;
    double train = 0;
    for (EpochRow row : rows.subList(count - tail, count)) {
      last += row.testAccuracy() / tail;
      train += row.trainAccuracy() / tail;
    }
    // Differences of neighbours see noise, and no trend; their variance is twice that of one.
    double squares = 0;
    for (int i = count / 2 + 1; i < count; i++) {
      double step = rows.get(i).testAccuracy() - rows.get(i - 1).testAccuracy();
      squares += step * step;
    }
    double noise = Math.sqrt(squares / (count - count / 2 - 1) / 2);
    double peak = rows.get(best).testAccuracy();
    // The largest of m normal numbers is about sqrt(2 ln m) deviations above their mean.
    double expected = noise * Math.sqrt(2 * Math.log(Math.max(count / 2, count - best)));
    return new Overfitting(
        rows.get(best).epoch(), peak, last, peak - last - expected, noise, train - last);
  }

  /** Whether test accuracy fell from its peak by more than noise explains. */
  public boolean peakThenDecay() {
    return decay > 0;
  }
}
