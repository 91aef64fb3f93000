package org.ghostbatch.nn;

import org.ghostbatch.device.Device;

/**
 * The rule for the micro-batch S, the rows of one pass of the kernels, and for who runs a ghost
 * batch V that is larger. It follows from the network, V, the batch and the kind of backend, never
 * from the machine, so that results do not either.
 *
 * <p>{@link #ON_CORES}: one-thread convolutions run at full speed from 16 to 32 rows on, matrix
 * products want more: the target is 64 rows for a network with convolutions, 256 for one of linear
 * layers alone. Without batch norm, and with plain batch norm over the whole batch, S is the
 * target. A ghost of up to 256 (512) rows is one lane's, and lanes never wait for each other; S is
 * as many whole ghosts as fit the target, at least one. A larger ghost spans micro-batches of the
 * target, which all lanes share.
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
 *
 * <p>{@link #ON_GPU}: a kernel should keep thousands of threads busy for longer than its launch
 * takes. The target is 8,192 rows, and fewer, to a power of two, where these would hold more than 8
 * GiB of activations in f32. A batch is cut into as few micro-batches as that allows, all alike:
 * kernels compute all rows. A ghost larger than the target is cut so by itself, as none of its
 * micro-batches has rows of another. The one lane runs every ghost.
 */
public enum MicroBatch {
  ON_CORES(1L << 31) {
    @Override
    public int of(Network network, int ghost, int batch) {
      boolean onLane = ghostPerLane(network, ghost);
      boolean cached = onLane && CACHED_ROWS * network.values() >= 4L * network.parameterCount();
      if (cached && ghost > 2 * CACHED_ROWS) {
        return CACHED_ROWS;
      }
      int target = cached ? 2 * CACHED_ROWS : network.hasConvolution() ? 64 : 256;
      return wholeGhosts(atMost(network, target), onLane ? ghost : 1);
    }

    @Override
    public boolean ghostPerLane(Network network, int ghost) {
      return hasGhosts(network, ghost)
          && ghost <= atMost(network, network.hasConvolution() ? 256 : 512);
    }
  },

  ON_GPU(1L << 33) {
    @Override
    public int of(Network network, int ghost, int batch) {
      int target = atMost(network, 8192);
      if (!hasGhosts(network, ghost)) {
        return evenly(batch, target);
      }
      int rows = Math.min(ghost, batch);
      int ghosts = divideUp(batch, rows);
      return rows <= target
          ? rows * evenly(ghosts, target / rows)
          : evenly(divideUp(batch, ghosts), target);
    }

    @Override
    public boolean ghostPerLane(Network network, int ghost) {
      return hasGhosts(network, ghost);
    }
  };

  private static final int CACHED_ROWS = 16;

  private final long mostBytes;

  MicroBatch(long mostBytes) {
    this.mostBytes = mostBytes;
  }

  /** The rule for a device. */
  public static MicroBatch on(Device device) {
    return device.hostMemory() ? ON_CORES : ON_GPU;
  }

  /**
   * S for a network.
   *
   * @param ghost V in rows; 0 for plain batch norm over the whole batch, or none
   * @param batch the most rows that are asked for at a time, at least 1; of no account on cores
   */
  public abstract int of(Network network, int ghost, int batch);

  /**
   * Whether one lane runs a whole ghost, however many micro-batches it spans; otherwise all lanes
   * share a ghost that spans several.
   *
   * @param ghost as above
   */
  public abstract boolean ghostPerLane(Network network, int ghost);

  boolean hasGhosts(Network network, int ghost) {
    if (ghost < 0) {
      throw Check.bad("micro-batch", "a ghost batch >= 0", ghost);
    }
    return network.hasBatchNorm() && ghost > 0;
  }

  /** As many whole ghosts as so many rows hold, at least one. */
  static int wholeGhosts(int rows, int ghost) {
    return ghost * Math.max(1, rows / ghost);
  }

  /** Of as few parts as have at most so many each, all alike: what each has, rounded up. */
  private static int evenly(int all, int most) {
    return divideUp(all, divideUp(all, most));
  }

  private static int divideUp(int a, int b) {
    return Math.toIntExact(((long) a + b - 1) / b);
  }

  int atMost(Network network, int rows) {
    long fits = Long.highestOneBit(Math.max(1, mostBytes / (4 * network.values())));
    return (int) Math.min(fits, rows);
  }
}
