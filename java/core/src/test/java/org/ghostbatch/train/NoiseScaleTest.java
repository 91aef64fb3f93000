package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.function.UnaryOperator;
import java.util.stream.IntStream;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Engine;
import org.ghostbatch.device.LossResult;
import org.ghostbatch.device.NormMode;
import org.ghostbatch.device.Samples;
import org.ghostbatch.device.StepSpec;
import org.ghostbatch.io.Json;
import org.ghostbatch.nn.Models;
import org.ghostbatch.nn.Network;
import org.ghostbatch.nn.Sequential;
import org.ghostbatch.optim.BatchRule;
import org.ghostbatch.optim.BatchSchedule;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The noise scale against problems where it is known, and runs whose batch follows it. */
class NoiseScaleTest {
  private static final Dataset TRAIN = TinyData.of(410, 1);

  /** Gradients G + noise with variances 1 to 2 in each direction, as single samples have them. */
  private static final class Gaussian {
    static final int LENGTH = 40;

    final Random random;
    final double[] gradient = new double[LENGTH];
    double trace;

    Gaussian(long seed, double length) {
      random = new Random(seed);
      Arrays.fill(gradient, length / Math.sqrt(LENGTH));
      for (int i = 0; i < LENGTH; i++) {
        trace += variance(i);
      }
    }

    static double variance(int i) {
      return 1 + (double) i / (LENGTH - 1);
    }

    /** A batch of parts of so many samples each. */
    void update(NoiseScaleEstimator estimator, int... parts) {
      double squares = 0;
      int batch = Arrays.stream(parts).sum();
      double[] mean = new double[LENGTH];
      for (int rows : parts) {
        for (int i = 0; i < LENGTH; i++) {
          double g = gradient[i] + Math.sqrt(variance(i) / rows) * random.nextGaussian();
          squares += rows * g * g;
          mean[i] += g * rows / batch;
        }
      }
      estimator.add(squares, parts.length, batch, UpdaterTest.Formula.norm(mean));
    }
  }

  @Test
  void oneUpdateIsTheFormulaOfTwoBatchSizes() {
    NoiseScaleEstimator estimator = new NoiseScaleEstimator();
    // Eight parts of 16: Q / 128 is the mean square of a small batch's gradient.
    double small = 3;
    double big = 2;
    estimator.add(128 * small, 8, 128, Math.sqrt(big));
    NoiseScale noise = estimator.estimate();
    assertEquals((128 * big - 16 * small) / (128 - 16), noise.gradientSquare(), 1e-12);
    assertEquals((small - big) / (1. / 16 - 1. / 128), noise.covarianceTrace(), 1e-12);
    assertEquals(1, noise.updates());
    assertTrue(Double.isNaN(noise.scale()), "an update alone has no scatter");
    estimator.add(1000, 3, 128, 1);
    assertEquals(noise, estimator.estimate(), "three parts are too few");
  }

  @ParameterizedTest
  @ValueSource(doubles = {0.3, 1, 5})
  void gaussiansHaveTheirScaleWithinTheInterval(double length) {
    int within = 0;
    double sum = 0;
    int runs = 300;
    for (int run = 0; run < runs; run++) {
      Gaussian gaussian = new Gaussian(run, length);
      NoiseScaleEstimator estimator = new NoiseScaleEstimator();
      for (int update = 0; update < 400; update++) {
        gaussian.update(estimator, 40, 40, 30, 50, 25, 7);
      }
      double truth = gaussian.trace / (length * length);
      NoiseScale noise = estimator.estimate();
      within += noise.low() <= truth && truth <= noise.high() ? 1 : 0;
      assertTrue(noise.low() <= noise.scale() && noise.scale() <= noise.high(), noise.toString());
      sum += noise.gradientSquare() / noise.covarianceTrace() * truth / runs;
    }
    assertEquals(1, sum, 0.02);
    assertTrue(within >= 0.91 * runs && within <= 0.985 * runs, within + " of " + runs);
  }

