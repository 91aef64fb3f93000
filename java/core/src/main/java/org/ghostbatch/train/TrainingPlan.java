package org.ghostbatch.train;

import java.util.List;
import org.ghostbatch.nn.MicroBatch;
import org.ghostbatch.nn.Network;
import org.ghostbatch.optim.BatchSchedule;
import org.ghostbatch.optim.LearningRate;

/**
 * The course of a run on so many samples: batch size, number of updates and learning rate of each
 * epoch.
 */
final class TrainingPlan {
  private static final int LEAST_PARTS = NoiseScaleEstimator.LEAST_PARTS;

  private final TrainingSpec spec;
  private final int count;
  private final LearningRate learningRate;
  private final BatchSchedule batch;
  private final double epochs;
  // Of the epoch that was asked for last: a run asks for every update, and should make no garbage.
  private int known = -1;
  private int knownBatch;
  private List<Integer> chosen = List.of(); // batches of the epochs so far, where they are measured

  TrainingPlan(TrainingSpec spec, int count) {
    this.spec = spec;
    this.count = count;
    this.learningRate = spec.trainedLearningRate();
    this.batch = spec.trainedBatch();
    if (batch.largest(count) > count) {
      throw Check.bad(
          "training",
          "a batch of at most the " + count + " training samples",
          batch.largest(count));
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

  /**
   * Takes the batch sizes that were chosen, of each epoch that has begun, and sees those that are
   * added: epochs to come are as the last.
   */
  void follow(List<Integer> chosen) {
    this.chosen = chosen;
  }

  /** Whether batch sizes follow the noise scale. */
  boolean follows() {
    return batch.follows();
  }

  /** Updates of the whole run; where the batch is measured, as far as its sizes are known. */
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
    if (!chosen.isEmpty()) {
      return chosen.get(Math.min(epoch, chosen.size() - 1));
    }
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
    int largest = batch.largest(count);
    return spec.ghost() == 0 ? largest : Math.min(spec.ghost(), largest);
  }

  /** V as the rule of {@link MicroBatch} takes it: the whole of every batch is plain batch norm. */
  int ghostOfRule() {
    return spec.ghost() >= batch.largest(count) ? 0 : spec.ghost();
  }

  /** S: what the spec says, else by rule, else what lets the noise scale be measured. */
  int microBatch(Network network, MicroBatch rule) {
    if (spec.microBatch() > 0) {
      return spec.microBatch();
    }
    int byRule = rule.of(network, ghostOfRule(), batch.largest(count));
    boolean cut = batch.follows() && parts(network, byRule, smallestBatch()) < LEAST_PARTS;
    return cut && measurable(network) > 0 ? measurable(network) : byRule;
  }

  /**
   * Parts that the engine adds the gradient of so many rows up from: micro-batches, or ghosts where
   * one lane runs several micro-batches of each.
   */
  int parts(Network network, int microBatch, int rows) {
    if (!network.hasBatchNorm()) {
      return pieces(rows, microBatch);
    }
    int ghosts = ghosts(rows);
    int longest = pieces(rows, ghosts);
    return longest <= microBatch ? pieces(ghosts, microBatch / longest) : ghosts;
  }

  private static int pieces(int of, int size) {
    return (of - 1) / size + 1;
  }

  /** The largest micro-batch at which the smallest batch has parts enough; 0 where none has. */
  private int measurable(Network network) {
    int unit = network.hasBatchNorm() ? Math.max(1, ghostOfRule()) : 1;
    int rows = smallestBatch() / LEAST_PARTS / unit * unit;
    return rows > 0 && parts(network, rows, smallestBatch()) >= LEAST_PARTS ? rows : 0;
  }

  /**
   * The largest power of two that makes ghosts which one lane runs whole, enough in every batch.
   */
  private int ghostOfLane(Network network, MicroBatch rule) {
    int ghost = Integer.highestOneBit(Math.max(1, smallestBatch() / LEAST_PARTS));
    while (ghost > 1 && !rule.ghostPerLane(network, ghost)) {
      ghost /= 2;
    }
    return ghost;
  }

  private int smallestBatch() {
    return batch.phases().stream().mapToInt(BatchSchedule.Phase::batch).min().orElseThrow();
  }

  /** Refuses batches whose parts are too few for the noise scale, or not independent. */
  void checkMeasurable(Network network, MicroBatch rule) {
    int microBatch = microBatch(network, rule);
    if (network.hasBatchNorm() && !rule.ghostPerLane(network, ghostOfRule())) {
      throw Check.bad(
          "trainer",
          "ghost batches that one lane runs whole for the noise scale, as what shares statistics is"
              + " no independent draw",
          (ghostOfRule() == 0 ? "plain batch norm" : "ghosts of " + spec.ghost())
              + "; ghosts of "
              + ghostOfLane(network, rule)
              + " are");
    }
    int rows = smallestBatch();
    int parts = parts(network, microBatch, rows);
    if (parts >= LEAST_PARTS) {
      return;
    }
    boolean ghosts = network.hasBatchNorm();
    int other = measurable(network);
    String way =
        other > 0
            ? "micro-batch " + other + " gives " + parts(network, other, rows)
            : ghosts
                ? "a batch of at least "
                    + LEAST_PARTS * spec.ghost()
                    + " or smaller ghosts give as many"
                : "a batch of at least " + LEAST_PARTS + " can have as many";
    throw Check.bad(
        "trainer",
        "at least " + LEAST_PARTS + " micro-batches an update for the noise scale",
        String.format(
            "%d: batch %d%s, micro-batch %d; %s",
            parts, rows, ghosts ? ", ghost " + spec.ghost() : "", microBatch, way));
  }

  /**
   * The batch size of the epoch that begins, where it is measured: as {@link BatchSchedule#next}
   * says, or the next smaller one that leaves no ghost with a single value per channel.
   *
   * @param unit that it is a multiple of
   */
  int next(double scale, int unit, Network network) {
    int next = batch.next(chosen.get(chosen.size() - 1), scale, unit, count);
    while (next > batch.first() && !hasVariances(next, network)) {
      next = Math.max(batch.first(), next - unit);
    }
    return next;
  }

  /**
   * Refuses ghosts that hold a single value per channel, as they have no variance; and SAM groups
   * that are parts of a ghost.
   */
  void checkGhosts(Network network) {
    int group = spec.samGroup();
    int largest = batch.largest(count);
    if (group > 0 && group < largest && spec.ghost() == 0 && network.hasBatchNorm()) {
      throw Check.bad(
          "training",
          "a ghost batch that SAM groups of " + group + " are multiples of",
          "none, so that batch norm takes the whole batch of " + largest);
    }
    if (network.normPlaces() != 1) {
      return;
    }
    for (BatchSchedule.Phase phase : batch.phases()) {
      checkGhosts(phase.batch());
      checkGhosts(count % phase.batch());
    }
  }

  /** Whether all ghosts of an epoch with batches of {@code size} have variances. */
  private boolean hasVariances(int size, Network network) {
    return network.normPlaces() != 1 || hasVariances(size) && hasVariances(count % size);
  }

  /** Likewise of a batch of so many rows; of none there are no ghosts. */
  private boolean hasVariances(int rows) {
    return rows == 0 || rows / ghosts(rows) >= 2;
  }

  private int ghosts(int rows) {
    return spec.ghost() == 0 ? 1 : (rows - 1) / spec.ghost() + 1;
  }

  private void checkGhosts(int rows) {
    if (!hasVariances(rows)) {
      throw Check.bad(
          "training",
          "at least 2 values per channel in each ghost batch",
          "1 in a batch of "
              + rows
              + " cut into "
              + ghosts(rows)
              + " ghost batches ("
              + count
              + " training samples; another batch or ghost size, or number of samples, avoids it)");
    }
  }
}
