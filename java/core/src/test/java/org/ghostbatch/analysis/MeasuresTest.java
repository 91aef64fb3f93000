package org.ghostbatch.analysis;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.ghostbatch.device.Device;
import org.ghostbatch.nn.ModelFile;
import org.ghostbatch.train.EpochRow;
import org.ghostbatch.train.MeasurePlan;
import org.ghostbatch.train.MeasureRow;
import org.ghostbatch.train.Trainer;
import org.ghostbatch.train.TrainingListener;
import org.junit.jupiter.api.Test;

/** What runs measure is what the analyses of their networks say, and leaves nothing behind. */
class MeasuresTest {
  private static final NormedNetwork NETWORK = new NormedNetwork();

  private static Trainer.Builder builder() {
    return Trainer.of(NETWORK.model().network().layers())
        .batchSize(30)
        .ghostBatchSize(10)
        .learningRate(0.05)
        .epochs(3)
        .seed(4);
  }

  /** The figures of the network as it is, by the analyses themselves. */
  private static Map<String, Double> expected(Device device, ModelFile model, int samples) {
    NetworkLossSpec spec = NetworkLossSpec.running(10).withSamples(samples);
    try (NetworkLoss f = NetworkLoss.of(device, model, NETWORK.data(), spec)) {
      f.recomputeStatistics(f.start(), NETWORK.data());
      try (Sharpness sharpness = Sharpness.full(f, Box.ABSOLUTE, 1, Progress.NONE);
          Hessian hessian = Hessian.at(f, f.start(), 1, Progress.NONE);
          Eigenvalues ends = hessian.eigenvalues(1, 1, 1e-3, 60, 1, Progress.NONE)) {
        Estimate trace = hessian.trace(10, 1, Progress.NONE);
        return Map.of(
            "sharpness_1e-3_strong",
            sharpness.strong(1e-3, 1).orPublished(sharpness.published(1e-3)).sharpness(),
            "sharpness_1e-3_published",
            sharpness.published(1e-3).sharpness(),
            "hessian_largest",
            ends.largest().get(0).value(),
            "hessian_smallest",
            ends.smallest().get(0).value(),
            "hessian_residual",
            Math.max(ends.largest().get(0).residual(), ends.smallest().get(0).residual()),
            "hessian_trace",
            trace.mean(),
            "hessian_trace_error",
            trace.standardError(),
            "hessian_error",
            hessian.error());
      }
    }
  }

  /** Keeps the network of each epoch, and looks at the memory. */
  private static final class Watcher implements TrainingListener {
    private final List<ModelFile> models = new ArrayList<>();
    private long before;
    private long meanwhile;
    private int seen;

    @Override
    public void onEpochEnd(Trainer trainer, EpochRow row) {
      models.add(trainer.model());
      before = Device.liveBytes();
    }

    @Override
    public void onMeasuring(Trainer trainer, String measure, String what, long done, long of) {
      meanwhile = Math.max(meanwhile, Device.liveBytes());
    }

    @Override
    public void onMeasure(Trainer trainer, List<MeasureRow> rows) {
      assertEquals(before, Device.liveBytes(), "memory is left behind");
      seen++;
    }
  }

  @Test
  void figuresAreThoseOfTheAnalyses() {
    for (int samples : new int[] {0, 50}) {
      Watcher watcher = new Watcher();
      try (Device device = Device.of("cpu", 2);
          Trainer trainer =
              builder()
                  .ema(0.9) // the last figures are of the weights too, not of their average
                  .measure("sharpness", 2, Measures::sharpness)
                  .measure("hessian", 3, Measures::hessian)
                  .measureSamples(samples)
                  .listener(watcher)
                  .on(device)) {
        trainer.fit(NETWORK.data(), null);
        assertEquals(3, watcher.seen, "sharpness after 2 and 3, hessian after 3");
        assertTrue(watcher.meanwhile > watcher.before);
        List<MeasureRow> rows = trainer.measured();
        assertEquals(2 * 2 + 6, rows.size());
        List<Map<String, Double>> expected =
            watcher.models.stream().map(model -> expected(device, model, samples)).toList();
        for (MeasureRow row : rows) {
          assertEquals(expected.get(row.epoch() - 1).get(row.name()), row.value(), row.toString());
          assertTrue(Double.isFinite(row.value()), row.toString());
        }
      }
    }
  }

  private static List<Object> trained(Trainer.Builder builder, int threads) {
    try (Device device = Device.of("cpu", threads);
        Trainer trainer = builder.on(device)) {
      trainer.fit(NETWORK.data(), null);
      return List.of(
          trainer.measured(),
          List.of(
              Arrays.toString(trainer.model().parameters()),
              Arrays.toString(trainer.model().statistics())));
    }
  }

  private static Trainer.Builder measured() {
    return Measures.addTo(builder().sam(0.05), MeasurePlan.parse("sharpness@1,hessian@2"));
  }

  @Test
  void trainingHasTheSameBitsWithAndWithoutAndOnAnyThreads() {
    List<Object> plain = trained(builder().sam(0.05), 2);
    List<Object> one = trained(measured(), 1);
    List<Object> two = trained(measured(), 2);
    assertEquals(List.of(), plain.get(0));
    assertEquals(3 * 2 + 2 * 6, ((List<?>) one.get(0)).size());
    assertEquals(plain.get(1), one.get(1));
    assertEquals(one, two);
  }

  @Test
  void aStopLeavesNoMemoryBehind() {
    long live = Device.liveBytes();
    long[] before = new long[1];
    for (String measure : List.of("hessian", "sharpness")) {
      for (int step : new int[] {0, 1, 5, 20}) {
        int[] heard = new int[1];
        try (Device device = Device.of("cpu", 2);
            Trainer trainer =
                Measures.addTo(builder(), MeasurePlan.parse(measure))
                    .listener(
                        new TrainingListener() {
                          @Override
                          public void onEpochEnd(Trainer trainer, EpochRow row) {
                            before[0] = Device.liveBytes();
                          }

                          @Override
                          public void onMeasuring(
                              Trainer trainer, String name, String what, long done, long of) {
                            if (heard[0]++ == step) {
                              trainer.stop();
                            }
                          }

                          @Override
                          public void onCheckpoint(Trainer trainer) {
                            assertEquals(before[0], Device.liveBytes(), measure + " at " + step);
                          }
                        })
                    .on(device)) {
          assertTrue(trainer.fit(NETWORK.data(), null).stopped());
          assertEquals(List.of(), trainer.measured());
          assertEquals(step + 1, heard[0]);
        }
      }
    }
    assertEquals(live, Device.liveBytes());
  }

  @Test
  void namesThatAreNotKnownAreRefusedWithThoseThatAre() {
    var error =
        assertThrows(
            IllegalArgumentException.class,
            () -> Measures.addTo(builder(), MeasurePlan.parse("sharpness,flatness")));
    assertEquals(
        "[measures] needs one of " + Measures.NAMES + ", got flatness", error.getMessage());
    assertTrue(Measures.NAMES.containsAll(List.of("hessian", "sharpness")));
  }
}
