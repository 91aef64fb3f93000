package org.ghostbatch.device;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import org.junit.jupiter.api.Test;

/**
 * An app's own network and loss, as a composition of the kernels: what {@code Engine} does for a
 * {@code Network}.
 */
class OwnNetworkTest {
  private static final int ROWS = 96;
  private static final int IN = 8;
  private static final int HIDDEN = 16;
  private static final int CLASSES = 3;

  @Test
  void kernelsComposeToTraining() {
    try (Device device = Device.of("cpu", 1);
        VectorKernels vectors = device.vectors(null)) {
      Linear first = device.linear(LinearSpec.of(ROWS, IN, HIDDEN).withBias(false), true);
      GhostBatchNorm norm =
          device.ghostBatchNorm(GhostBatchNormSpec.of(ROWS, 1, 1, HIDDEN).withRelu(true));
      Linear second = device.linear(LinearSpec.of(ROWS, HIDDEN, CLASSES), true);
      SoftmaxCrossEntropy loss = device.softmaxCrossEntropy(DataType.F32);

      // All parameters are one vector; a layer sees a slice of it, and of its gradient.
      int w1 = HIDDEN * IN;
      int w2 = CLASSES * HIDDEN;
      int length = w1 + 2 * HIDDEN + w2 + CLASSES;
      Tensor parameters = device.tensor(DataType.F32, length);
      Tensor gradient = device.tensor(DataType.F32, length);
      Tensor velocity = device.tensor(DataType.F32, length);
      float[] start = new float[length];
      for (int i = 0; i < length; i++) {
        start[i] = (float) Math.sin(7.0 * i + 1) / 3;
      }
      Arrays.fill(start, w1, w1 + HIDDEN, 1);
      parameters.copyFrom(start);
      Tensor weights1 = parameters.slice(0, HIDDEN, IN);
      Tensor weights2 = parameters.slice(w1 + 2 * HIDDEN, CLASSES, HIDDEN);
      Tensor bias2 = parameters.slice(w1 + 2 * HIDDEN + w2, CLASSES);

      Tensor x = device.tensor(DataType.F32, ROWS, IN);
      Tensor labels = device.tensor(DataType.S32, ROWS);
      fill(x, labels);
      Tensor hidden = device.tensor(DataType.F32, ROWS, HIDDEN);
      Tensor active = device.tensor(DataType.F32, ROWS, HIDDEN);
      Tensor diffHidden = device.tensor(DataType.F32, ROWS, HIDDEN);
      Tensor logits = device.tensor(DataType.F32, ROWS, CLASSES);
      GhostBatchNorm.Arguments arguments =
          new GhostBatchNorm.Arguments()
              .src(hidden)
              .dst(active)
              .gamma(parameters.slice(w1, HIDDEN))
              .beta(parameters.slice(w1 + HIDDEN, HIDDEN))
              .mean(device.tensor(DataType.F32, 3, HIDDEN))
              .variance(device.tensor(DataType.F32, 3, HIDDEN))
              .diffDst(diffHidden)
              .diffSrc(diffHidden)
              .diffGamma(gradient.slice(w1, HIDDEN))
              .diffBeta(gradient.slice(w1 + HIDDEN, HIDDEN))
              .offsets(0, 32, 64, 96);

      LossResult result = new LossResult();
      SgdStep step = new SgdStep().rate(0.1).momentum(0.9);
      double before = 0;
      for (int update = 0; update < 100; update++) {
        first.setWeights(weights1);
        second.setWeights(weights2);
        first.forward(x, null, hidden);
        norm.forward(arguments);
        second.forward(active, bias2, logits);
        loss.run(logits, labels, null, ROWS, CLASSES, 0, 1.0 / ROWS, logits, result);
        if (update == 0) {
          before = result.loss();
        }
        second.backwardWeights(
            active,
            logits,
            gradient.slice(w1 + 2 * HIDDEN, CLASSES, HIDDEN),
            gradient.slice(w1 + 2 * HIDDEN + w2, CLASSES));
        second.backwardData(logits, diffHidden);
        norm.backward(arguments, false);
        first.backwardWeights(x, diffHidden, gradient.slice(0, HIDDEN, IN), null);
        vectors.sgd(step, parameters, gradient, velocity);
      }
      assertTrue(result.loss() < 0.05 * before, before + " became " + result.loss());
      assertTrue(result.correct() == ROWS, result.correct() + " correct");
    }
  }

  private static void fill(Tensor x, Tensor labels) {
    float[] values = new float[ROWS * IN];
    int[] classes = new int[ROWS];
    for (int row = 0; row < ROWS; row++) {
      classes[row] = row * row % CLASSES;
      for (int i = 0; i < IN; i++) {
        values[row * IN + i] =
            (float) (Math.cos(row * 13.0 + i * 5.0) + (i == classes[row] ? 2 : 0));
      }
    }
    x.copyFrom(values);
    labels.copyFrom(classes);
  }
}
