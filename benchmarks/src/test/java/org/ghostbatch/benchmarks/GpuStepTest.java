package org.ghostbatch.benchmarks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Map;
import org.ghostbatch.benchmarks.GpuFloors.Sum;
import org.ghostbatch.benchmarks.GpuNorm.Limits;
import org.ghostbatch.benchmarks.GpuNorm.Plan;
import org.ghostbatch.benchmarks.GpuStep.Part;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.DataType;
import org.ghostbatch.nn.BatchNorm;
import org.ghostbatch.nn.Conv2d;
import org.ghostbatch.nn.Flatten;
import org.ghostbatch.nn.GlobalAvgPool;
import org.ghostbatch.nn.Linear;
import org.ghostbatch.nn.MaxPool2d;
import org.ghostbatch.nn.Models;
import org.ghostbatch.nn.Network;
import org.ghostbatch.nn.ReLU;
import org.ghostbatch.nn.Residual;
import org.ghostbatch.nn.Sequential;
import org.junit.jupiter.api.Test;

/** What {@link GpuStep} counts, against counts by hand. */
class GpuStepTest {
  private static final Limits PORTABLE = new Limits(227 << 10, 8);

  /** Parameters: 216, 8, 8, 64 and 8, 16 and 2; 16 running statistics. */
  private static final Network SMALL =
      Network.of(
          Sequential.of(
              Conv2d.of(8, 3).padding(1).bias(false),
              BatchNorm.of(),
              ReLU.of(),
              Conv2d.of(8, 1),
              GlobalAvgPool.of(),
              Linear.of(2)),
          new SampleShape(4, 4, 3));

  /** Parameters: 32, 8, 8, 16 and 2. */
  private static final Network DENSE =
      Network.of(
          Sequential.of(
              Flatten.of(), Linear.of(8).bias(false), BatchNorm.of(), ReLU.of(), Linear.of(2)),
          new SampleShape(2, 2, 1));

  private static Map<Part, Sum> parts(GpuStep step) {
    return GpuFloors.sums(step, DataType.BF16, GpuStep.Entry::part);
  }

  private static void check(Sum sum, int launches, double bytes, double flops) {
    assertEquals(launches, sum.launches);
    assertEquals(bytes, sum.bytes);
    assertEquals(flops, sum.flops);
  }

  @Test
  void aSmallNetworkIsCountedAsByHand() {
    GpuStep step = GpuStep.of(SMALL, 6, 3, DataType.BF16, Limits.H200);
    assertEquals(6, step.microBatch(), "no more than the batch");
    assertEquals(6, step.computedRows());
    Map<Part, Sum> parts = parts(step);
    // 48, 128 and 128 values a row; the first has no gradient of its input, the second has a bias.
    double first = 6 * (48 + 128) * 2;
    double second = 6 * (128 + 128) * 2;
    check(
        parts.get(Part.CONVOLUTION),
        2 + 3 + 2,
        2 * first + 216 * (2 + 4) + 3 * second + 64 * (2 + 2 + 4) + 6 * 128 * 2,
        6 * 2 * 16 * (2 * 216 + 3 * 64));
    check(
        parts.get(Part.LINEAR),
        3 + 1,
        3 * 6 * (8 + 2) * 2 + 16 * (2 + 2 + 4) + 2 * 8,
        3 * 6 * 2 * 16);
    // A ghost of 48 places is held by a block. Forward and again x to y; x and dy to dx.
    check(parts.get(Part.NORM_FORWARD), 1, 2 * 6 * 128 * 2, 0);
    check(parts.get(Part.NORM_AGAIN), 1, 2 * 6 * 128 * 2, 0);
    check(parts.get(Part.NORM_BACKWARD), 2, 3 * 6 * 128 * 2, 0);
    check(parts.get(Part.POOL), 2, 2 * 6 * (128 + 8) * 2, 0);
    assertNull(parts.get(Part.ELEMENTWISE));
    check(parts.get(Part.LOSS), 2, 6 * (2 * 2 * 2 + 4 + 2 * 16), 0);
    check(parts.get(Part.LOADER), 1, 6 * (48 * (1 + 2) + 3 * 4), 0);
    assertNull(parts.get(Part.ZEROING), "all rows are used");
    check(parts.get(Part.COMMIT), 1, 322 * 8, 0);
    check(parts.get(Part.PACKING), 1, (216 + 64 + 16) * (4 + 2), 0);
    // Zeroes for two doubles each, two ghosts read, and its own read and written.
    check(parts.get(Part.STATISTICS), 3, 16 * 16 + (2 + 2) * 16 * 4, 0);
    check(parts.get(Part.CLIP), 3, 322 * 4, 0);
    check(parts.get(Part.OPTIMIZER), 2, 322 * 20, 0);
    check(parts.get(Part.COPIES), 5, 6 * 4, 0);

    Sum total = GpuFloors.total(step, DataType.BF16);
    assertEquals(parts.values().stream().mapToInt(sum -> sum.launches).sum(), total.launches);
    assertEquals(5 + 2 + 1 + 3 + 2, total.alone);
    assertEquals(total.bytes / GpuFloors.BYTES_PER_SECOND, total.floor, 1e-12, "no flops bind");
    assertEquals(0, total.byFlops);
    assertTrue(total.estimate >= 35 * GpuFloors.CAPTURED_SECONDS);
  }