  @Test
  void hiddenGradientsHaveALeastScale() {
    Gaussian gaussian = new Gaussian(4, 0.0);
    NoiseScaleEstimator estimator = new NoiseScaleEstimator();
    double low = 0;
    int unknown = 0;
    for (int update = 0; update < 200; update++) {
      gaussian.update(estimator, 8, 8, 8, 8);
      NoiseScale noise = estimator.estimate();
      unknown += Double.isNaN(noise.scale()) ? 1 : 0;
      low = noise.low();
    }
    assertTrue(unknown > 20 && unknown < 200, unknown + " without a scale");
    assertTrue(low > 100, "at least " + low);
    assertEquals(Double.POSITIVE_INFINITY, estimator.estimate().high());
    assertEquals(
        "unknown (at least 410)", new NoiseScale(Double.NaN, 410, 1 / 0., -1, 1, 9).toString());
    assertEquals("530 (410-700)", new NoiseScale(530, 410, 700, 1, 530, 9).toString());
    NoiseScale none = new NoiseScaleEstimator().estimate();
    assertTrue(Double.isNaN(none.scale()) && none.low() == 0 && none.updates() == 0);
  }

  @Test
  void jsonBringsItBack() {
    Gaussian gaussian = new Gaussian(1, 1);
    NoiseScaleEstimator estimator = new NoiseScaleEstimator();
    for (int update = 0; update < 10; update++) {
      gaussian.update(estimator, 8, 8, 8, 8);
    }
    NoiseScaleEstimator again =
        NoiseScaleEstimator.fromJson(Json.parseObject(Json.write(estimator.toJson())));
    assertEquals(estimator.estimate(), again.estimate());
    gaussian.update(estimator, 9, 8, 8, 8);
    assertFalse(estimator.estimate().equals(again.estimate()));
    for (String text :
        new String[] {
          "{\"updates\": 1, \"sums\": [1]}", "{\"updates\": 1, \"sums\": [\"x\",1,1,1,1]}"
        }) {
      assertThrows(
          IllegalArgumentException.class,
          () -> NoiseScaleEstimator.fromJson(Json.parseObject(text)));
    }
  }

  /** Softmax regression at its first weights: the gradient of each sample, in double. */
  @Test
  void aNetworksScaleIsThatOfItsSamplesGradients() {
    int count = 2000;
    byte[][] images = TinyData.images(count, 1);
    NoiseScale noise;
    double[] w;
    try (Device device = Device.of("cpu", 2);
        Trainer trainer =
            Trainer.of(Models.softmax(4))
                .batchSize(250)
                .microBatch(50)
                .learningRate(0)
                .epochs(200)
                .measureNoise(true)
                .checkpointEvery(CheckpointInterval.NONE)
                .on(device)) {
      trainer.fit(TinyData.of(count, 1), null);
      noise = trainer.noiseScale();
      w = trainer.model().parameters();
    }
    assertEquals(200, noise.updates(), "every eighth");
    double[] mean = new double[w.length];
    double squares = 0;
    for (int s = 0; s < count; s++) {
      double[] x = new double[64];
      for (int i = 0; i < 64; i++) {
        x[i] = ((images[s][i] & 255) / 255. - 0.3) / 0.2;
      }
      double[] p = new double[4];
      double sum = 0;
      for (int o = 0; o < 4; o++) {
        p[o] = w[256 + o];
        for (int i = 0; i < 64; i++) {
          p[o] += w[o * 64 + i] * x[i];
        }
        p[o] = Math.exp(p[o]);
        sum += p[o];
      }
      for (int o = 0; o < 4; o++) {
        double g = p[o] / sum - (s % 4 == o ? 1 : 0);
        squares += g * g / count;
        mean[256 + o] += g / count;
        for (int i = 0; i < 64; i++) {
          squares += g * x[i] * g * x[i] / count;
          mean[o * 64 + i] += g * x[i] / count;
        }
      }
    }
    double norm = UpdaterTest.Formula.norm(mean);
    // Batches are drawn without replacement: as if from a larger set of this covariance.
    double trace = (squares - norm * norm) * count / (count - 1);
    double square = norm * norm - trace / count;
    assertEquals(trace, noise.covarianceTrace(), 0.02 * trace);
    assertEquals(square, noise.gradientSquare(), 0.05 * square);
    assertEquals(trace / square, noise.scale(), 0.06 * trace / square);
    assertTrue(noise.low() < trace / square && trace / square < noise.high(), noise.toString());
  }

