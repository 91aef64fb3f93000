package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.UnaryOperator;
import java.util.stream.IntStream;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.Augmentation;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.LossResult;
import org.ghostbatch.device.Samples;
import org.ghostbatch.device.SgdStep;
import org.ghostbatch.device.StepSpec;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.nn.Dropout;
import org.ghostbatch.nn.Sequential;
import org.ghostbatch.optim.Adam;
import org.ghostbatch.optim.BatchRule;
import org.ghostbatch.optim.BatchSchedule;
import org.ghostbatch.optim.Lamb;
import org.ghostbatch.optim.Lars;
import org.ghostbatch.optim.Optimizer;
import org.ghostbatch.optim.Schedule;
import org.ghostbatch.optim.Sgd;
import org.ghostbatch.random.Shuffle;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(300)
class TrainerTest {
  private static final Dataset TRAIN = TinyData.of(410, 1);
  private static final Dataset TEST = TinyData.of(200, 2);

  @TempDir Path folder;

  private static Trainer.Builder builder(Sequential layers) {
    return Trainer.of(layers)
        .batchSize(100)
        .ghostBatchSize(32)
        .optimizer(Sgd.withMomentum(0.9).weightDecay(1e-4))
        .learningRate(0.05)
        .epochs(3)
        .seed(7);
  }

  private record Outcome(double[] parameters, double[] statistics, History history) {}

  private static Outcome fit(String backend, Dataset train, Trainer.Builder builder) {
    try (Device device = Device.of(backend, 2);
        Trainer trainer = builder.on(device)) {
      History history = trainer.fit(train, TEST);
      return new Outcome(trainer.model().parameters(), trainer.model().statistics(), history);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"cpu", "reference"})
  void learns(String backend) {
    History history = fit(backend, TRAIN, builder(TinyData.convolutional()).epochs(4)).history;
    EpochRow first = history.epochs().get(0);
    EpochRow last = history.last();
    assertTrue(last.trainLoss() < 0.5 * first.trainLoss(), first + " " + last);
    assertTrue(history.train().accuracy() > 0.9, history.toString());
    assertTrue(history.test().accuracy() > 0.9, history.toString());
    assertEquals(4, history.epochs().size());
    assertEquals(20, history.updates());
    assertEquals(1640, last.samples());
    assertEquals(20, last.updates());
    assertEquals(history.test().accuracy(), last.testAccuracy());
    assertFalse(history.stopped());
    assertTrue(last.weightDistance() > 0 && last.gradientNorm() > 0 && last.imagesPerSecond() > 0);
    assertEquals(history.weightDistance(), last.weightDistance());
  }

  @Test
  void optimizersLearn() {
    for (Optimizer optimizer :
        List.of(
            Sgd.of(),
            Sgd.withMomentum(0.9).nesterov(true),
            Adam.of(),
            Adam.ofDecoupled(),
            Lars.of().trust(0.1),
            Lamb.of())) {
      double rate =
          optimizer instanceof Adam
              ? 3e-3
              : optimizer instanceof Lars ? 0.3 : optimizer instanceof Lamb ? 0.02 : 0.05;
      History history =
          fit(
                  "cpu",
                  TRAIN,
                  builder(TinyData.withoutNorm()).optimizer(optimizer).learningRate(rate).epochs(8))
              .history;
      assertTrue(history.train().accuracy() > 0.8, optimizer + " " + history.train());
    }
  }

