package org.ghostbatch.train;

import java.util.List;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Normalization;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.nn.BatchNorm;
import org.ghostbatch.nn.Conv2d;
import org.ghostbatch.nn.Dropout;
import org.ghostbatch.nn.Flatten;
import org.ghostbatch.nn.Linear;
import org.ghostbatch.nn.MaxPool2d;
import org.ghostbatch.nn.ReLU;
import org.ghostbatch.nn.Residual;
import org.ghostbatch.nn.Sequential;
import org.ghostbatch.random.RandomStream;

/** Small data and networks for tests: noisy images whose class is the quarter that is brighter. */
final class TinyData {
  static final SampleShape SHAPE = new SampleShape(8, 8, 1);

  private TinyData() {}

  static byte[][] images(int count, long seed) {
    byte[][] images = new byte[count][SHAPE.elements()];
    RandomStream random = new RandomStream(seed, 1, 2, 3);
    for (int i = 0; i < count; i++) {
      for (int p = 0; p < images[i].length; p++) {
        boolean bright = p / 8 / 4 * 2 + p % 8 / 4 == i % 4;
        images[i][p] = (byte) (random.nextInt(150) + (bright ? 60 : 0));
      }
    }
    return images;
  }

  static Dataset of(int count, long seed) {
    byte[][] images = images(count, seed);
    byte[] all = new byte[count * SHAPE.elements()];
    int[] labels = new int[count];
    for (int i = 0; i < count; i++) {
      System.arraycopy(images[i], 0, all, i * SHAPE.elements(), SHAPE.elements());
      labels[i] = i % 4;
    }
    return Dataset.of(all, SHAPE, labels)
        .withNormalization(Normalization.ofBytes(List.of(0.3), List.of(0.2)));
  }

  /** The same samples, read batch by batch. */
  static Dataset streamed(Dataset data) {
    return new ChangedDataset(data) {
      @Override
      public boolean streaming() {
        return true;
      }
    };
  }

  static Sequential convolutional() {
    return Sequential.of(
        Conv2d.of(8, 3).padding(1).bias(false),
        BatchNorm.of(),
        ReLU.of(),
        MaxPool2d.of(2),
        Residual.of(
            Sequential.of(Conv2d.of(8, 3).padding(1).bias(false), BatchNorm.of()),
            Sequential.of(Conv2d.of(8, 1).bias(false), BatchNorm.of())),
        Dropout.of(0.1),
        Flatten.of(),
        Linear.of(16).bias(false),
        BatchNorm.of(),
        ReLU.of(),
        Linear.of(4));
  }

  static Sequential withoutNorm() {
    return Sequential.of(Conv2d.of(6, 3), ReLU.of(), MaxPool2d.of(2), Flatten.of(), Linear.of(4));
  }
}