  /** With batch norm: what one batch shows is how the gradients of batches scatter. */
  @Test
  void ghostsAreIndependentDraws() {
    int batches = 300;
    try (Device device = Device.of("cpu", 2);
        Samples samples = device.samples(DataType.U8, TRAIN.count(), 8, 8, 1, 4);
        Trainer trainer = builder().on(device)) {
      new SampleCopy(TRAIN).copy(IntStream.range(0, TRAIN.count()).toArray(), 0, 410, samples);
      trainer.prepare(TRAIN);
      Engine engine = trainer.engine();
      NoiseScaleEstimator estimator = new NoiseScaleEstimator();
      Random random = new Random(1);
      double[] mean = new double[(int) engine.gradients().elements()];
      double squares = 0;
      for (int i = 0; i < batches; i++) {
        int[] rows = random.ints(64, 0, TRAIN.count()).toArray();
        StepSpec step = new StepSpec().ghost(16).step(i).partNorms(true);
        engine.step(samples, rows, 64, null, step, null, null, new LossResult());
        double[] g = engine.gradients().toDoubles();
        double norm = UpdaterTest.Formula.norm(g);
        squares += norm * norm / batches;
        for (int k = 0; k < g.length; k++) {
          mean[k] += g[k] / batches;
        }
        estimator.add(engine.partSquares(), engine.parts(), 64, norm);
      }
      double norm = UpdaterTest.Formula.norm(mean);
      double trace = 64 * (squares - norm * norm) * batches / (batches - 1);
      assertEquals(trace, estimator.estimate().covarianceTrace(), 0.1 * trace);
    }
  }

  @Test
  void thePlanKnowsTheEnginesParts() {
    Map<Integer, Integer> counts = new TreeMap<>();
    try (Device device = Device.of("cpu", 2);
        Samples samples = device.samples(DataType.U8, TRAIN.count(), 8, 8, 1, 4)) {
      int[] all = IntStream.range(0, TRAIN.count()).toArray();
      new SampleCopy(TRAIN).copy(all, 0, all.length, samples);
      LossResult result = new LossResult();
      for (Sequential layers : List.of(TinyData.convolutional(), TinyData.withoutNorm())) {
        for (int ghost : new int[] {0, 8, 21, 64}) {
          if (ghost == 0 && layers.equals(TinyData.convolutional())) {
            continue; // refused
          }
          for (int microBatch : new int[] {5, 16, 50, 128}) {
            try (Trainer trainer =
                Trainer.of(layers)
                    .batchSize(400)
                    .ghostBatchSize(ghost)
                    .microBatch(microBatch)
                    .epochs(1)
                    .on(device)) {
              trainer.prepare(TRAIN);
              Engine engine = trainer.engine();
              StepSpec step = new StepSpec().ghost(ghost).mode(NormMode.TRAIN);
              for (int rows : new int[] {400, 399, 120, 64, 16, 3}) {
                engine.step(samples, all, rows, null, step, null, null, result);
                assertEquals(
                    engine.parts(),
                    trainer.plan().parts(trainer.network(), microBatch, rows),
                    "ghost " + ghost + ", micro-batch " + microBatch + ", rows " + rows);
                counts.merge(engine.parts(), 1, Integer::sum);
              }
            }
          }
        }
      }
    }
    assertTrue(counts.size() > 10, counts.toString());
  }

