package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Normalization;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Engine;
import org.ghostbatch.device.EngineSpec;
import org.ghostbatch.device.Lanes;
import org.ghostbatch.device.LoadSpec;
import org.ghostbatch.device.LossResult;
import org.ghostbatch.device.NetworkPlan;
import org.ghostbatch.device.NormMode;
import org.ghostbatch.device.Samples;
import org.ghostbatch.device.StepSpec;
import org.ghostbatch.nn.BatchNorm;
import org.ghostbatch.nn.Border;
import org.ghostbatch.nn.Conv2d;
import org.ghostbatch.nn.Dropout;
import org.ghostbatch.nn.Flatten;
import org.ghostbatch.nn.Initializer;
import org.ghostbatch.nn.Linear;
import org.ghostbatch.nn.MaxPool2d;
import org.ghostbatch.nn.Models;
import org.ghostbatch.nn.Network;
import org.ghostbatch.nn.ReLU;
import org.ghostbatch.nn.Sequential;
import org.ghostbatch.optim.Sgd;
import org.ghostbatch.random.RandomStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The models of the papers, trained; and the combinations of layers that they brought. */
@Timeout(300)
class ZooTest {
  /** One name of each network: c3 is c1, and so on. */
  static Stream<String> models() {
    Set<Sequential> seen = new HashSet<>();
    return Models.names().stream().filter(name -> seen.add(Models.byName(name, 5)));
  }

  /**
   * On images of an odd size with two channels, every model learns to tell dark from bright: 20
   * images by heart. Dropout would hide that for a while, so it is left out then.
   */
  @ParameterizedTest
  @MethodSource("models")
  void learns(String model) {
    Sequential layers = Models.byName(model, 5);
    Sequential firm =
        new Sequential(layers.layers().stream().filter(l -> !(l instanceof Dropout)).toList());
    double[] falling = train(firm, 8);
    assertTrue(falling[0] < 10 && falling[7] < 0.8 * falling[0], Arrays.toString(falling));
    if (!firm.equals(layers)) {
      double[] losses = train(layers, 2);
      assertTrue(losses[0] < 10 && Double.isFinite(losses[1]), Arrays.toString(losses));
    }
  }

  private static double[] train(Sequential layers, int updates) {
    int count = 20;
    Dataset data = brightness(count, new SampleShape(13, 10, 2), 5);
    try (Device device = Device.of("cpu", 2);
        Samples samples = device.samples(DataType.U8, count, 13, 10, 2, 5);
        Trainer trainer =
            Trainer.of(layers)
                .batchSize(count)
                .ghostBatchSize(10)
                .optimizer(Sgd.withMomentum(0.9))
                .clipGradientNorm(5)
                .epochs(1)
                .on(device)) {
      int[] rows = IntStream.range(0, count).toArray();
      new SampleCopy(data).copy(rows, 0, count, samples);
      trainer.prepare(data);
      double[] losses = new double[updates];
      for (int i = 0; i < updates; i++) {
        losses[i] = trainer.step(samples, rows, count, null, 0.02, 0);
      }
      for (double statistic : trainer.model().statistics()) {
        assertTrue(Double.isFinite(statistic));
      }
      return losses;
    }
  }

  private static Dataset brightness(int count, SampleShape shape, int classes) {
    RandomStream random = new RandomStream(1, 2, 3, 4);
    byte[] pixels = new byte[count * shape.elements()];
    for (int i = 0; i < pixels.length; i++) {
      pixels[i] = (byte) (random.nextInt(100) + 30 * (i / shape.elements() % classes));
    }
    int[] labels = IntStream.range(0, count).map(i -> i % classes).toArray();
    List<Double> half = Collections.nCopies(shape.channels(), 0.5);
    return Dataset.of(pixels, shape, labels).withNormalization(Normalization.ofBytes(half, half));
  }

  /** C2 in small: dropout behind ReLU, pooling with one column of padding on the right. */
  @Test
  void gradientsOfDropoutBetweenConvolutions() {
    checkGradients(
        Sequential.of(
            conv(5, 3),
            BatchNorm.of(),
            ReLU.of(),
            Dropout.of(0.3),
            conv(4, 3),
            BatchNorm.of(),
            ReLU.of(),
            MaxPool2d.of(2).border(Border.SAME),
            conv(4, 3),
            BatchNorm.of(),
            ReLU.of(),
            MaxPool2d.of(3).stride(2).border(Border.SAME),
            Flatten.of(),
            Dropout.of(0.5),
            Linear.of(6).init(Initializer.GLOROT),
            BatchNorm.of(),
            ReLU.of(),
            Dropout.of(0.5),
            Linear.of(3)));
  }

