package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Strokes;
import org.ghostbatch.device.Augmentation;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.RunningStatistics;
import org.ghostbatch.nn.Conv2d;
import org.ghostbatch.nn.Dropout;
import org.ghostbatch.nn.Flatten;
import org.ghostbatch.nn.Layer;
import org.ghostbatch.nn.Linear;
import org.ghostbatch.nn.MaxPool2d;
import org.ghostbatch.nn.Models;
import org.ghostbatch.nn.ReLU;
import org.ghostbatch.nn.Sequential;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * The number of threads changes how long a run takes, and nothing else: the model file has the same
 * bytes.
 */
@Timeout(300)
class ThreadsTest {
  private static final Dataset DATA = Strokes.train().take(700);

  @TempDir Path folder;

  /** What is trained. */
  enum Run {
    /** Random draws, and ghosts of 83 and 82 samples: the last batch, of 40, is one ghost. */
    LENET_DROPOUT_AUGMENTED_RAGGED {
      @Override
      Trainer.Builder builder() {
        List<Layer> layers = new ArrayList<>(Models.lenet(10).layers());
        layers.add(layers.size() - 1, Dropout.of(0.4));
        return Trainer.of(new Sequential(layers))
            .batchSize(330)
            .ghostBatchSize(100)
            .augmentation(Augmentation.AFFINE);
      }
    },
    /** A ghost that spans six micro-batches, the last of them short. */
    PLAIN_BATCH_NORM {
      @Override
      Trainer.Builder builder() {
        return Trainer.of(Models.lenet(10))
            .batchSize(350)
            .runningStatistics(RunningStatistics.TOTAL);
      }
    },
    /** On oneDNN's bf16, ghosts cut into micro-batches on their lanes. */
    BF16 {
      @Override
      Trainer.Builder builder() {
        return Trainer.of(Models.lenet(10))
            .batchSize(330)
            .ghostBatchSize(100)
            .microBatch(32)
            .precision(DataType.BF16);
      }
    },
    NO_BATCH_NORM {
      @Override
      Trainer.Builder builder() {
        Sequential layers =
            Sequential.of(
                Conv2d.of(8, 5),
                ReLU.of(),
                MaxPool2d.of(2),
                Conv2d.of(16, 5),
                ReLU.of(),
                MaxPool2d.of(2),
                Flatten.of(),
                Linear.of(64),
                ReLU.of(),
                Dropout.of(0.2),
                Linear.of(10));
        return Trainer.of(layers).batchSize(330).augmentation(Augmentation.PAD_CROP_FLIP);
      }
    };

    abstract Trainer.Builder builder();
  }

  private static boolean hasBf16() {
    try (Device device = Device.of("cpu", 1)) {
      return device.supports(DataType.BF16);
    }
  }

  private byte[] model(Run run, int threads, long seed) throws Exception {
    Path file = folder.resolve(run + "-" + threads + "-" + seed);
    try (Device device = Device.of("cpu", threads);
        Trainer trainer =
            run.builder().learningRate(0.05).clipGradientNorm(1).epochs(1).seed(seed).on(device)) {
      trainer.fit(DATA, null);
      trainer.save(file);
    }
    return Files.readAllBytes(file);
  }

  @ParameterizedTest
  @EnumSource
  void sameBytesOnOneTwoAndFiveThreads(Run run) throws Exception {
    assumeTrue(run != Run.BF16 || hasBf16(), "bf16 needs AVX-512");
    byte[] one = model(run, 1, 3);
    assertArrayEquals(one, model(run, 2, 3));
    assertArrayEquals(one, model(run, 5, 3));
    assertFalse(Arrays.equals(one, model(run, 2, 4)), "another seed");
  }

  /**
   * Only where nothing else runs: with -Dghostbatch.timings=true on a machine of two cores or more.
   */
  @Test
  @EnabledIfSystemProperty(named = "ghostbatch.timings", matches = "true")
  void twoThreadsAreNearlyTwiceAsFast() {
    double[] ratios = new double[5];
    for (int pair = 0; pair < ratios.length; pair++) {
      double one = imagesPerSecond(1);
      double two = imagesPerSecond(2);
      ratios[pair] = two / one;
      System.out.printf(
          "LeNet, dropout, augmented, batch 1000, ghost 64: %.0f images/s on 1 thread, %.0f on 2: %.2f times%n",
          one, two, ratios[pair]);
    }
    Arrays.sort(ratios);
    assertTrue(ratios[2] >= 1.8, "median of pairs " + ratios[2]);
  }

  private static double imagesPerSecond(int threads) {
    try (Device device = Device.of("cpu", threads);
        Trainer trainer =
            Run.LENET_DROPOUT_AUGMENTED_RAGGED
                .builder()
                .batchSize(1000)
                .ghostBatchSize(64)
                .learningRate(0.05)
                .epochs(4)
                .on(device)) {
      return trainer.fit(Strokes.train().take(4000), null).imagesPerSecond();
    }
  }
}