  @Test
  void sameBitsOnAnyNumberOfThreads() {
    List<UnaryOperator<Trainer.Builder>> kinds =
        List.of(
            b -> b.augmentation(Augmentation.PAD_CROP_FLIP).ghostBatchSize(24),
            b -> b.ghostBatchSize(0).batchSize(205),
            b -> b.optimizer(Lars.of().trust(0.02).weightDecay(1e-3)).ema(0.9),
            b -> b.optimizer(Lamb.of()).learningRate(0.01).swaFrom(0),
            b -> b.gradientNoise(0.5).clipGradientNorm(0.1).labelSmoothing(0.1).microBatch(32),
            b -> b.sam(0.05).samGroup(64).gradientNoise(0.1),
            b -> b.asam(0.5),
            b -> b.proximal(0.1).optimizer(Adam.of()).learningRate(0.003),
            b -> b.adversarial(0.1).augmentation(Augmentation.FLIP).gradientNoise(0.1));
    for (Sequential layers : List.of(TinyData.convolutional(), TinyData.withoutNorm())) {
      for (UnaryOperator<Trainer.Builder> kind : kinds) {
        Outcome one = fit("cpu", TRAIN, kind.apply(builder(layers)).threads(1));
        for (int threads : new int[] {2, 5}) {
          Outcome many = fit("cpu", TRAIN, kind.apply(builder(layers)).threads(threads));
          assertArrayEquals(one.parameters, many.parameters, threads + " threads");
          assertArrayEquals(one.statistics, many.statistics, threads + " threads");
          assertEquals(one.history.last().trainLoss(), many.history.last().trainLoss());
          assertEquals(one.history.test(), many.history.test());
        }
      }
    }
  }

  @Test
  void stepsOfOnesOwnEqualFit() {
    Outcome fitted =
        fit("cpu", TRAIN, builder(TinyData.convolutional()).augmentation(Augmentation.FLIP));
    try (Device device = Device.of("cpu", 2);
        Trainer trainer =
            builder(TinyData.convolutional()).augmentation(Augmentation.FLIP).on(device)) {
      trainer.prepare(TRAIN);
      Samples samples = device.samples(DataType.U8, TRAIN.count(), 8, 8, 1, 4);
      byte[][] images = TinyData.images(TRAIN.count(), 1);
      for (int i = 0; i < TRAIN.count(); i++) {
        samples.write(i, 1, images[i]);
        samples.writeLabels(i, 1, new int[] {i % 4});
      }
      for (int epoch = 0; epoch < trainer.epochs(); epoch++) {
        int[] order = Shuffle.permutation(TRAIN.count(), 7, epoch);
        for (int u = 0; u < trainer.updatesOf(epoch); u++) {
          int from = u * trainer.batchSize(epoch);
          int[] rows =
              Arrays.copyOfRange(
                  order, from, Math.min(order.length, from + trainer.batchSize(epoch)));
          trainer.step(samples, rows, rows.length, null, trainer.learningRate(epoch, u), epoch);
        }
      }
      assertArrayEquals(fitted.parameters, trainer.model().parameters());
      assertArrayEquals(fitted.statistics, trainer.model().statistics());
      assertEquals(fitted.history.test(), trainer.evaluate(TEST));
      assertEquals(trainer.totalUpdates(), trainer.updates());
      assertThrows(IllegalStateException.class, () -> trainer.fit(TRAIN, TEST));
    }
  }

  @Test
  void streamedDataTrainsTheSame() {
    for (Augmentation augmentation :
        List.of(Augmentation.NONE, Augmentation.PAD_CROP_FLIP, Augmentation.AFFINE)) {
      List<Outcome> outcomes = new ArrayList<>();
      for (Dataset data : List.of(TRAIN, TinyData.streamed(TRAIN))) {
        outcomes.add(
            fit("cpu", data, builder(TinyData.convolutional()).augmentation(augmentation)));
      }
      assertArrayEquals(outcomes.get(0).parameters, outcomes.get(1).parameters);
      assertArrayEquals(outcomes.get(0).statistics, outcomes.get(1).statistics);
      assertEquals(outcomes.get(0).history.train(), outcomes.get(1).history.train());
    }
    Dataset broken =
        new ChangedDataset(TinyData.streamed(TRAIN)) {
          @Override
          public int label(int index) {
            throw new IllegalArgumentException("unreadable");
          }
        };
    var error =
        assertThrows(
            IllegalArgumentException.class,
            () -> fit("cpu", broken, builder(TinyData.withoutNorm())));
    assertEquals("unreadable", error.getMessage());
  }

  @Test
  void ghostsOfTheWholeBatchArePlainBatchNorm() {
    Outcome plain = fit("cpu", TRAIN, builder(TinyData.convolutional()).ghostBatchSize(0));
    Outcome whole = fit("cpu", TRAIN, builder(TinyData.convolutional()).ghostBatchSize(100));
    Outcome larger = fit("cpu", TRAIN, builder(TinyData.convolutional()).ghostBatchSize(1000));
    assertArrayEquals(plain.parameters, whole.parameters);
    assertArrayEquals(plain.parameters, larger.parameters);
    assertFalse(
        Arrays.equals(
            plain.parameters, fit("cpu", TRAIN, builder(TinyData.convolutional())).parameters));
  }

