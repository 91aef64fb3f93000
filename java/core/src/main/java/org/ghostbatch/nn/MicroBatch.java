package org.ghostbatch.nn;

/**
 * The rule for the micro-batch S, the rows of one pass of the kernels on one core, and for who runs
 * a ghost batch V that is larger. It follows from the network and V, never from the machine, so
 * that results do not either.
 *
 * <p>One-thread convolutions run at full speed from 16 to 32 rows on, matrix products want more:
 * the target is 64 rows for a network with convolutions, 256 for one of linear layers alone.
 * Without batch norm, and with plain batch norm over the whole batch, S is the target. A ghost of
 * up to 256 (512) rows is one lane's, and lanes never wait for each other; S is as many whole
 * ghosts as fit the target, at least one. A larger ghost spans micro-batches of the target, which
 * all lanes share.
 *
 * <p>Where activations outweigh parameters, in deep convolutional networks, what one kernel writes
 * should still be in cache when the next reads it: there the target is 32 rows, and a ghost of more
 * than that is cut into micro-batches of 16, which its lane takes from one batch norm to the next
 * one after another. A network with more parameters keeps its ghosts whole, as every micro-batch
 * reads all weights and adds to all their gradients.
 *
 * <p>All bounds are lowered where that many rows would hold more than 2 GiB of activations in f32,
 * to a power of two: for large images lanes share a ghost, and its activations are kept once, not
 * once a lane.
 */
public final class MicroBatch {
  private static final long MOST_BYTES = 1L << 31;
  private static final int CACHED_ROWS = 16;

  private MicroBatch() {}

  /**
   * S for a network.
   *
   * @param ghost V in rows; 0 for plain batch norm over the whole batch, or none
   */
  public static int of(Network network, int ghost) {
    boolean onLane = ghostPerLane(network, ghost);
    boolean cached = onLane && CACHED_ROWS * network.values() >= 4L * network.parameterCount();
    if (cached && ghost > 2 * CACHED_ROWS) {
      return CACHED_ROWS;
    }
    int target = atMost(network, cached ? 2 * CACHED_ROWS : network.hasConvolution() ? 64 : 256);
    return onLane ? ghost * Math.max(1, target / ghost) : target;
  }

  /**
   * Whether one lane runs a whole ghost, however many micro-batches it spans; otherwise all lanes
   * share a ghost that spans several.
   *
   * @param ghost as above
   */
  public static boolean ghostPerLane(Network network, int ghost) {
    if (ghost < 0) {
      throw Check.bad("micro-batch", "a ghost batch >= 0", ghost);
    }
    return network.hasBatchNorm()
        && ghost > 0
        && ghost <= atMost(network, network.hasConvolution() ? 256 : 512);
  }

  private static int atMost(Network network, int rows) {
    long fits = Long.highestOneBit(Math.max(1, MOST_BYTES / (4 * network.values())));
    return (int) Math.min(fits, rows);
  }
}
