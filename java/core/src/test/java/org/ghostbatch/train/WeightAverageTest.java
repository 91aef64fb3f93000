package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Lanes;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;
import org.ghostbatch.nn.ModelFile;
import org.ghostbatch.optim.BatchSchedule;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** EMA and SWA against their formulas in plain doubles. */
class WeightAverageTest {
  /** Two blocks and a bit. */
  private static final int N = 140_000;

  private static final int UPDATES = 60;
  private static final int PER_EPOCH = 10;

  private static TrainingSpec spec(double ema, int swaFrom) {
    return TrainingSpec.builder()
        .model("softmax")
        .batch(BatchSchedule.constant(10))
        .epochs(1)
        .ema(ema)
        .swaFrom(swaFrom)
        .build();
  }

  /** Weights after {@code update} updates, as f32 holds them. */
  private static double[] weights(int update) {
    SplittableRandom random = new SplittableRandom(update);
    double[] values = new double[N];
    for (int i = 0; i < N; i++) {
      values[i] = (float) (random.nextDouble() + i % 7 - 3);
    }
    return values;
  }

  private static double[] run(String backend, DataType type, int threads, TrainingSpec spec) {
    try (Device device = Device.of(backend);
        Lanes lanes = device.lanes(threads);
        VectorKernels vectors = device.vectors(lanes);
        Tensor now = device.tensor(type, N)) {
      now.copyFrom(weights(0));
      WeightAverage average = WeightAverage.of(spec, device, vectors, now);
      for (int update = 1; update <= UPDATES; update++) {
        if (update == UPDATES / 2) {
          // A checkpoint: all state into one that has seen other weights.
          WeightAverage next = WeightAverage.of(spec, device, vectors, now);
          for (int i = 0; i < average.state().size(); i++) {
            assertEquals(average.state().get(i).name(), next.state().get(i).name());
            next.state().get(i).tensor().copyFrom(average.state().get(i).tensor().toDoubles());
          }
          next.count(average.count());
          average.close();
          average = next;
        }
        now.copyFrom(weights(update));
        average.afterUpdate(now);
        if (update % PER_EPOCH == 0) {
          average.afterEpoch(update / PER_EPOCH, now);
        }
      }
      assertEquals(spec.ema() > 0 ? UPDATES : 6 - spec.swaFrom(), average.count());
      double[] mean = average.weights().toDoubles();
      average.close();
      return mean;
    }
  }

  @ParameterizedTest
  @CsvSource({"cpu,F32,3e-6", "cpu,F64,1e-13", "reference,F32,3e-6", "reference,F64,1e-13"})
  void movingAverage(String backend, DataType type, double tolerance) {
    double[] mean = weights(0);
    for (int update = 1; update <= UPDATES; update++) {
      double[] now = weights(update);
      for (int i = 0; i < N; i++) {
        mean[i] = 0.93 * mean[i] + 0.07 * now[i];
      }
    }
    assertArrayEquals(mean, run(backend, type, 2, spec(0.93, -1)), tolerance);
  }

  @ParameterizedTest
  @CsvSource({"cpu,F32,0,3e-6", "cpu,F64,4,1e-13", "reference,F32,3,3e-6", "cpu,F32,5,0"})
  void stochasticWeightAverage(String backend, DataType type, int from, double tolerance) {
    double[] mean = new double[N];
    for (int epoch = from + 1; epoch <= 6; epoch++) {
      double[] now = weights(epoch * PER_EPOCH);
      for (int i = 0; i < N; i++) {
        mean[i] += now[i] / (6 - from);
      }
    }
    assertArrayEquals(mean, run(backend, type, 2, spec(0, from)), tolerance);
  }

  @Test
  void sameBitsOnAnyNumberOfThreads() {
    for (TrainingSpec spec : new TrainingSpec[] {spec(0.99, -1), spec(0, 2)}) {
      double[] one = run("cpu", DataType.F32, 1, spec);
      assertArrayEquals(one, run("cpu", DataType.F32, 2, spec));
      assertArrayEquals(one, run("cpu", DataType.F32, 5, spec));
    }
  }