  /**
   * Ten updates with B = 1000, V = 96 against ten that run the ghosts one by one and sum their
   * gradients.
   */
  @Test
  void ghostsInOneBatchEqualGhostsOneByOne() {
    Sequential layers =
        new Sequential(
            TinyData.convolutional().layers().stream()
                .filter(layer -> !(layer instanceof Dropout))
                .toList());
    int batch = 1000;
    int ghost = 96;
    double[] exact = null;
    for (String backend : List.of("reference", "cpu")) {
      DataType precision = backend.equals("cpu") ? DataType.F32 : DataType.F64;
      try (Device device = Device.of(backend, 2);
          Samples samples = device.samples(DataType.U8, batch, 8, 8, 1, 4);
          Trainer trainer = tenUpdates(layers, precision).on(device);
          Trainer apart = tenUpdates(layers, precision).on(device)) {
        Dataset data = TinyData.of(batch, 3);
        int[] rows = IntStream.range(0, batch).toArray();
        new SampleCopy(data).copy(rows, 0, batch, samples);
        trainer.prepare(data);
        apart.prepare(data);
        Tensor sum = device.tensor(precision, apart.network().parameterCount());
        Tensor velocity = device.tensor(precision, apart.network().parameterCount());
        StepSpec alone = new StepSpec();
        int ghosts = (batch + ghost - 1) / ghost;
        for (int update = 0; update < 10; update++) {
          trainer.step(samples, rows, batch, null, 0.05, 0);
          apart.vectors().fill(0, sum);
          for (int k = 0, first = 0; k < ghosts; k++) {
            int count = batch / ghosts + (k < batch % ghosts ? 1 : 0);
            int[] own = Arrays.copyOfRange(rows, first, first + count);
            apart.engine().step(samples, own, count, null, alone, null, null, new LossResult());
            apart.vectors().axpy((double) count / batch, apart.engine().gradients(), sum);
            first += count;
          }
          SgdStep step = new SgdStep().rate(0.05).momentum(0.9).weightDecay(1e-4);
          apart.vectors().sgd(step, apart.engine().parameters(), sum, velocity);
          apart.engine().parametersChanged();
        }
        double tolerance = backend.equals("cpu") ? 1e-4 : 1e-11;
        assertArrayEquals(apart.model().parameters(), trainer.model().parameters(), tolerance);
        assertArrayEquals(apart.model().statistics(), trainer.model().statistics(), tolerance);
        if (backend.equals("cpu")) {
          assertArrayEquals(exact, trainer.model().parameters(), tolerance);
        } else {
          exact = trainer.model().parameters();
        }
      }
    }
  }

  private static Trainer.Builder tenUpdates(Sequential layers, DataType precision) {
    return builder(layers).batchSize(1000).ghostBatchSize(96).precision(precision).updates(10);
  }

  @Test
  void backendsAgree() {
    Sequential layers = TinyData.convolutional();
    Outcome cpu = fit("cpu", TRAIN, builder(layers).epochs(1));
    Outcome reference = fit("reference", TRAIN, builder(layers).epochs(1));
    Outcome doubles = fit("reference", TRAIN, builder(layers).epochs(1).precision(DataType.F64));
    assertArrayEquals(reference.parameters, cpu.parameters, 1e-4);
    assertArrayEquals(doubles.parameters, cpu.parameters, 1e-4);
  }

  @Test
  void weightsOfSamplesScaleTheirGradients() {
    float[] ones = new float[TRAIN.count()];
    Arrays.fill(ones, 1);
    Sequential layers = TinyData.withoutNorm();
    Outcome plain = fit("cpu", TRAIN, builder(layers));
    assertArrayEquals(
        plain.parameters, fit("cpu", TRAIN, builder(layers).sampleWeights(ones)).parameters);
    Outcome none =
        fit(
            "cpu",
            TRAIN,
            builder(layers).optimizer(Sgd.of()).sampleWeights(new float[TRAIN.count()]));
    assertEquals(0, none.history.weightDistance());
    Outcome noisy = fit("cpu", TRAIN, builder(layers).gradientNoise(0.5));
    assertFalse(Arrays.equals(plain.parameters, noisy.parameters));
    assertTrue(noisy.history.last().trainLoss() < 1.3);
    assertThrows(
        IllegalArgumentException.class,
        () -> fit("cpu", TRAIN, builder(layers).sampleWeights(new float[3])));
  }

