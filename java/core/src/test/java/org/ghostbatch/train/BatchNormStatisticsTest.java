package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.Augmentation;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Lanes;
import org.ghostbatch.device.LossResult;
import org.ghostbatch.device.RunningStatistics;
import org.ghostbatch.device.Samples;
import org.ghostbatch.device.StepSpec;
import org.ghostbatch.device.VectorKernels;
import org.ghostbatch.nn.BatchNorm;
import org.ghostbatch.nn.Flatten;
import org.ghostbatch.nn.Linear;
import org.ghostbatch.nn.Sequential;
import org.ghostbatch.random.Shuffle;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Recomputed statistics are the plain average over the ghosts of the training set. */
class BatchNormStatisticsTest {
  private static final int SAMPLES = 205;
  private static final Dataset TRAIN = TinyData.of(SAMPLES, 1);

  private static Trainer trainer(Device device, Sequential layers, int ghost, int threads) {
    Trainer made =
        Trainer.of(layers)
            .batchSize(100)
            .ghostBatchSize(ghost)
            .microBatch(16)
            .augmentation(Augmentation.PAD_CROP_FLIP)
            .learningRate(0.05)
            .epochs(2)
            .seed(7)
            .threads(threads)
            .on(device);
    made.fit(TRAIN, null);
    return made;
  }

  /** Sizes of {@code parts} parts of {@code all} that differ by at most one, the longer first. */
  private static List<Integer> sizes(int all, int parts) {
    List<Integer> sizes = new ArrayList<>();
    for (int part = 0; part < parts; part++) {
      sizes.add(all / parts + (part < all % parts ? 1 : 0));
    }
    return sizes;
  }

  /** The rows of the samples in shuffled order, ghost by ghost. */
  private static List<int[]> ghosts(int samples, List<Integer> sizes) {
    int[] order = Shuffle.permutation(samples, 7, 0);
    List<int[]> ghosts = new ArrayList<>();
    int from = 0;
    for (int size : sizes) {
      ghosts.add(Arrays.copyOfRange(order, from, from + size));
      from += size;
    }
    assertEquals(samples, from);
    return ghosts;
  }

  /**
   * The network is a batch norm of its input: mean and unbiased variance of the pixels, in plain
   * Java. 205 samples in ghosts of at most 24 are nine; the last case is cut into two chunks of
   * 2,500 samples first.
   */
  @ParameterizedTest
  @CsvSource({"cpu,205,24", "reference,205,24", "cpu,205,0", "cpu,5000,24"})
  void areTheAverageOverGhosts(String backend, int samples, int ghost) {
    Dataset data = TinyData.of(samples, 1);
    byte[][] images = TinyData.images(samples, 1);
    int chunks = samples / 4000 + 1;
    int perChunk = samples / chunks;
    // Plain batch norm: each chunk is a ghost, none longer than the batch of 100.
    List<Integer> sizes = new ArrayList<>();
    if (ghost == 0) {
      sizes.addAll(sizes(samples, 3));
    } else {
      for (int chunk = 0; chunk < chunks; chunk++) {
        sizes.addAll(sizes(perChunk, (perChunk + ghost - 1) / ghost));
      }
    }
    double[] wanted = new double[2];
    for (int[] rows : ghosts(samples, sizes)) {
      double count = rows.length * TinyData.SHAPE.elements();
      double sum = 0;
      double squares = 0;
      for (int row : rows) {
        for (byte pixel : images[row]) {
          double x = ((pixel & 255) / 255.0 - 0.3) / 0.2;
          sum += x;
          squares += x * x;
        }
      }
      wanted[0] += sum / count / sizes.size();
      wanted[1] += (squares - sum * sum / count) / (count - 1) / sizes.size();
    }
    Sequential layers = Sequential.of(BatchNorm.of(), Flatten.of(), Linear.of(4));
    try (Device device = Device.of(backend);
        Trainer trainer = trainer(device, layers, ghost, 2)) {
      trainer.engine().statistics().copyFrom(new double[] {Double.NaN, -3});
      trainer.recomputeStatistics(data);
      assertArrayEquals(wanted, trainer.model().statistics(), 2e-6);
    }
  }

