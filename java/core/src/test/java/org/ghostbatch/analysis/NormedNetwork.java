package org.ghostbatch.analysis;

import java.util.List;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Normalization;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.DataType;
import org.ghostbatch.nn.BatchNorm;
import org.ghostbatch.nn.Conv2d;
import org.ghostbatch.nn.Flatten;
import org.ghostbatch.nn.Linear;
import org.ghostbatch.nn.MaxPool2d;
import org.ghostbatch.nn.ModelFile;
import org.ghostbatch.nn.Network;
import org.ghostbatch.nn.ReLU;
import org.ghostbatch.nn.Sequential;
import org.ghostbatch.random.RandomStream;

/**
 * A small network with batch norm behind a convolution, behind pooling and behind a linear layer.
 */
final class NormedNetwork {
  private static final SampleShape SHAPE = new SampleShape(8, 8, 1);
  private static final Normalization NONE = new Normalization(1, List.of(0.), List.of(1.));
  private final Network network =
      Network.of(
          Sequential.of(
              Conv2d.of(4, 3).padding(1),
              MaxPool2d.of(2),
              BatchNorm.of(),
              ReLU.of(),
              Flatten.of(),
              Linear.of(8),
              BatchNorm.of(),
              ReLU.of(),
              Linear.of(4)),
          SHAPE);
  private final Dataset data;

  NormedNetwork() {
    RandomStream random = new RandomStream(5, 1, 2, 3);
    float[] values = new float[120 * 64];
    int[] labels = new int[120];
    for (int i = 0; i < 120; i++) {
      labels[i] = i % 4;
      for (int p = 0; p < 64; p++) {
        values[i * 64 + p] = (float) random.nextDouble(-1, 1) + (p / 16 == i % 4 ? 0.7f : 0);
      }
    }
    data = Dataset.of(values, SHAPE, labels).withNormalization(NONE);
  }

  Dataset data() {
    return data;
  }

  ModelFile model() {
    return with(network.initialParameters(1), network.initialStatistics());
  }

  ModelFile with(double[] parameters, double[] statistics) {
    return new ModelFile(
        network, NONE, List.of("0", "1", "2", "3"), DataType.F32, parameters, statistics);
  }

  /** The convolution and its bias times c, and the statistics behind it accordingly. */
  void scaleFirstLayer(double[] parameters, double[] statistics, double c) {
    Network.NormalizedLayer layer = network.normalizedLayers().get(0);
    for (int i = 0; i < layer.weight().elements(); i++) {
      parameters[(int) layer.weight().offset() + i] *= c;
    }
    for (int i = 0; i < layer.bias().elements(); i++) {
      parameters[(int) layer.bias().offset() + i] *= c;
    }
    int channels = layer.statistics().channels();
    for (int i = 0; i < channels; i++) {
      statistics[(int) layer.statistics().offset() + i] *= c;
      statistics[(int) layer.statistics().offset() + channels + i] *= c * c;
    }
  }
}