  @Test
  void clippingBoundsTheStep() {
    Outcome clipped =
        fit(
            "cpu",
            TRAIN,
            builder(TinyData.withoutNorm())
                .optimizer(Sgd.of())
                .learningRate(1)
                .clipGradientNorm(0.01)
                .updates(1));
    assertEquals(0.01, clipped.history.weightDistance(), 1e-6);
    assertTrue(clipped.history.last().gradientNorm() > 0.01, "logged before clipping");
  }

  @Test
  void lengthInUpdatesAndBatchesThatGrow() {
    Outcome updates = fit("cpu", TRAIN, builder(TinyData.withoutNorm()).updates(7));
    assertEquals(7, updates.history.updates());
    assertEquals(2, updates.history.epochs().size());
    assertEquals(410 + 200, updates.history.last().samples());
    Outcome growing =
        fit(
            "cpu",
            TRAIN,
            builder(TinyData.convolutional())
                .batchSize(BatchSchedule.parse("0:50,1:205"))
                .learningRate(0.05, BatchRule.linearFrom(50)));
    assertEquals(9 + 2 + 2, growing.history.updates());
    assertEquals(205, growing.history.last().batch());
    assertEquals(0.05 * 4.1, growing.history.last().learningRate(), 1e-12);
  }

  @Test
  void stopEndsTheRunAfterTheUpdate() {
    List<EpochRow> rows = new ArrayList<>();
    TrainingListener listener =
        new TrainingListener() {
          @Override
          public void onUpdate(Trainer trainer) {
            if (trainer.updates() == 7) {
              trainer.stop();
            }
          }

          @Override
          public void onEpochEnd(Trainer trainer, EpochRow row) {
            rows.add(row);
          }
        };
    History cut = fit("cpu", TRAIN, builder(TinyData.convolutional()).listener(listener)).history;
    assertTrue(cut.stopped());
    assertEquals(7, cut.updates());
    assertEquals(2, rows.size());
    assertEquals(rows, cut.epochs());
    assertTrue(Double.isNaN(cut.last().testAccuracy()));
    assertNull(cut.train());
    TrainingListener between =
        new TrainingListener() {
          @Override
          public void onEpochEnd(Trainer trainer, EpochRow row) {
            trainer.stop();
          }
        };
    History early = fit("cpu", TRAIN, builder(TinyData.convolutional()).listener(between)).history;
    assertTrue(early.stopped());
    assertEquals(1, early.epochs().size());
    assertNull(early.train());
    assertNotNull(early.test(), "of its last epoch");
  }

  @Test
  void startsFromTheWeightsOfAnotherRun() {
    Path path = folder.resolve("first.safetensors");
    double[] first;
    try (Device device = Device.of("cpu", 2);
        Trainer trainer = builder(TinyData.convolutional()).epochs(1).on(device)) {
      trainer.fit(TRAIN, null);
      trainer.save(path);
      first = trainer.model().parameters();
    }
    try (Device device = Device.of("cpu", 2);
        Trainer trainer = builder(TinyData.convolutional()).seed(99).initFrom(path).on(device);
        Trainer other = builder(TinyData.withoutNorm()).initFrom(path).on(device)) {
      trainer.prepare(TRAIN);
      assertArrayEquals(first, trainer.model().parameters());
      assertThrows(IllegalArgumentException.class, () -> other.prepare(TRAIN));
    }
  }