  @Test
  void rowsThatAreNotUsedAreComputedFromZeros() {
    GpuStep step = GpuStep.of(SMALL, 7, 3, DataType.BF16, Limits.H200);
    assertEquals(9, step.microBatch(), "room for three ghosts of 3, that are of 3, 2 and 2");
    assertEquals(9, step.computedRows());
    Map<Part, Sum> parts = parts(step);
    assertEquals(9 * 2 * 16 * (2 * 216 + 3 * 64), parts.get(Part.CONVOLUTION).flops);
    check(parts.get(Part.ZEROING), 6, (9 - 7) * (48 + 128 + 128 + 128 + 8 + 2) * 2, 0);
    check(parts.get(Part.NORM_FORWARD), 1, 2 * 7 * 128 * 2, 0);
  }

  @Test
  void aGhostOfTwoMicroBatchesMeets() {
    GpuStep step = GpuStep.of(DENSE, 10001, 0, DataType.F32, Limits.H200);
    assertEquals(5001, step.microBatch());
    assertEquals(10002, step.computedRows());
    Map<Part, Sum> parts = GpuFloors.sums(step, DataType.F32, GpuStep.Entry::part);
    double tensor = 10001 * 8 * 4;
    check(parts.get(Part.NORM_FORWARD), 2 * 2 + 1 + 2, 3 * tensor, 0);
    check(parts.get(Part.NORM_AGAIN), 2, 2 * tensor, 0);
    check(parts.get(Part.NORM_BACKWARD), 2 * 2 + 1 + 2, (2 + 3) * tensor, 0);
    // No launch for the bias: it is of the type of activations, and aligned, behind 32 + 16 + 16.
    check(
        parts.get(Part.LINEAR),
        2 * (2 + 3),
        2 * (5001 * (2 * (4 + 8) + 3 * (8 + 2)) + 2 * 32 + 3 * 16) * 4,
        2 * 5001 * 2 * (2 * 32 + 3 * 16));
    // Of each layer and micro-batch weights and bias, of the ghost gamma and beta.
    check(parts.get(Part.COMMIT), 2 + 2 + 1, (32 + 16 + 2) * (8 + 12) + 16 * 8, 0);
    // The second micro-batch's last row.
    check(parts.get(Part.ZEROING), 4, (4 + 8 + 8 + 2) * 4, 0);
    check(parts.get(Part.COPIES), 2 + 2 + 1, 10001 * 4, 0);
  }

  @Test
  void laterMicroBatchesAreAdded() {
    Sum commit = parts(GpuStep.of(SMALL, 12000, 3, DataType.BF16, Limits.H200)).get(Part.COMMIT);
    check(commit, 2, 322 * (8 + 12), 0);
    // Of a ghost's second micro-batch to those of its first, and then to the sums.
    GpuStep step = GpuStep.of(DENSE, 20000, 10000, DataType.BF16, Limits.H200);
    assertEquals(5000, step.microBatch(), "ghosts are cut, not the batch");
    assertEquals(20000, step.computedRows());
    Sum spanning = parts(step).get(Part.COMMIT);
    check(spanning, 2 * (2 + 1), (32 + 16 + 2) * (12 + 8 + 12 + 12) + 16 * (8 + 12), 0);
  }

  @Test
  void poolingKeepsWhereTheLargestWere() {
    Network network =
        Network.of(
            Sequential.of(Conv2d.of(8, 1), MaxPool2d.of(2), Flatten.of(), Linear.of(2)),
            new SampleShape(4, 4, 1));
    Map<Part, Sum> parts = parts(GpuStep.of(network, 6, 0, DataType.BF16, Limits.H200));
    check(parts.get(Part.POOL), 2, 2 * 6 * ((128 + 32) * 2 + 32), 0);
    assertNull(parts.get(Part.STATISTICS), "no batch norm");
  }

