package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.management.ThreadMXBean;
import java.lang.management.GarbageCollectorMXBean;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.ghostbatch.ForkedJvm;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.Augmentation;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Samples;
import org.ghostbatch.nn.Dropout;
import org.ghostbatch.nn.Layer;
import org.ghostbatch.nn.Sequential;
import org.ghostbatch.optim.Adam;
import org.ghostbatch.optim.Lars;
import org.ghostbatch.optim.Optimizer;
import org.junit.jupiter.api.Test;

/**
 * Thousands of steps leave no trace: no Java garbage, no thread, no memory.
 *
 * <p>That native code allocates nothing in a step is seen from outside: resident memory and live
 * tensors stay. oneDNN takes and gives back a few bytes while it runs a primitive, and JavaCPP a
 * copy of each Java array; neither grows.
 */
class SteadyStateTest {
  private static final int BATCH = 60;

  /** Runs steps and prints what they cost; arguments: warm-up steps, steps. */
  public static final class Soak {
    private final Device device = Device.of("cpu", 2);
    private final Dataset data = TinyData.of(256, 1);
    private final List<Trainer> trainers = new ArrayList<>();
    private final Samples samples = SampleCopy.room(device, data, data.count());
    private final int[] rows = new int[BATCH + 1];
    private final float[] weights = new float[BATCH + 1];
    private long steps;

    /**
     * Whole ghosts with dropout, augmentation and layer-wise rates; ghosts that span micro-batches,
     * on all lanes and on one each, with weights.
     */
    private Soak() {
      List<Layer> layers = new ArrayList<>(TinyData.convolutional().layers());
      layers.add(layers.size() - 1, Dropout.of(0.3));
      trainer(new Sequential(layers), 7, Lars.of(), Augmentation.PAD_CROP_FLIP);
      trainer(TinyData.convolutional(), 0, Adam.of().weightDecay(1e-4), Augmentation.NONE);
      trainer(TinyData.convolutional(), 40, Adam.of(), Augmentation.NONE);
      int[] all = new int[data.count()];
      for (int i = 0; i < all.length; i++) {
        all[i] = i;
      }
      new SampleCopy(data).copy(all, 0, all.length, samples);
      Arrays.fill(weights, 1.1f);
    }

    private void trainer(
        Sequential layers, int ghost, Optimizer optimizer, Augmentation augmentation) {
      Trainer made =
          Trainer.of(layers)
              .batchSize(BATCH + 1)
              .ghostBatchSize(ghost)
              .microBatch(16)
              .optimizer(optimizer)
              .augmentation(augmentation)
              .clipGradientNorm(1)
              .ema(0.99)
              .learningRate(1e-3)
              .updates(1)
              .threads(2)
              .on(device);
      made.prepare(data);
      trainers.add(made);
    }

    private void run(int count) {
      for (int i = 0; i < count; i++) {
        for (int r = 0; r < rows.length; r++) {
          rows[r] = (int) ((steps * 31 + r * 7) & 255);
        }
        int trainer = (int) (steps % 3);
        int batch = BATCH + (int) (steps / 3 & 1); // ragged now and then
        trainers
            .get(trainer)
            .step(samples, rows, batch, trainer == 0 ? null : weights, 1e-3, steps);
        steps++;
      }
    }

    private static long collections() {
      return ManagementFactory.getGarbageCollectorMXBeans().stream()
          .mapToLong(GarbageCollectorMXBean::getCollectionCount)
          .sum();
    }

    public static void main(String[] arguments) {
      Soak soak = new Soak();
      ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
      long me = Thread.currentThread().getId();
      soak.run(Integer.parseInt(arguments[0]));
      System.gc();
      long tasks = ProcessMemory.threads();
      long live = Device.liveBytes();
      long collections = collections();
      long resident = ProcessMemory.resident();
      long allocated = threads.getThreadAllocatedBytes(me);
      int steps = Integer.parseInt(arguments[1]);
      soak.run(steps);
      System.out.println("allocated=" + (threads.getThreadAllocatedBytes(me) - allocated));
      System.out.println("resident=" + resident);
      System.out.println("growth=" + (ProcessMemory.resident() - resident));
      System.out.println("collections=" + (collections() - collections));
      System.out.println("live=" + (Device.liveBytes() - live));
      System.out.println("threads=" + (ProcessMemory.threads() - tasks));
      System.out.println("loss=" + soak.trainers.get(0).lastLoss());
      soak.trainers.forEach(Trainer::close);
      soak.samples.close();
      soak.device.close();
    }
  }

  @Test
  void stepsLeaveNoTrace() throws Exception {
    int steps = 5000;
    ForkedJvm.End end =
        ForkedJvm.named("steady-state")
            // The growth of the JVM itself is not meant: all of its heap is there from the start,
            // and the compiler is frugal.
            .with(
                "-Xms64m",
                "-Xmx64m",
                "-XX:+AlwaysPreTouch",
                "-XX:TieredStopAtLevel=1",
                "-XX:-UseDynamicNumberOfCompilerThreads")
            .run(120, Soak.class, "2000", Integer.toString(steps));
    assertEquals(0, end.exit(), end.toString());
    Map<String, String> figures =
        end.output()
            .lines()
            .filter(line -> line.matches("[a-z]+=.*"))
            .collect(Collectors.toMap(line -> line.split("=")[0], line -> line.split("=")[1]));
    System.out.println("steady state: " + figures);
    // The first call of the bean itself allocates a little; a step that did would show 5,000 times.
    assertTrue(Long.parseLong(figures.get("allocated")) < steps, end.toString());
    assertEquals("0", figures.get("collections"), end.toString());
    assertEquals("0", figures.get("live"), end.toString());
    assertEquals("0", figures.get("threads"), end.toString());
    assertTrue(
        Long.parseLong(figures.get("growth")) <= 0.01 * Long.parseLong(figures.get("resident")),
        end.toString());
    assertTrue(Double.isFinite(Double.parseDouble(figures.get("loss"))), end.toString());
  }
}
