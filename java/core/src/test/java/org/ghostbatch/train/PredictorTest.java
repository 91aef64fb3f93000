package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.LossResult;
import org.ghostbatch.device.NormMode;
import org.ghostbatch.device.Samples;
import org.ghostbatch.device.StepSpec;
import org.ghostbatch.nn.AvgPool2d;
import org.ghostbatch.nn.BatchNorm;
import org.ghostbatch.nn.Conv2d;
import org.ghostbatch.nn.Dropout;
import org.ghostbatch.nn.Flatten;
import org.ghostbatch.nn.GlobalAvgPool;
import org.ghostbatch.nn.Linear;
import org.ghostbatch.nn.MaxPool2d;
import org.ghostbatch.nn.ReLU;
import org.ghostbatch.nn.Residual;
import org.ghostbatch.nn.Sequential;
import org.ghostbatch.optim.Sgd;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(300)
class PredictorTest {
  private static final Dataset TRAIN = TinyData.of(400, 1);
  private static final Dataset TEST = TinyData.of(1500, 2);

  @TempDir Path folder;

  /**
   * Everything that folding meets: biases, residuals with and without norms, norms that stay,
   * dropout, ReLUs.
   */
  private static final Sequential MIXED =
      Sequential.of(
          BatchNorm.of(),
          Conv2d.of(6, 3).padding(1),
          BatchNorm.of(),
          MaxPool2d.of(2),
          BatchNorm.of(),
          Residual.of(
              Sequential.of(
                  ReLU.of(),
                  Conv2d.of(6, 3).padding(1).groups(2).bias(false),
                  BatchNorm.of(),
                  ReLU.of(),
                  Conv2d.of(6, 3).padding(1),
                  BatchNorm.of())),
          Residual.of(
              Sequential.of(Conv2d.of(4, 1), ReLU.of(), Dropout.of(0.3)),
              Sequential.of(Conv2d.of(4, 1))),
          AvgPool2d.of(2),
          Conv2d.of(8, 1).bias(false),
          ReLU.of(),
          Flatten.of(),
          Linear.of(10).bias(false),
          BatchNorm.of(),
          Dropout.of(0.1),
          ReLU.of(),
          Linear.of(4));

  @Test
  void foldedEqualsUnfolded() {
    for (Sequential layers : List.of(MIXED, TinyData.convolutional(), TinyData.withoutNorm())) {
      for (String backend : List.of("cpu", "reference")) {
        try (Device device = Device.of(backend, 2);
            Trainer trainer =
                Trainer.of(layers)
                    .batchSize(100)
                    .ghostBatchSize(50)
                    .optimizer(Sgd.withMomentum(0.9))
                    .learningRate(0.05)
                    .precision(backend.equals("cpu") ? DataType.F32 : DataType.F64)
                    .epochs(2)
                    .on(device)) {
          History history = trainer.fit(TRAIN, TEST);
          Path path = folder.resolve("m.safetensors");
          trainer.save(path);
          double tolerance = backend.equals("cpu") ? 1e-5 : 1e-12;
          try (Predictor predictor = Predictor.load(path, device)) {
            Evaluation evaluation = predictor.evaluate(TEST);
            assertEquals(history.test().loss(), evaluation.loss(), tolerance);
            assertEquals(history.test().accuracy(), evaluation.accuracy(), 1e-3);
            assertArrayEquals(
                logits(trainer, TEST.take(40)), predictor.logits(TEST.take(40)), 1e-4f);
            assertEquals(predictor.metrics(TEST, 2).accuracy(), evaluation.accuracy(), 1e-9);
          }
        }
      }
    }
  }

  private static float[] logits(Trainer trainer, Dataset data) {
    try (Samples room = SampleCopy.room(trainer.device(), data, data.count())) {
      int[] rows = IntStream.range(0, data.count()).toArray();
      new SampleCopy(data).copy(rows, 0, rows.length, room);
      float[] logits = new float[4 * data.count()];
      StepSpec step =
          new StepSpec().mode(NormMode.RUNNING).backward(false).dropout(false).augment(false);
      trainer.engine().step(room, rows, rows.length, null, step, logits, null, new LossResult());
      return logits;
    }
  }

  @Test
  void oneSampleOrManyBytesOrFloatsAnyThread() throws Exception {
    byte[][] images = TinyData.images(TEST.count(), 2);
    try (Device device = Device.of("cpu", 2);
        Trainer trainer =
            Trainer.of(TinyData.convolutional())
                .batchSize(100)
                .ghostBatchSize(50)
                .epochs(3)
                .on(device)) {
      trainer.fit(TRAIN, null);
      try (Predictor predictor = Predictor.of(trainer.model(), device, 2)) {
        assertEquals(TinyData.SHAPE, predictor.inputShape());
        assertEquals(List.of("0", "1", "2", "3"), predictor.classNames());
        List<Prediction> all = predictor.predict(images);
        assertEquals(TEST.count(), all.size());
        float[] floats = new float[64];
        ExecutorService pool = Executors.newFixedThreadPool(4);
        try {
          List<Future<Prediction>> single =
              IntStream.range(0, 100)
                  .mapToObj(i -> pool.submit(() -> predictor.predict(images[i])))
                  .toList();
          for (int i = 0; i < 100; i++) {
            Prediction one = single.get(i).get();
            assertArrayEquals(all.get(i).probabilities(), one.probabilities(), 1e-4f);
            for (int p = 0; p < 64; p++) {
              floats[p] = images[i][p] & 0xFF;
            }
            assertArrayEquals(
                one.probabilities(), predictor.predict(floats).probabilities(), 1e-6f);
            float sum = 0;
            for (float probability : one.probabilities()) {
              sum += probability;
              assertEquals(true, probability <= one.probability());
            }
            assertEquals(1, sum, 1e-5f);
            assertEquals(one.className(), Integer.toString(one.label()));
          }
        } finally {
          pool.shutdown();
        }
        assertEquals(all.get(5).label(), predictor.predict(TEST).get(5).label());
        assertThrows(IllegalArgumentException.class, () -> predictor.predict(new float[63]));
        assertThrows(IllegalArgumentException.class, () -> predictor.predict((byte[]) null));
        Dataset other = Dataset.of(new byte[4], new SampleShape(2, 2, 1), new int[] {0});
        assertThrows(IllegalArgumentException.class, () -> predictor.evaluate(other));
        predictor.close();
        predictor.close();
        assertThrows(IllegalStateException.class, () -> predictor.predict(images[0]));
      }
    }
  }

  @Test
  void networksEndAsTheyLike() {
    Sequential pooled =
        Sequential.of(Conv2d.of(4, 3), BatchNorm.of(), ReLU.of(), GlobalAvgPool.of());
    Sequential normed = Sequential.of(Flatten.of(), Linear.of(4), BatchNorm.of(), Dropout.of(0.2));
    for (Sequential layers : List.of(pooled, normed)) {
      try (Device device = Device.of("cpu", 1);
          Trainer trainer = Trainer.of(layers).batchSize(100).epochs(1).on(device)) {
        History history = trainer.fit(TRAIN, TEST);
        try (Predictor predictor = Predictor.of(trainer.model(), device, 1)) {
          assertEquals(history.test().loss(), predictor.evaluate(TEST).loss(), 1e-5);
        }
      }
    }
  }
}