  @Test
  void weightsThatStandStillAreTheirAverage() {
    try (Device device = Device.of("cpu");
        VectorKernels vectors = device.vectors(null);
        Tensor now = device.tensor(DataType.F32, N)) {
      now.copyFrom(weights(3));
      try (WeightAverage average = WeightAverage.of(spec(0.9999, -1), device, vectors, now)) {
        for (int update = 0; update < 1000; update++) {
          average.afterUpdate(now);
        }
        assertArrayEquals(weights(3), average.weights().toDoubles());
      }
      assertNull(WeightAverage.of(spec(0, -1), device, vectors, now));
    }
  }

  /** Weights that a run had: the first, then those after every update, or after every epoch. */
  private record Course(List<double[]> weights, History history, ModelFile model) {}

  private static Course fit(double ema, int swaFrom, boolean updates) {
    List<double[]> weights = new ArrayList<>();
    TrainingListener listener =
        new TrainingListener() {
          @Override
          public void onStart(Trainer trainer) {
            weights.add(trainer.model().parameters());
          }

          @Override
          public void onUpdate(Trainer trainer) {
            if (updates) {
              weights.add(trainer.model().parameters());
            }
          }

          @Override
          public void onEpochEnd(Trainer trainer, EpochRow row) {
            if (!updates) {
              weights.add(trainer.model().parameters());
            }
          }
        };
    try (Device device = Device.of("cpu");
        Trainer trainer =
            Trainer.of(TinyData.convolutional())
                .batchSize(50)
                .ghostBatchSize(25)
                .learningRate(0.1)
                .epochs(4)
                .ema(ema)
                .swaFrom(swaFrom)
                .listener(listener)
                .on(device)) {
      History history = trainer.fit(TinyData.of(200, 1), TinyData.of(100, 2));
      assertEquals(trainer.evaluate(TinyData.of(100, 2)), history.test());
      assertEquals(ema > 0 || swaFrom >= 0, trainer.averaged());
      ModelFile model = trainer.model();
      trainer.recomputeStatistics(TinyData.of(200, 1));
      assertEquals(
          ema > 0 || swaFrom >= 0,
          Arrays.equals(trainer.model().statistics(), model.statistics()),
          "only statistics of averages are recomputed");
      return new Course(weights, history, model);
    }
  }

  @Test
  void aRunEndsWithItsAverage() {
    Course plain = fit(0, -1, true);
    Course ema = fit(0.8, -1, true);
    double[] mean = ema.weights.get(0);
    for (double[] now : ema.weights.subList(1, ema.weights.size())) {
      for (int i = 0; i < mean.length; i++) {
        mean[i] = 0.8 * mean[i] + 0.2 * now[i];
      }
    }
    assertEquals(17, ema.weights.size());
    assertArrayEquals(mean, ema.model.parameters(), 1e-6);

    Course swa = fit(0, 2, false);
    double[] third = swa.weights.get(3);
    double[] fourth = swa.weights.get(4);
    double[] both = new double[third.length];
    for (int i = 0; i < both.length; i++) {
      both[i] = (third[i] + fourth[i]) / 2;
    }
    assertArrayEquals(both, swa.model.parameters(), 1e-6);

    // The run itself does not see it.
    for (int epoch = 0; epoch < 4; epoch++) {
      for (Course course : List.of(ema, swa)) {
        EpochRow row = course.history.epochs().get(epoch);
        assertEquals(plain.history.epochs().get(epoch).testLoss(), row.testLoss());
        assertEquals(plain.history.epochs().get(epoch).weightDistance(), row.weightDistance());
      }
    }
    assertArrayEquals(plain.weights.get(16), fourth);
  }

  @Test
  void aRunThatEndsBeforeItsAverageIsRefused() {
    var error = assertThrows(IllegalArgumentException.class, () -> fit(0, 4, false));
    assertTrue(error.getMessage().contains("a whole epoch behind the first 4"), error.getMessage());
  }
}
