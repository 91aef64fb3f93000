package org.ghostbatch.train;

import org.ghostbatch.nn.Network;
import org.ghostbatch.optim.BatchSchedule;
import org.ghostbatch.optim.LearningRate;

/**
 * The course of a run on so many samples: batch size, number of updates and learning rate of each
 * epoch.
 */
final class TrainingPlan {
  private final TrainingSpec spec;
  private final int count;
  private final LearningRate learningRate;
  private final BatchSchedule batch;
  private final double epochs;
  // Of the epoch that was asked for last: a run asks for every update, and should make no garbage.
  private int known = -1;
  private int knownBatch;

  TrainingPlan(TrainingSpec spec, int count) {
    this.spec = spec;
    this.count = count;
    this.learningRate = spec.trainedLearningRate();
    this.batch = spec.trainedBatch();
    if (batch.largest() > count) {
      throw Check.bad(
          "training", "a batch of at most the " + count + " training samples", batch.largest());
    }
    this.epochs = spec.updates() == 0 ? spec.trainedEpochs() : epochsOf(spec.updates());
    if (epochs < spec.trainedSwaFrom() + 1) {
      throw Check.bad(
          "training",
          "a whole epoch behind the first "
              + spec.trainedSwaFrom()
              + ", whose weights are averaged",
          epochs + " epochs");
    }
  }

  private double epochsOf(long updates) {
    long left = updates;
    for (int epoch = 0; ; epoch++) {
      long of = updatesOf(epoch);
      // Past the last boundary all epochs are alike.
      boolean settled = epoch >= batch.phases().get(batch.phases().size() - 1).epoch();
      if (left <= of || settled) {
        return epoch + (double) left / of;
      }
      left -= of;
    }
  }

  /** Length in epochs, the last of them perhaps a part. */
  double epochs() {
    return epochs;
  }

  /** Updates of the whole run. */
  long totalUpdates() {
    if (spec.updates() > 0) {
      return spec.updates();
    }
    long updates = 0;
    for (int epoch = 0; epoch < spec.trainedEpochs(); epoch++) {
      updates += updatesOf(epoch);
    }
    return updates;
  }

  /** B of epoch {@code epoch}, counted from 0. */
  int batch(int epoch) {
    if (epoch != known) {
      knownBatch = batch.batch(epoch);
      known = epoch;
    }
    return knownBatch;
  }

  /** ceil(samples / B). */
  int updatesOf(int epoch) {
    int size = batch(epoch);
    return (int) (((long) count + size - 1) / size);
  }

  /** Whether the run is over after so many epochs and updates. */
  boolean done(int epochsDone, long updatesDone) {
    return spec.updates() > 0 ? updatesDone >= spec.updates() : epochsDone >= spec.trainedEpochs();
  }

  /** Rate of update {@code update} of epoch {@code epoch}, both from 0. */
  double rate(int epoch, int update) {
    int of = updatesOf(epoch);
    return learningRate.rate(epoch + (double) update / of, of, epochs, batch(epoch));
  }

  /** The largest ghost of the run, in rows; 0 without batch norm. */
  int largestGhost(Network network) {
    if (!network.hasBatchNorm()) {
      return 0;
    }
    return spec.ghost() == 0 ? batch.largest() : Math.min(spec.ghost(), batch.largest());
  }

  /**
   * Refuses ghosts that hold a single value per channel, as they have no variance; and SAM groups
   * that are parts of a ghost.
   */
  void checkGhosts(Network network) {
    int group = spec.samGroup();
    if (group > 0 && group < batch.largest() && spec.ghost() == 0 && network.hasBatchNorm()) {
      throw Check.bad(
          "training",
          "a ghost batch that SAM groups of " + group + " are multiples of",
          "none, so that batch norm takes the whole batch of " + batch.largest());
    }
    if (network.normPlaces() != 1) {
      return;
    }
    for (BatchSchedule.Phase phase : batch.phases()) {
      checkGhosts(phase.batch());
      if (count % phase.batch() != 0) {
        checkGhosts(count % phase.batch());
      }
    }
  }

  private void checkGhosts(int rows) {
    int ghosts = spec.ghost() == 0 ? 1 : (rows - 1) / spec.ghost() + 1;
    if (rows / ghosts < 2) {
      throw Check.bad(
          "training",
          "at least 2 values per channel in each ghost batch",
          "1 in a batch of "
              + rows
              + " cut into "
              + ghosts
              + " ghost batches ("
              + count
              + " training samples; another batch or ghost size, or number of samples, avoids it)");
    }
  }
}