  private static Trainer.Builder builder() {
    return Trainer.of(TinyData.convolutional())
        .batchSize(64)
        .ghostBatchSize(16)
        .microBatch(16)
        .epochs(2)
        .learningRate(0.02);
  }

  private static double[] trained(Trainer.Builder builder, int threads) {
    try (Device device = Device.of("cpu", threads);
        Trainer trainer = builder.on(device)) {
      trainer.fit(TRAIN, null);
      return trainer.model().parameters();
    }
  }

  @Test
  void measuringChangesNoBits() {
    assertArrayEquals(trained(builder(), 2), trained(builder().measureNoise(true), 2));
    assertArrayEquals(
        trained(builder().sam(0.1), 2), trained(builder().sam(0.1).measureNoise(true), 2));
  }

  /** Of an update at the first weights, whatever its rule goes on to do. */
  @Test
  void rulesAreMeasuredAtTheWeights() {
    NoiseScale plain = first(b -> b);
    assertEquals(1, plain.updates());
    assertTrue(plain.covarianceTrace() > 0);
    assertEquals(plain, first(b -> b.sam(0.5)));
    assertEquals(plain, first(b -> b.asam(2)));
    assertEquals(plain, first(b -> b.proximal(1)));
  }

  private static NoiseScale first(UnaryOperator<Trainer.Builder> rule) {
    try (Device device = Device.of("cpu", 2);
        Trainer trainer = rule.apply(builder().updates(3).measureNoise(true)).on(device)) {
      trainer.fit(TRAIN, null);
      return trainer.noiseScale();
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "256 | -1 | 256 | got 1: batch 256, micro-batch 256; micro-batch 64 gives 4",
        "256 | 64 | 128 | got 2: batch 256, ghost 64, micro-batch 128; micro-batch 64 gives 4",
        "96 | 32 | 8 | got 3: batch 96, ghost 32, micro-batch 8; a batch of at least 128 or smaller ghosts give as many",
        "3 | -1 | 1 | got 3: batch 3, micro-batch 1; a batch of at least 4 can have as many"
      })
  void tooFewPartsAreRefused(int batch, int ghost, int microBatch, String got) {
    try (Device device = Device.of("cpu", 1);
        Trainer trainer =
            Trainer.of(ghost < 0 ? TinyData.withoutNorm() : TinyData.convolutional())
                .batchSize(batch)
                .ghostBatchSize(Math.max(0, ghost))
                .microBatch(microBatch)
                .epochs(1)
                .measureNoise(true)
                .on(device)) {
      var error = assertThrows(IllegalArgumentException.class, () -> trainer.prepare(TRAIN));
      assertEquals(
          "[trainer] needs at least 4 micro-batches an update for the noise scale, " + got,
          error.getMessage());
    }
  }

  @Test
  void whatCannotBeMeasuredIsSaid() {
    try (Device device = Device.of("cpu", 1)) {
      var groups =
          assertThrows(
              IllegalArgumentException.class,
              () -> builder().sam(0.1).samGroup(32).measureNoise(true).on(device));
      assertTrue(groups.getMessage().contains("no SAM groups"), groups.getMessage());
      try (Trainer trainer = builder().on(device)) {
        trainer.prepare(TRAIN);
        assertThrows(IllegalStateException.class, trainer::noiseScale);
      }
      for (int ghost : new int[] {0, 400}) {
        try (Trainer trainer = builder().ghostBatchSize(ghost).measureNoise(true).on(device)) {
          var shared = assertThrows(IllegalArgumentException.class, () -> trainer.prepare(TRAIN));
          assertTrue(
              shared.getMessage().endsWith("got plain batch norm; ghosts of 16 are"),
              shared.getMessage());
        }
      }
      try (Trainer trainer =
          builder().batchSize(400).ghostBatchSize(300).measureNoise(true).on(device)) {
        var shared = assertThrows(IllegalArgumentException.class, () -> trainer.prepare(TRAIN));
        assertTrue(
            shared.getMessage().endsWith("got ghosts of 300; ghosts of 64 are"),
            shared.getMessage());
      }
    }
  }

