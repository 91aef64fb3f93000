package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import org.ghostbatch.ForkedJvm;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.ElementType;
import org.ghostbatch.data.Normalization;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.data.Strokes;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Engine;
import org.ghostbatch.device.EngineSpec;
import org.ghostbatch.device.Gemm;
import org.ghostbatch.device.GemmSpec;
import org.ghostbatch.device.Lanes;
import org.ghostbatch.device.LoadSpec;
import org.ghostbatch.device.LossResult;
import org.ghostbatch.device.NativeException;
import org.ghostbatch.device.NetworkPlan;
import org.ghostbatch.device.Samples;
import org.ghostbatch.device.StepSpec;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.nn.BatchNorm;
import org.ghostbatch.nn.Conv2d;
import org.ghostbatch.nn.GlobalAvgPool;
import org.ghostbatch.nn.Linear;
import org.ghostbatch.nn.Models;
import org.ghostbatch.nn.Network;
import org.ghostbatch.nn.ReLU;
import org.ghostbatch.nn.Sequential;
import org.junit.jupiter.api.Test;

/**
 * Memory is lanes times pass: foretold, the same for every batch, and refused where there is too
 * little.
 */
class MemoryTest {
  private static final SampleShape SMALL_IMAGE = new SampleShape(32, 32, 3);
  private static final int THREADS = 2;

  private static NetworkPlan plan(Device device) {
    return Network.of(Models.resnet20(10), SMALL_IMAGE).compile(device);
  }

  /** Ghosts of up to 256 rows on a lane each, larger ones shared. */
  private static EngineSpec spec(int ghost) {
    return new EngineSpec(
        DataType.F32, 64, ghost, ghost <= 256, true, false, LoadSpec.of(32, 32, 3));
  }

  /**
   * Compiles an engine, does a step, and prints what was foretold and what came; argument: V, which
   * is also B.
   */
  public static final class Foretold {
    public static void main(String[] arguments) {
      int ghost = Integer.parseInt(arguments[0]);
      try (Device device = Device.of("cpu", THREADS);
          Lanes lanes = device.lanes(THREADS);
          NetworkPlan plan = plan(device);
          Samples samples = device.samples(DataType.U8, 1, 32, 32, 3, 10)) {
        samples.write(0, 1, new byte[SMALL_IMAGE.elements()]);
        samples.writeLabels(0, 1, new int[1]);
        long foretold = device.predictBytes(THREADS, plan, spec(ghost)); // makes all kernels, once
        long before = ProcessMemory.resident();
        try (Engine engine = device.engine(lanes, plan, spec(ghost))) {
          engine.step(
              samples,
              new int[ghost],
              ghost,
              null,
              new StepSpec().ghost(ghost),
              null,
              null,
              new LossResult());
          System.out.println(
              foretold + " " + engine.bytes() + " " + (ProcessMemory.resident() - before));
        }
      }
    }
  }

  @Test
  void foretoldIsWhatIsTaken() throws Exception {
    // Whole in a micro-batch; of three micro-batches on each lane; of eight that lanes share.
    for (int ghost : new int[] {32, 180, 500}) {
      ForkedJvm.End end =
          ForkedJvm.named("foretold-" + ghost).run(60, Foretold.class, Integer.toString(ghost));
      assertEquals(0, end.exit(), end.toString());
      long[] figures =
          Arrays.stream(end.output().strip().split(" ")).mapToLong(Long::parseLong).toArray();
      System.out.printf(
          "ghost %d: foretold %d bytes, resident %+.1f %%%n",
          ghost, figures[0], 100.0 * (figures[2] - figures[0]) / figures[0]);
      assertEquals(figures[0], figures[1], end.toString());
      assertTrue(Math.abs(figures[2] - figures[0]) <= 0.1 * figures[0], end.toString());
    }
  }

  /** Trains on batches of one size and prints the most memory that was resident; argument: B. */
  public static final class Batches {
    public static void main(String[] arguments) {
      int batch = Integer.parseInt(arguments[0]);
      Dataset data = Strokes.train();
      Sequential layers =
          Sequential.of(
              Conv2d.of(16, 3).padding(1),
              BatchNorm.of(),
              ReLU.of(),
              GlobalAvgPool.of(),
              Linear.of(10));
      try (Device device = Device.of("cpu", THREADS);
          Trainer trainer =
              Trainer.of(layers)
                  .batchSize(batch)
                  .ghostBatchSize(32)
                  .learningRate(0.01)
                  .updates(1)
                  .on(device);
          Samples samples = SampleCopy.room(device, data, 4096)) {
        trainer.prepare(data);
        int[] rows = IntStream.range(0, 4096).toArray();
        new SampleCopy(data).copy(rows, 0, 4096, samples);
        trainer.step(samples, rows, batch, null, 0.01, 0);
        trainer.step(samples, rows, batch, null, 0.01, 0);
        System.out.println(ProcessMemory.peak());
      }
    }
  }

