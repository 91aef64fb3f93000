package org.ghostbatch.benchmarks;

/**
 * How many launches a ghost batch norm takes on the CUDA backend: the table of {@code make_plan} in
 * native/cuda/ghost_batch_norm.h, whose constants these are.
 *
 * @param forward launches of a forward pass over whole ghosts
 * @param backward launches of a backward pass, with the gradients of gamma and beta
 */
record GpuNorm(int forward, int backward) {
  private static final long WAVE_BYTES = 16L << 20;
  private static final long RESIDENT_BYTES = 16 << 10;
  private static final long SHARED_BYTES = 99 << 10;
  private static final long SHARED_BF16 = 34560; // of a resident block, beside what it holds
  private static final long SHARED_F32 = 18176;
  private static final long MULTIPROCESSORS = 128;
  private static final int ACCESS_BYTES = 16;
  private static final int MOST_COLUMNS = 8;

  /**
   * The plan for a micro-batch.
   *
   * @param places H W of a row
   * @param elementBytes of an activation
   * @param room ghosts that a micro-batch may have: whether blocks hold theirs follows from it
   * @param ghosts those that it has, for which there are launches
   * @param ghostRows of the largest
   */
  static GpuNorm of(
      int places, int channels, int elementBytes, int room, int ghosts, int ghostRows) {
    Pass forward = new Pass((long) ghostRows * places, channels, elementBytes, room, 1);
    Pass backward = new Pass((long) ghostRows * places, channels, elementBytes, room, 2);
    return new GpuNorm(
        forward.resident() ? 1 : forward.waves(ghosts) + 1,
        backward.resident() ? 2 : backward.waves(ghosts) + 1);
  }

  /**
   * A direction.
   *
   * @param places of a ghost
   * @param tensors that are read twice
   */
  private record Pass(long places, int channels, int elementBytes, int room, int tensors) {
    int waves(int ghosts) {
      long bytes = places * channels * elementBytes * tensors;
      long wave = Math.max(1, WAVE_BYTES / bytes);
      return (int) ((ghosts + wave - 1) / wave);
    }

    /** Whether a block keeps its part of a ghost in shared memory: one launch does it all. */
    boolean resident() {
      int width = ACCESS_BYTES / elementBytes;
      if (channels % width != 0) {
        return false;
      }
      int accesses = channels / width;
      long shared = elementBytes == 2 ? SHARED_BF16 : SHARED_F32;
      for (int most = MOST_COLUMNS; most >= 2; most /= 2) {
        int groups = divideUp(accesses, most);
        long bytes = places * divideUp(accesses, groups) * ACCESS_BYTES * tensors;
        boolean busy = (long) groups * room >= MULTIPROCESSORS || bytes <= RESIDENT_BYTES;
        if (shared + bytes <= SHARED_BYTES && busy) {
          return true;
        }
      }
      return false;
    }

    private static int divideUp(int a, int b) {
      return (a + b - 1) / b;
    }
  }
}
