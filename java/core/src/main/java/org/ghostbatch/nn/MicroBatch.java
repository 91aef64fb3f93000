package org.ghostbatch.nn;

/**
 * The rule for the micro-batch S, the rows of one pass of the kernels on one core. It follows from
 * the network and the ghost batch V, never from the machine, so that results do not either.
 *
 * <p>One-thread convolutions run at full speed from 32 rows on, matrix products want more: the
 * target is 64 rows for a network with convolutions, 256 for one of linear layers alone. Without
 * batch norm, and with plain batch norm over the whole batch, S is the target. A ghost of up to 256
 * (512) rows is kept whole: S is as many whole ghosts as fit the target, at least one, and lanes
 * never wait for each other. A larger ghost spans micro-batches of the target.
 *
 * <p>Both bounds are lowered where that many rows would hold more than 2 GiB of activations in f32,
 * to a power of two: for large images a ghost then spans micro-batches, and its activations are
 * kept once, not once a lane.
 */
public final class MicroBatch {
  private static final long MOST_BYTES = 1L << 31;

  private MicroBatch() {}

  /**
   * S for a network.
   *
   * @param ghost V in rows; 0 for plain batch norm over the whole batch, or none
   */
  public static int of(Network network, int ghost) {
    if (ghost < 0) {
      throw Check.bad("micro-batch", "a ghost batch >= 0", ghost);
    }
    long fits = Long.highestOneBit(Math.max(1, MOST_BYTES / (4 * network.values())));
    int target = (int) Math.min(fits, network.hasConvolution() ? 64 : 256);
    int whole = (int) Math.min(fits, network.hasConvolution() ? 256 : 512);
    if (!network.hasBatchNorm() || ghost == 0 || ghost > whole) {
      return target;
    }
    return ghost * Math.max(1, target / ghost);
  }
}