  @Test
  void aResidualTakesItsTensorsAlong() {
    Network network = Network.of(Models.resnet20(10), new SampleShape(32, 32, 3));
    GpuStep step = GpuStep.of(network, 128, 128, DataType.BF16, Limits.H200);
    Map<Part, Sum> parts = parts(step);
    // Stages of 7, 6 + 1 and 6 + 1 norms: 3 of each have a residual; a shortcut's is not among the
    // others that are computed again, nor one with a residual.
    double a = 128 * 32 * 32 * 16 * 2;
    assertEquals(
        a * (4 * 2 + 3 * 3 + (4 * 2 + 3 * 3) / 2.0 + (4 * 2 + 3 * 3) / 4.0),
        parts.get(Part.NORM_FORWARD).bytes);
    assertEquals(a * 2 * (4 + 3 / 2.0 + 3 / 4.0), parts.get(Part.NORM_AGAIN).bytes);
    // The last block's output has one gradient, those of all others have two.
    assertEquals(
        a * (4 * 3 + 3 * 6 + (4 * 3 + 3 * 6) / 2.0 + (4 * 3 + 2 * 6 + 5) / 4.0),
        parts.get(Part.NORM_BACKWARD).bytes);
    assertEquals(3 * a, parts.get(Part.ELEMENTWISE).bytes, "gradients of the stem's output");
    double flops = parts.get(Part.CONVOLUTION).flops + parts.get(Part.LINEAR).flops;
    double stem = 2.0 * 32 * 32 * 16 * 27;
    assertEquals(step.computedRows() * (3 * network.flops() - stem), flops, 1e-9 * flops);
  }

  /** Of the engine, without what follows its step. */
  private static int launches(Network network, int batch, int ghost, DataType type) {
    return launches(network, batch, ghost, type, Limits.LEAST);
  }

  private static int launches(Network network, int batch, int ghost, DataType type, Limits limits) {
    GpuStep step = GpuStep.of(network, batch, ghost, type, limits);
    Map<Part, Sum> parts = GpuFloors.sums(step, type, GpuStep.Entry::part);
    return GpuFloors.total(step, type).launches
        - parts.get(Part.CLIP).launches
        - parts.get(Part.OPTIMIZER).launches;
  }

  /** The same networks and numbers as in native/tests/cuda_launches_test.cpp, which runs them. */
  @Test
  void launchesAreThoseOfTheEngine() {
    assertEquals(30, launches(SMALL, 6, 3, DataType.BF16));
    assertEquals(36, launches(SMALL, 7, 3, DataType.BF16), "rows that are not used");
    assertEquals(54, launches(SMALL, 16380, 3, DataType.BF16), "two micro-batches");
    assertEquals(50, launches(DENSE, 10001, 0, DataType.F32), "a ghost of two micro-batches");
    assertEquals(52, launches(DENSE, 10001, 0, DataType.BF16));
    assertEquals(86, launches(DENSE, 20000, 10000, DataType.BF16), "two such, each a part");
    Network residual =
        Network.of(
            Sequential.of(
                convolution(),
                BatchNorm.of(),
                ReLU.of(),
                Residual.of(
                    Sequential.of(
                        convolution(), BatchNorm.of(), ReLU.of(), convolution(), BatchNorm.of())),
                GlobalAvgPool.of(),
                Linear.of(2)),
            new SampleShape(8, 8, 3));
    assertEquals(39, launches(residual, 6, 3, DataType.BF16));
    Network large =
        Network.of(
            Sequential.of(BatchNorm.of(), ReLU.of(), GlobalAvgPool.of(), Linear.of(2)),
            new SampleShape(300, 300, 8));
    assertEquals(23, launches(large, 4, 2, DataType.BF16), "a wave, with room for two");
    Network clusters =
        Network.of(
            Sequential.of(BatchNorm.of(), ReLU.of(), GlobalAvgPool.of(), Linear.of(2)),
            new SampleShape(32, 32, 64));
    assertEquals(23, launches(clusters, 16, 4, DataType.BF16));
    assertEquals(22, launches(clusters, 16, 4, DataType.BF16, Limits.H200), "not a wave's two");
  }

  private static Conv2d convolution() {
    return Conv2d.of(16, 3).padding(1).bias(false);
  }

  private static void check(GpuNorm norm, int forward, int backward) {
    assertEquals(forward, norm.forward().launches());
    assertEquals(backward, norm.backward().launches());
  }

