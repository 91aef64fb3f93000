package org.ghostbatch.train;

import java.util.Arrays;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Engine;
import org.ghostbatch.device.LossResult;
import org.ghostbatch.device.NormMode;
import org.ghostbatch.device.RunningStatistics;
import org.ghostbatch.device.Samples;
import org.ghostbatch.device.StepSpec;
import org.ghostbatch.device.VectorKernels;
import org.ghostbatch.random.Shuffle;

/**
 * Running statistics of batch norm for weights that no run has had: averages of weights, points
 * between two networks.
 */
public final class BatchNormStatistics {
  /** Samples copied to native memory at a time, where a ghost is not longer; not the machine's. */
  private static final int CHUNK = 4096;

  private BatchNormStatistics() {}

  /**
   * Overwrites the engine's running statistics by those of its parameters: r = mean over k of s_k,
   * for s_k the mean and the unbiased variance of the k-th ghost of the data set, in a shuffled
   * order, without augmentation and dropout. The data set is cut evenly into chunks and these into
   * ghosts, so that all ghosts count alike. What lies behind a batch norm sees its input normalized
   * with the ghost's statistics, as in training.
   *
   * <p>Same engine, data, ghost batch and seed give the same bits on any number of threads. Cost:
   * one forward pass over the data. Nothing happens in a network without batch norm.
   *
   * @param vectors of the engine's device
   * @param ghost V, at least 1; more than the data means all of it; not above the engine's
   * @param seed of the order
   * @throws org.ghostbatch.device.NativeException where a ghost holds a single value per channel
   * @see <a href="https://arxiv.org/abs/1803.05407">Izmailov et al. 2018, arXiv 1803.05407, section
   *     3.2</a>
   */
  public static void recompute(
      Device device, Engine engine, VectorKernels vectors, Dataset data, int ghost, long seed) {
    int room = longest(data.count(), ghost);
    if (engine.statistics() == null) {
      return;
    }
    int[] order = Shuffle.permutation(data.count(), seed, 0);
    SampleCopy copy = new SampleCopy(data);
    try (Samples memory = SampleCopy.room(device, data, room)) {
      recompute(
          engine,
          vectors,
          data.count(),
          ghost,
          (from, count, rows) -> {
            copy.copy(order, from, from + count, memory);
            Arrays.setAll(rows, i -> i);
            return memory;
          });
    }
  }

  /**
   * The same from samples in native memory, the first {@code count} of them in their order there:
   * where that is the shuffled one, the same bits.
   */
  public static void recompute(
      Engine engine, VectorKernels vectors, Samples samples, int count, int ghost) {
    recompute(
        engine,
        vectors,
        count,
        ghost,
        (from, many, rows) -> {
          Arrays.setAll(rows, i -> from + i);
          return samples;
        });
  }

  private static int chunks(int samples, int ghost) {
    if (ghost < 1) {
      throw Check.bad("statistics", "a ghost batch >= 1", ghost);
    }
    int largest = ghost < CHUNK ? CHUNK / ghost * ghost : ghost;
    return (int) ((samples + (long) largest - 1) / largest);
  }

  /** Samples of the longest chunk. */
  private static int longest(int samples, int ghost) {
    int chunks = chunks(samples, ghost);
    return (samples + chunks - 1) / chunks;
  }

  /** Brings samples [from, from + count) to native memory, and writes the rows where they lie. */
  private interface Source {
    Samples chunk(int from, int count, int[] rows);
  }

  private static void recompute(
      Engine engine, VectorKernels vectors, int samples, int ghost, Source source) {
    int chunks = chunks(samples, ghost);
    if (engine.statistics() == null) {
      return;
    }
    int[] rows = new int[longest(samples, ghost)];
    StepSpec step =
        new StepSpec()
            .mode(NormMode.TRAIN)
            .runningStatistics(RunningStatistics.AVERAGED)
            .ghost(ghost)
            .backward(false)
            .dropout(false)
            .augment(false);
    LossResult unused = new LossResult();
    vectors.fill(0, engine.statistics());
    long ghosts = 0;
    for (int chunk = 0; chunk < chunks; chunk++) {
      int from = (int) ((long) chunk * samples / chunks);
      int count = (int) ((chunk + 1L) * samples / chunks) - from;
      Samples memory = source.chunk(from, count, rows);
      // The mean of all ghosts so far, from the mean of these: as the engine cuts a batch.
      int fresh = (count + ghost - 1) / ghost;
      ghosts += fresh;
      step.momentum((double) fresh / ghosts);
      engine.step(memory, rows, count, null, step, null, null, unused);
    }
  }
}