  /** Hoffer's C1 and AlexNet in small: pooling before batch norm, batch norm behind ReLU. */
  @Test
  void gradientsOfPoolingAndReluBeforeBatchNorm() {
    checkGradients(
        Sequential.of(
            conv(4, 5).stride(2).bias(false),
            MaxPool2d.of(3).stride(2).border(Border.CLIP),
            BatchNorm.of(),
            ReLU.of(),
            conv(5, 3).bias(false),
            MaxPool2d.of(3).stride(2).border(Border.CLIP),
            ReLU.of(),
            BatchNorm.of(),
            conv(4, 3).bias(false),
            ReLU.of(),
            BatchNorm.of(),
            Flatten.of(),
            Linear.of(6).bias(false),
            BatchNorm.of(),
            ReLU.of(),
            Dropout.of(0.5),
            Linear.of(3)));
  }

  /** More padding than the filter is wide: PyTorch allows it. */
  @Test
  void gradientsOfWidePadding() {
    checkGradients(
        Sequential.of(
            conv(3, 3).padding(4).stride(2),
            BatchNorm.of(),
            ReLU.of(),
            Conv2d.of(3, 1).padding(2),
            BatchNorm.of(),
            ReLU.of(),
            Flatten.of(),
            Linear.of(3)));
  }

  private static Conv2d conv(int filters, int kernel) {
    return Conv2d.of(filters, kernel).padding(kernel / 2).init(Initializer.PYTORCH);
  }

  /**
   * Against central differences, in double, ghosts of 5 cut by micro-batches of 4 or held whole.
   */
  private static void checkGradients(Sequential layers) {
    int count = 10;
    SampleShape shape = new SampleShape(9, 8, 2);
    Network network = Network.of(layers, shape);
    Dataset data = brightness(count, shape, 3);
    int[] rows = IntStream.range(0, count).toArray();
    for (int microBatch : new int[] {4, 10}) {
      try (Device device = Device.of("reference", 2);
          Samples samples = device.samples(DataType.U8, count, 9, 8, 2, 3);
          Lanes lanes = device.lanes(2);
          NetworkPlan plan = network.compile(device);
          Engine engine =
              device.engine(
                  lanes,
                  plan,
                  new EngineSpec(
                      DataType.F64,
                      microBatch,
                      5,
                      true,
                      true,
                      false,
                      LoadSpec.of(9, 8, 2)
                          .withNormalization(1 / 128.0, List.of(1.0, 1.0), List.of(1.0, 1.0))))) {
        new SampleCopy(data).copy(rows, 0, count, samples);
        double[] parameters = network.initialParameters(3);
        engine.parameters().copyFrom(parameters);
        engine.statistics().copyFrom(network.initialStatistics());
        engine.parametersChanged();
        StepSpec step = new StepSpec().mode(NormMode.TRAIN).ghost(5).seed(11);
        LossResult result = new LossResult();
        engine.step(samples, rows, count, null, step, null, null, result);
        double[] gradient = new double[parameters.length];
        engine.gradients().copyTo(0, gradient);
        step.backward(false);
        double h = 1e-6;
        double largest = 0;
        for (int i = 0; i < parameters.length; i += 1 + parameters.length / 400) {
          double[] loss = new double[2];
          for (int side = 0; side < 2; side++) {
            double[] moved = parameters.clone();
            moved[i] += side == 0 ? h : -h;
            engine.parameters().copyFrom(moved);
            engine.parametersChanged();
            engine.step(samples, rows, count, null, step, null, null, result);
            loss[side] = result.loss() / count;
          }
          assertEquals((loss[0] - loss[1]) / (2 * h), gradient[i], 1e-7, "parameter " + i);
          largest = Math.max(largest, Math.abs(gradient[i]));
        }
        assertTrue(largest > 0.01, "some gradient, got " + largest);
        assertEquals(0, Arrays.stream(gradient).filter(Double::isNaN).count());
      }
    }
  }
}