  @Test
  void refusesWhatDoesNotFit() {
    Dataset few = TRAIN.take(60);
    var large =
        assertThrows(
            IllegalArgumentException.class, () -> fit("cpu", few, builder(TinyData.withoutNorm())));
    assertEquals(
        "[training] needs a batch of at most the 60 training samples, got 100", large.getMessage());
    try (Device device = Device.of("cpu", 2)) {
      assertThrows(
          IllegalArgumentException.class,
          () -> builder(TinyData.withoutNorm()).precision(DataType.F64).on(device));
      assertThrows(
          IllegalArgumentException.class,
          () -> Trainer.of(TinyData.withoutNorm()).epochs(1).on(device));
      assertThrows(
          IllegalArgumentException.class,
          () -> builder(TinyData.withoutNorm()).ghostBatchSize(-1).on(device));
      Trainer trainer = builder(TinyData.withoutNorm()).on(device);
      assertThrows(IllegalStateException.class, trainer::model);
      assertThrows(IllegalArgumentException.class, () -> trainer.fit(null, TEST));
      trainer.fit(TRAIN, null);
      assertThrows(IllegalStateException.class, () -> trainer.fit(TRAIN, null));
      assertThrows(IllegalStateException.class, trainer::profile);
      trainer.close();
      trainer.close();
      assertThrows(IllegalStateException.class, trainer::model);
      assertThrows(IllegalStateException.class, () -> trainer.evaluate(TEST));
    }
  }

  @Test
  void twoTrainersShareAJvm() throws Exception {
    Outcome alone = fit("cpu", TRAIN, builder(TinyData.convolutional()));
    Outcome[] both = new Outcome[2];
    Thread[] threads = new Thread[2];
    for (int i = 0; i < 2; i++) {
      int mine = i;
      threads[i] =
          new Thread(
              () -> both[mine] = fit("cpu", TRAIN, builder(TinyData.convolutional()).threads(1)));
      threads[i].start();
    }
    for (Thread thread : threads) {
      thread.join();
    }
    assertArrayEquals(alone.parameters, both[0].parameters);
    assertArrayEquals(alone.parameters, both[1].parameters);
  }

  @Test
  void profileSaysWhereTimeGoes() {
    try (Device device = Device.of("cpu", 2);
        Trainer trainer = builder(TinyData.convolutional()).profile(true).on(device)) {
      trainer.fit(TRAIN, null);
      Profile profile = trainer.profile();
      assertTrue(profile.seconds("convolution") > 0 && profile.seconds("batch norm") > 0);
      assertTrue(profile.seconds() > profile.seconds("convolution"));
      assertTrue(profile.table().contains("convolution"));
    }
  }

  @Test
  void aStepMakesNoGarbage() {
    var threads = (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();
    long self = Thread.currentThread().getId();
    long[] allocated = new long[2000];
    TrainingListener listener =
        new TrainingListener() {
          @Override
          public void onUpdate(Trainer trainer) {
            allocated[(int) trainer.updates() - 1] = threads.getThreadAllocatedBytes(self);
          }
        };
    Dataset data = TinyData.of(40_000, 1);
    List<UnaryOperator<Trainer.Builder>> kinds =
        List.of(
            b -> b,
            b -> b.optimizer(Adam.of()),
            b -> b.asam(0.5).samGroup(8).gradientNoise(0.1),
            b -> b.proximal(0.1),
            b -> b.adversarial(0.1));
    for (int kind = 0; kind < kinds.size(); kind++) {
      Trainer.Builder builder =
          builder(TinyData.convolutional())
              .batchSize(20)
              .ghostBatchSize(8)
              .learningRate(Schedule.parse("0:0.05,0.5:0.02"), BatchRule.none())
              .clipGradientNorm(1)
              .updates(2000)
              .listener(listener);
      fit("cpu", data, kinds.get(kind).apply(builder));
      // The JIT compiler may still cause one or the other object.
      long making =
          IntStream.range(1500, 1999).filter(i -> allocated[i + 1] > allocated[i]).count();
      assertTrue(making < 5, making + " of 499 updates made garbage, kind " + kind);
    }
  }

  @Test
  void nothingIsLeftBehind() {
    long before = Device.liveBytes();
    try (Device device = Device.of("cpu", 2)) {
      for (int i = 0; i < 4; i++) {
        Trainer.Builder builder = builder(TinyData.convolutional());
        if (i == 1) {
          builder.sam(0.05).samGroup(64);
        } else if (i == 2) {
          builder.proximal(0.1);
        } else if (i == 3) {
          builder.adversarial(0.1);
        }
        try (Trainer trainer = builder.on(device)) {
          trainer.fit(TRAIN, TEST);
        }
        assertEquals(before, Device.liveBytes());
      }
    }
  }
}