  /** Two chunks, as both cut them. */
  @Test
  void samplesInTheShuffledOrderGiveTheSameBits() {
    int count = 5000;
    Dataset data = TinyData.of(count, 1);
    try (Device device = Device.of("cpu", 2);
        Trainer trainer = trainer(device, TinyData.convolutional(), 24, 2);
        Lanes lanes = device.lanes(2);
        VectorKernels vectors = device.vectors(lanes);
        Samples memory = SampleCopy.room(device, data, count)) {
      trainer.recomputeStatistics(data);
      double[] wanted = trainer.engine().statistics().toDoubles();
      new SampleCopy(data).copy(Shuffle.permutation(count, 7, 0), 0, count, memory);
      vectors.fill(Double.NaN, trainer.engine().statistics());
      BatchNormStatistics.recompute(trainer.engine(), vectors, memory, count, 24);
      assertArrayEquals(wanted, trainer.engine().statistics().toDoubles());
      assertThrows(
          IllegalArgumentException.class,
          () -> BatchNormStatistics.recompute(trainer.engine(), vectors, memory, count, 0));
    }
  }

  /**
   * A deeper network with residual and dropout: ghost by ghost through the engine, whose statistics
   * are then that ghost's alone.
   */
  @Test
  void layersSeeInputsNormalizedByTheirGhost() {
    try (Device device = Device.of("cpu", 2);
        Trainer trainer = trainer(device, TinyData.convolutional(), 24, 2)) {
      Samples samples = device.samples(DataType.U8, SAMPLES, 8, 8, 1, 4);
      byte[][] images = TinyData.images(SAMPLES, 1);
      for (int i = 0; i < SAMPLES; i++) {
        samples.write(i, 1, images[i]);
        samples.writeLabels(i, 1, new int[] {i % 4});
      }
      double[] parameters = trainer.model().parameters();
      double[] wanted = new double[trainer.model().statistics().length];
      StepSpec alone =
          new StepSpec()
              .runningStatistics(RunningStatistics.SEQUENTIAL)
              .momentum(1)
              .backward(false)
              .dropout(false)
              .augment(false);
      List<int[]> ghosts = ghosts(SAMPLES, sizes(SAMPLES, 9));
      for (int[] rows : ghosts) {
        trainer
            .engine()
            .step(samples, rows, rows.length, null, alone, null, null, new LossResult());
        double[] own = trainer.model().statistics();
        for (int i = 0; i < own.length; i++) {
          wanted[i] += own[i] / ghosts.size();
        }
      }
      trainer.recomputeStatistics(TRAIN);
      assertArrayEquals(wanted, trainer.model().statistics(), 2e-6);
      assertArrayEquals(parameters, trainer.model().parameters());
      trainer.recomputeStatistics(TinyData.streamed(TRAIN));
      assertArrayEquals(wanted, trainer.model().statistics(), 2e-6);
    }
  }

  @Test
  void sameBitsOnAnyNumberOfThreads() {
    for (int ghost : new int[] {24, 0}) {
      double[] one = recomputed(ghost, 1);
      assertArrayEquals(one, recomputed(ghost, 2));
      assertArrayEquals(one, recomputed(ghost, 5));
    }
  }

  private static double[] recomputed(int ghost, int threads) {
    try (Device device = Device.of("cpu", threads);
        Trainer trainer = trainer(device, TinyData.convolutional(), ghost, threads)) {
      trainer.recomputeStatistics(TinyData.of(4500, 2));
      return trainer.model().statistics();
    }
  }

  @Test
  void aNetworkWithoutBatchNormHasNone() {
    try (Device device = Device.of("cpu");
        Trainer trainer = trainer(device, TinyData.withoutNorm(), 24, 1)) {
      trainer.recomputeStatistics(TRAIN);
      assertNull(trainer.engine().statistics());
      assertThrows(IllegalArgumentException.class, () -> trainer.recomputeStatistics(null));
    }
  }

  @Test
  void aGhostOfOneValueIsRefused() {
    try (Device device = Device.of("cpu");
        Trainer trainer = trainer(device, TinyData.convolutional(), 24, 1)) {
      var error =
          assertThrows(RuntimeException.class, () -> trainer.recomputeStatistics(TRAIN.take(1)));
      assertTrue(error.getMessage().contains("at least 2 values per channel"), error.getMessage());
    }
  }
}
