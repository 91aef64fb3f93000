package org.ghostbatch.train;

import java.util.List;

/**
 * What a training run came to.
 *
 * @param epochs a row an epoch, in order; where the run was stopped within one, a row for its part,
 *     without test figures
 * @param stopped whether {@link Trainer#stop} ended it before its length
 * @param updates done
 * @param train the final network on the whole training set, without augmentation; null where
 *     stopped
 * @param test the final network on the test set; null without one, or where stopped within an epoch
 * @param weightDistance Euclidean distance of the parameters to their start
 * @param imagesPerSecond of the training phases with loading, without the first two updates of each
 *     part where it was resumed; NaN without others
 * @param seconds of the whole run, without measures
 */
public record History(
    List<EpochRow> epochs,
    boolean stopped,
    long updates,
    Evaluation train,
    Evaluation test,
    double weightDistance,
    double imagesPerSecond,
    double seconds) {
  public History {
    epochs = List.copyOf(epochs);
  }

  /** The row of the last epoch. @throws IllegalStateException where there is none */
  public EpochRow last() {
    if (epochs.isEmpty()) {
      throw new IllegalStateException("[history] needs a finished epoch, got none");
    }
    return epochs.get(epochs.size() - 1);
  }

  /** The largest test accuracy of any epoch; NaN without test data. */
  public double bestTestAccuracy() {
    return epochs.stream()
        .mapToDouble(EpochRow::testAccuracy)
        .filter(Double::isFinite)
        .max()
        .orElse(Double.NaN);
  }
}