  /** So too. */
  @Test
  void normsAreLaunchedInWaves() {
    Limits limits = Limits.LEAST;
    // 4 MiB a ghost: four of them, or two with dy, are a wave; the last launch ends what it began.
    check(GpuNorm.of(1024, 16, 2, 64, 32, 128, limits), 9, 17);
    check(GpuNorm.of(1024, 16, 2, 64, 33, 128, limits), 10, 18);
    check(GpuNorm.of(64, 64, 2, 64, 32, 128, limits), 3, 5);
    // Held by blocks, where there is room for enough of them, and channels fill accesses.
    check(GpuNorm.of(64, 64, 2, 128, 8, 16, limits), 1, 2);
    check(GpuNorm.of(64, 64, 2, 8, 8, 16, limits), 2, 2);
    check(GpuNorm.of(64, 60, 2, 128, 128, 8, limits), 2, 2);
    check(GpuNorm.of(196, 32, 2, 64, 64, 64, limits), 5, 8);
  }

  /** And so too; plans as in native/tests/cuda_ghost_batch_norm_test.cpp. */
  @Test
  void normsRunInClusters() {
    Limits h200 = Limits.H200;
    check(GpuNorm.of(1024, 16, 2, 64, 32, 128, h200), 1, 17);
    check(GpuNorm.of(64, 64, 2, 64, 32, 128, h200), 1, 2);
    check(GpuNorm.of(256, 128, 2, 16, 8, 128, h200), 1, 2);
    check(GpuNorm.of(196, 60, 2, 64, 64, 64, h200), 7, 14);
    check(GpuNorm.of(64, 64, 2, 64, 32, 128, h200.withoutClusters()), 3, 5);

    GpuNorm small = GpuNorm.of(64, 64, 2, 32, 32, 128, h200);
    assertEquals(new Plan(1, 8, 2, true, 1), small.forward());
    assertEquals(new Plan(2, 16, 2, true, 1), small.backward());
    assertEquals(
        new Plan(2, 8, 4, true, 1), GpuNorm.of(64, 64, 2, 32, 32, 128, PORTABLE).backward());
    assertEquals(new Plan(2, 16, 5, true, 1), GpuNorm.of(64, 80, 4, 8, 8, 128, h200).backward());
    assertEquals(
        new Plan(2, 16, 2, false, 1), GpuNorm.of(256, 32, 2, 32, 32, 128, h200).backward());
    GpuNorm large = GpuNorm.of(1024, 16, 2, 32, 32, 128, h200);
    assertEquals(new Plan(1, 16, 1, false, 0.75), large.forward());
    assertEquals(new Plan(17, 0, 0, false, 0), large.backward());
    assertEquals(
        new Plan(1, 16, 2, false, 0.8125), GpuNorm.of(1024, 16, 4, 32, 32, 128, h200).forward());
    assertEquals(new Plan(1, 16, 4, true, 1), GpuNorm.of(64, 64, 2, 1, 1, 128, h200).forward());
    assertEquals(new Plan(1, 8, 1, false, 1), GpuNorm.of(1024, 16, 2, 32, 32, 48, h200).forward());
    check(GpuNorm.of(1024, 16, 2, 32, 32, 56, h200), 5, 2);
    assertEquals(new Plan(1, 1, 32, true, 1), GpuNorm.of(16, 512, 2, 8, 8, 128, h200).forward());
  }

  @Test
  void gapsOfBlocksAreFilledByASecondOne() {
    double floor = 62e-6;
    assertEquals(
        floor / 0.8 + 9 * 3e-6, GpuFloors.inWaves(floor, new Plan(9, 0, 0, false, 0)), 1e-12);
    // 32 clusters of 16 blocks, 8 at once.
    assertEquals(
        floor / 0.8 + 4 * 3e-6,
        GpuFloors.inClusters(floor, new Plan(1, 16, 1, false, 0.75), 32),
        1e-12);
    assertEquals(
        floor / 0.8 + 3e-6 + 2e-6,
        GpuFloors.inClusters(floor, new Plan(2, 16, 1, true, 1), 32),
        1e-12);
  }

  @Test
  void theTableHasALineForEachKindAndItsPart() {
    GpuStep step = GpuStep.of(SMALL, 4095, 3, DataType.BF16, Limits.H200);
    String table = GpuFloors.table(step, DataType.BF16);
    assertTrue(
        table.contains(
            "\n| 4x4x3 to 4x4x8, 3x3, gradient of weights | 1 | 1 | 1.44 | 0.028 | 0.335 |"),
        table);
    assertTrue(table.contains("\n| **gradient commits** | 1 | 1 | 0.003 |  | <0.001 |"), table);
    String summary = GpuFloors.summary(Map.of("small", step), DataType.BF16);
    assertTrue(summary.contains("\n| floor of gradient commits, us | <0.001 |\n"), summary);
    assertFalse(summary.contains("zeroing"), "a line of what no update does");
    assertTrue(
        summary.contains("\n| launches | 35 |\n| of them outside the graph | 13 |\n"), summary);
  }
}