  /** A run whose batch follows the scale, with what was decided and logged. */
  private record Followed(History history, List<Integer> wanted, double[] weights) {}

  private static Followed follow(BatchSchedule schedule, int threads) {
    List<Integer> wanted = new ArrayList<>(List.of(schedule.first()));
    try (Device device = Device.of("cpu", threads);
        Trainer trainer =
            Trainer.of(TinyData.convolutional())
                .batchSize(schedule)
                .ghostBatchSize(4)
                .learningRate(0.02, BatchRule.linearFrom(schedule.first()))
                .epochs(5)
                .listener(
                    new TrainingListener() {
                      @Override
                      public void onEpochEnd(Trainer trainer, EpochRow row) {
                        NoiseScale noise = trainer.noiseScale();
                        boolean again =
                            schedule.measured() == BatchSchedule.Measured.ONCE && row.epoch() > 1;
                        double scale = Double.isNaN(noise.scale()) ? noise.low() : noise.scale();
                        wanted.add(again ? row.batch() : schedule.next(row.batch(), scale, 4, 410));
                      }
                    })
                .on(device)) {
      History history = trainer.fit(TRAIN, null);
      assertEquals(trainer.totalUpdates(), history.updates());
      return new Followed(history, wanted.subList(0, 5), trainer.model().parameters());
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"auto:16", "noise:16"})
  void batchesFollowTheScale(String text) {
    BatchSchedule schedule = BatchSchedule.parse(text);
    Followed followed = follow(schedule, 2);
    List<Integer> batches = followed.history.epochs().stream().map(EpochRow::batch).toList();
    assertEquals(followed.wanted, batches);
    assertTrue(batches.get(1) > 16, batches.toString());
    long updates = 0;
    for (EpochRow row : followed.history.epochs()) {
      updates += (410 + row.batch() - 1) / row.batch();
      assertEquals(updates, row.updates());
      assertEquals(0.02 * row.batch() / 16, row.learningRate(), 1e-12);
      assertEquals(410L * row.epoch(), row.samples());
    }
    assertArrayEquals(followed.weights, follow(schedule, 1).weights, "on one thread");
  }

  @Test
  void theMicroBatchIsCutForTheBaseBatch() {
    try (Device device = Device.of("cpu", 1)) {
      for (int[] sizes : new int[][] {{128, 8, 32}, {128, 32, 32}, {100, 5, 30}}) {
        try (Trainer trainer =
            Trainer.of(sizes[1] == 0 ? TinyData.withoutNorm() : TinyData.convolutional())
                .batchSize(BatchSchedule.auto(sizes[0]))
                .ghostBatchSize(sizes[1])
                .epochs(2)
                .on(device)) {
          trainer.prepare(TRAIN);
          assertEquals(sizes[2], trainer.engine().microBatch(), Arrays.toString(sizes));
        }
      }
      try (Trainer few =
          Trainer.of(TinyData.convolutional())
              .batchSize(BatchSchedule.noise(64))
              .ghostBatchSize(32)
              .epochs(2)
              .on(device)) {
        assertThrows(IllegalArgumentException.class, () -> few.prepare(TRAIN));
      }
    }
  }

  @Test
  void noGhostIsLeftASingleValue() {
    Network vectors = Network.of(Models.f1(2), new SampleShape(1, 1, 4));
    TrainingSpec spec =
        TrainingSpec.builder().batch(BatchSchedule.auto(20)).ghost(4).epochs(2).build();
    TrainingPlan plan = new TrainingPlan(spec, 401);
    plan.follow(new ArrayList<>(List.of(20)));
    assertEquals(36, plan.next(38, 4, vectors), "of 401 samples 40 leave one alone");
  }
}
