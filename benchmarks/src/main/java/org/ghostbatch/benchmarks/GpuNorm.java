package org.ghostbatch.benchmarks;

/**
 * How a ghost batch norm over whole ghosts is cut into blocks on the CUDA backend: the table of
 * {@code make_plan} in native/cuda/ghost_batch_norm.h, whose constants these are.
 *
 * @param forward its forward pass
 * @param backward its backward pass, with the gradients of gamma and beta
 */
record GpuNorm(Plan forward, Plan backward) {
  static final long MULTIPROCESSORS = 128;
  private static final long WAVE_BYTES = 16L << 20;
  private static final long RESIDENT_BYTES = 16 << 10;
  private static final long RESERVED_BYTES = 1 << 10;
  private static final long BESIDE_BF16 = 34560; // of a block, beside what it holds
  private static final long BESIDE_F32 = 18176;
  private static final int THREADS = 256;
  private static final int ACCESS_BYTES = 16;
  private static final int MOST_COLUMNS = 8;
  private static final int DRAM_COLUMNS = 4;
  private static final int SECTOR_COLUMNS = 2;

  /**
   * What blocks may have on a GPU.
   *
   * @param sharedBytes of shared memory
   * @param cluster blocks of a cluster; 0 where there are none
   */
  record Limits(long sharedBytes, int cluster) {
    /** What every GPU has that the backend runs on. */
    static final Limits LEAST = new Limits(99 << 10, 0);

    static final Limits H200 = new Limits(227 << 10, 16);

    /** With {@code GHOSTBATCH_CUDA_CLUSTERS=0}. */
    Limits withoutClusters() {
      return new Limits(sharedBytes, 0);
    }
  }

  /**
   * A direction.
   *
   * @param launches kernels, copies and fills
   * @param pieces blocks that hold a ghost's group of channels: a cluster, or one; 0 for waves
   * @param groups of channels
   * @param sharing whether two such blocks fit on a multiprocessor
   * @param held share of what is read twice that they keep
   */
  record Plan(int launches, int pieces, int groups, boolean sharing, double held) {}

  /**
   * The plan for a micro-batch.
   *
   * @param places H W of a row
   * @param elementBytes of an activation
   * @param room ghosts that a micro-batch may have, by which the plan is made
   * @param ghosts those that it has, for which there are launches
   * @param ghostRows of the largest
   */
  static GpuNorm of(
      int places,
      int channels,
      int elementBytes,
      int room,
      int ghosts,
      int ghostRows,
      Limits limits) {
    long all = (long) ghostRows * places;
    Pass forward = new Pass(all, channels, elementBytes, room, 1, limits);
    Pass backward = new Pass(all, channels, elementBytes, room, 2, limits);
    return new GpuNorm(forward.plan(ghosts, 1), backward.plan(ghosts, 2));
  }

  /**
   * A direction.
   *
   * @param places of a ghost
   * @param tensors that are read twice
   */
  private record Pass(
      long places, int channels, int elementBytes, int room, int tensors, Limits limits) {
    /** With so many launches where blocks hold what they read. */
    Plan plan(int ghosts, int launches) {
      Plan held = channels % (ACCESS_BYTES / elementBytes) == 0 ? held(launches) : null;
      return held != null ? held : new Plan(waves(ghosts) + 1, 0, 0, false, 0);
    }

    private int waves(int ghosts) {
      long bytes = places * channels * elementBytes * tensors;
      long wave = Math.max(1, WAVE_BYTES / bytes);
      return (int) ((ghosts + wave - 1) / wave);
    }

    private Plan held(int launches) {
      long whole = limits.sharedBytes;
      if (limits.cluster == 0) {
        return resident(launches, whole);
      }
      long half = (whole + RESERVED_BYTES) / 2 - RESERVED_BYTES;
      Plan plan = resident(launches, half);
      for (boolean alone : new boolean[] {false, true}) {
        for (int columns : new int[] {DRAM_COLUMNS, SECTOR_COLUMNS}) {
          plan = plan != null ? plan : cluster(launches, alone ? whole : half, columns, alone);
        }
      }
      return plan != null ? plan : clusterInPart(launches);
    }

    private Plan resident(int launches, long shared) {
      Plan plan = null;
      for (int most = MOST_COLUMNS; most >= SECTOR_COLUMNS; most /= 2) {
        long bytes = places * columns(most) * ACCESS_BYTES * tensors;
        long blocks = (long) groups(most) * room;
        boolean busy = blocks >= MULTIPROCESSORS || bytes <= RESIDENT_BYTES;
        if (beside() + bytes > shared || !busy) {
          continue;
        }
        boolean sharing =
            2 * (beside() + bytes + RESERVED_BYTES) <= limits.sharedBytes + RESERVED_BYTES;
        plan = new Plan(launches, 1, groups(most), sharing, 1);
        if (blocks >= 2 * MULTIPROCESSORS) {
          break;
        }
      }
      return plan;
    }

    private Plan cluster(int launches, long shared, int leastColumns, boolean alone) {
      for (int blocks = 2; blocks <= limits.cluster; blocks *= 2) {
        for (int most = MOST_COLUMNS; most >= leastColumns; most /= 2) {
          long lines = lines(most);
          long piece = divideUp(divideUp(places, blocks), lines) * lines;
          long bytes = piece * columns(most) * ACCESS_BYTES * tensors;
          boolean enough =
              (long) groups(most) * room * blocks >= MULTIPROCESSORS || bytes <= RESIDENT_BYTES;
          boolean worthIt = !alone || bytes >= WAVE_BYTES / MULTIPROCESSORS;
          if (piece <= roomFor(most, shared) && worthIt && enough) {
            return new Plan(launches, blocks, groups(most), !alone, 1);
          }
        }
      }
      return null;
    }

    private Plan clusterInPart(int launches) {
      int groups = groups(SECTOR_COLUMNS);
      long clusters = (long) groups * room;
      long atOnce = Math.min(divideUp(MULTIPROCESSORS, limits.cluster), clusters);
      long kept = roomFor(SECTOR_COLUMNS, limits.sharedBytes) * limits.cluster;
      long rest = (places - kept) * columns(SECTOR_COLUMNS) * ACCESS_BYTES * tensors;
      boolean enough = clusters * limits.cluster >= MULTIPROCESSORS;
      if (kept == 0 || rest < 0 || rest * atOnce > WAVE_BYTES || !enough) {
        return null;
      }
      return new Plan(launches, limits.cluster, groups, false, (double) kept / places);
    }

    /** Places that a block can keep, by whole lines of its threads. */
    private long roomFor(int most, long shared) {
      long line = lines(most) * columns(most) * ACCESS_BYTES * tensors;
      return Math.max(0, shared - beside()) / line * lines(most);
    }

    private long beside() {
      return elementBytes == 2 ? BESIDE_BF16 : BESIDE_F32;
    }

    private int accesses() {
      return channels * elementBytes / ACCESS_BYTES;
    }

    private int groups(int most) {
      return (int) divideUp(accesses(), most);
    }

    private int columns(int most) {
      return (int) divideUp(accesses(), groups(most));
    }

    private long lines(int most) {
      return THREADS / columns(most);
    }

    private static long divideUp(long a, long b) {
      return (a + b - 1) / b;
    }
  }
}
