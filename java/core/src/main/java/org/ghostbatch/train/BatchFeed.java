package org.ghostbatch.train;

import org.ghostbatch.device.Samples;

/** Brings the batches of an epoch, one after another, in its shuffled order. */
interface BatchFeed extends AutoCloseable {
  /** Starts an epoch with batches of this size. */
  void start(long epoch, int batch);

  /**
   * Passes over the next {@code updates} batches of the epoch without bringing them: the next batch
   * is then the one that it would be after so many calls of {@link #next}.
   */
  void skip(int updates);

  /** Moves to the next batch. */
  void next();

  /**
   * Waits until nothing is read ahead any more, so that others may read the data: it is used by one
   * thread at a time.
   */
  void rest();

  /** Where the batch's samples are. */
  Samples samples();

  /** Their rows there; the first {@link #count} count. */
  int[] rows();

  /** Number of samples of the batch. */
  int count();

  /** Number in the data set of the batch's i-th sample. */
  int sample(int i);

  @Override
  void close();
}
