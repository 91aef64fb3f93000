package org.ghostbatch.analysis;

/**
 * What of a data set an {@link Objective} is the loss of, and what batch norm does in it.
 *
 * @param norm where batch norm has its statistics from
 * @param ghost V: samples that share statistics; with {@link Norm#RUNNING} in the recomputation of
 *     running statistics, 0 for those of the model as they are
 * @param samples how many of the data, chosen by the seed; 0: all
 * @param seed of the order of the samples, and of which they are
 * @param threads to run on, 0: the device's; results do not depend on it
 */
public record NetworkLossSpec(Norm norm, int ghost, int samples, long seed, int threads) {
  private static final String KIND = "objective";

  /** Where batch norm has its statistics from. */
  public enum Norm {
    /** Running statistics, which do not change with the point. */
    RUNNING,
    /** Those of ghosts of V samples at the point itself, as in training. */
    BATCH
  }

  public NetworkLossSpec {
    Check.present(KIND, "a source of statistics", norm);
    Check.range(KIND, "ghost", ghost, norm == Norm.BATCH ? 1 : 0, Integer.MAX_VALUE);
    Check.range(KIND, "samples", samples, 0, Integer.MAX_VALUE);
    Check.range(KIND, "threads", threads, 0, 1024);
  }

  /** Running statistics, those of the model recomputed with ghosts of so many samples. */
  public static NetworkLossSpec running(int ghost) {
    return new NetworkLossSpec(Norm.RUNNING, ghost, 0, 1, 0);
  }

  /** Statistics of ghosts of so many samples. */
  public static NetworkLossSpec batch(int ghost) {
    return new NetworkLossSpec(Norm.BATCH, ghost, 0, 1, 0);
  }

  public NetworkLossSpec withNorm(Norm norm) {
    return new NetworkLossSpec(norm, ghost, samples, seed, threads);
  }

  public NetworkLossSpec withSamples(int samples) {
    return new NetworkLossSpec(norm, ghost, samples, seed, threads);
  }

  public NetworkLossSpec withSeed(long seed) {
    return new NetworkLossSpec(norm, ghost, samples, seed, threads);
  }

  public NetworkLossSpec withThreads(int threads) {
    return new NetworkLossSpec(norm, ghost, samples, seed, threads);
  }
}