  @Test
  void theBatchCostsNoMemory() throws Exception {
    List<Long> peaks = new ArrayList<>();
    for (int batch : new int[] {256, 1024, 4096}) {
      ForkedJvm.End end =
          ForkedJvm.named("batch-" + batch)
              .with("-Xms64m", "-Xmx64m", "-XX:+AlwaysPreTouch")
              .run(60, Batches.class, Integer.toString(batch));
      assertEquals(0, end.exit(), end.toString());
      peaks.add(Long.parseLong(end.output().strip()));
    }
    System.out.println("peak bytes at batch 256, 1024, 4096: " + peaks);
    for (long peak : peaks) {
      assertTrue(Math.abs(peak - peaks.get(0)) <= 0.05 * peaks.get(0), peaks.toString());
    }
  }

  @Test
  void whatCannotFitIsRefusedWithTheLargestGhostThatDoes() {
    try (Device device = Device.of("cpu", THREADS);
        Lanes lanes = device.lanes(THREADS);
        NetworkPlan plan = plan(device)) {
      int asked = 1 << 28;
      long live = Device.liveBytes();
      NativeException e =
          assertThrows(NativeException.class, () -> device.engine(lanes, plan, spec(asked)));
      Matcher text =
          Pattern.compile(
                  "needs (\\d+) bytes, got (\\d+) free: the largest ghost batch that fits is (\\d+), asked for (\\d+)")
              .matcher(e.getMessage());
      assertTrue(text.find(), e.getMessage());
      long free = Long.parseLong(text.group(2));
      int largest = Integer.parseInt(text.group(3));
      assertEquals(device.predictBytes(THREADS, plan, spec(asked)), Long.parseLong(text.group(1)));
      assertEquals(asked, Integer.parseInt(text.group(4)));
      assertTrue(
          largest > 0 && device.predictBytes(THREADS, plan, spec(largest)) <= free, e.getMessage());
      assertTrue(device.predictBytes(THREADS, plan, spec(largest + 1)) > free, e.getMessage());
      assertEquals(live, Device.liveBytes());
    }
  }

  /** As large as one likes, and never read. */
  private record Endless(int count) implements Dataset {
    @Override
    public SampleShape shape() {
      return SMALL_IMAGE;
    }

    @Override
    public ElementType type() {
      return ElementType.U8;
    }

    @Override
    public List<String> classNames() {
      return IntStream.range(0, 10).mapToObj(Integer::toString).toList();
    }

    @Override
    public int label(int index) {
      throw new AssertionError("nothing was to be read");
    }

    @Override
    public void read(int[] indices, int from, int to, ByteBuffer target) {
      throw new AssertionError("nothing was to be read");
    }

    @Override
    public boolean streaming() {
      return true;
    }

    @Override
    public Normalization normalization() {
      return Normalization.ofBytes(List.of(0.5, 0.5, 0.5), List.of(0.2, 0.2, 0.2));
    }
  }

  @Test
  void aRunThatCannotFitIsRefusedBeforeTheFirstStep() {
    int batch = 1 << 26;
    try (Device device = Device.of("cpu", THREADS);
        Trainer trainer =
            Trainer.of(Models.resnet20(10))
                .batchSize(batch)
                .learningRate(0.1)
                .epochs(1)
                .on(device)) {
      NativeException e =
          assertThrows(NativeException.class, () -> trainer.fit(new Endless(batch), null));
      assertTrue(e.getMessage().contains("the largest ghost batch that fits is "), e.getMessage());
      assertEquals(0, trainer.updates());
    }
  }

  /**
   * JavaCPP measures the process against -Xmx, and would make no more objects where native memory
   * is larger.
   */
  public static final class SmallHeap {
    public static void main(String[] arguments) {
      try (Device device = Device.of("cpu", 1);
          Tensor large = device.tensor(DataType.F32, 100, 1 << 20);
          Gemm gemm = device.gemm(GemmSpec.of(2, 2, 2));
          Tensor slice = large.slice(0, 4)) {
        gemm.run(slice, slice, null, slice);
        System.out.println("done");
      }
    }
  }

  @Test
  void nativeMemoryMayBeManyTimesTheHeap() throws Exception {
    ForkedJvm.End end = ForkedJvm.named("small-heap").with("-Xmx24m").run(60, SmallHeap.class);
    assertEquals("done", end.output().strip());
    assertEquals(0, end.exit());
  }
}
