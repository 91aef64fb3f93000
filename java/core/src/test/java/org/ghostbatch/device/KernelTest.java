package org.ghostbatch.device;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Each wrapper against numbers worked out by hand; the kernels themselves are tested natively. */
class KernelTest {
  private static Tensor of(Device device, float... values) {
    Tensor tensor = device.tensor(DataType.F32, values.length);
    tensor.copyFrom(values);
    return tensor;
  }

  @ParameterizedTest
  @ValueSource(strings = {"cpu", "reference"})
  void convolution(String name) {
    try (Device device = Device.of(name)) {
      // One 3x3 image, one 2x2 filter of ones, a bias of 10.
      ConvolutionSpec spec = ConvolutionSpec.of(1, 3, 3, 1, 1, 2).withBias(true);
      Convolution convolution = device.convolution(spec, true);
      Tensor src = of(device, 1, 2, 3, 4, 5, 6, 7, 8, 9);
      Tensor bias = of(device, 10);
      Tensor dst = of(device, new float[4]);
      assertThrows(
          IllegalStateException.class, () -> convolution.forward(src, bias, dst), "no weights yet");
      convolution.setWeights(of(device, 1, 1, 1, 1));
      convolution.forward(src, bias, dst);
      assertArrayEquals(new float[] {22, 26, 34, 38}, dst.toFloats());
      Tensor diffSrc = of(device, new float[9]);
      convolution.backwardData(of(device, 1, 0, 0, 2), diffSrc);
      assertArrayEquals(new float[] {1, 1, 0, 1, 3, 2, 0, 2, 2}, diffSrc.toFloats());
      Tensor diffWeights = of(device, new float[4]);
      Tensor diffBias = of(device, 0);
      convolution.backwardWeights(src, of(device, 1, 0, 0, 2), diffWeights, diffBias);
      assertArrayEquals(new float[] {11, 14, 20, 23}, diffWeights.toFloats());
      assertArrayEquals(new float[] {3}, diffBias.toFloats());
      assertThrows(IllegalArgumentException.class, () -> convolution.forward(src, null, dst));
      assertThrows(IllegalArgumentException.class, () -> convolution.forward(dst, bias, dst));
      assertTrue(convolution.implementation().length() > 0);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"cpu", "reference"})
  void linearAndGemm(String name) {
    try (Device device = Device.of(name)) {
      Linear linear = device.linear(LinearSpec.of(2, 2, 3).withBias(false), false);
      linear.setWeights(of(device, 1, 2, 3, 4, 5, 6));
      Tensor dst = of(device, new float[6]);
      linear.forward(of(device, 1, 1, 1, 2), null, dst);
      assertArrayEquals(new float[] {3, 7, 11, 5, 11, 17}, dst.toFloats());
      assertThrows(IllegalStateException.class, () -> linear.backwardData(dst, dst));
      Gemm gemm = device.gemm(GemmSpec.of(2, 2, 1).withScale(2, 1).withBias(true));
      Tensor c = of(device, 1, 1, 1, 1);
      gemm.run(of(device, 1, 2), of(device, 3, 4), of(device, 100, 200), c);
      assertArrayEquals(new float[] {107, 209, 113, 217}, c.toFloats());
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"cpu", "reference"})
  void ghostBatchNorm(String name) {
    try (Device device = Device.of(name)) {
      GhostBatchNorm norm =
          device.ghostBatchNorm(GhostBatchNormSpec.of(5, 1, 1, 1).withEpsilon(1e-12));
      Tensor mean = of(device, 0, 0);
      Tensor variance = of(device, 0, 0);
      Tensor dst = of(device, new float[5]);
      GhostBatchNorm.Arguments arguments =
          new GhostBatchNorm.Arguments()
              .src(of(device, 1, 3, 10, 20, 30))
              .gamma(of(device, 2))
              .beta(of(device, 1))
              .mean(mean)
              .variance(variance)
              .dst(dst)
              .offsets(0, 2, 5);
      norm.forward(arguments);
      float outer = (float) (2 * Math.sqrt(1.5));
      assertArrayEquals(new float[] {-1, 3, 1 - outer, 1, 1 + outer}, dst.toFloats(), 1e-5f);
      assertArrayEquals(new float[] {2, 20}, mean.toFloats(), 1e-5f);
      assertArrayEquals(new float[] {1, 200f / 3}, variance.toFloats(), 1e-4f);
      Tensor diffBeta = of(device, 0);
      norm.backward(
          arguments
              .diffDst(of(device, 1, 2, 3, 4, 5))
              .diffSrc(of(device, new float[5]))
              .diffGamma(of(device, 0))
              .diffBeta(diffBeta),
          false);
      assertArrayEquals(new float[] {15}, diffBeta.toFloats());
      assertThrows(IllegalArgumentException.class, () -> norm.forward(arguments.offsets(0)));
      assertThrows(NativeException.class, () -> norm.forward(arguments.offsets(0, 6)));
      assertThrows(
          IllegalArgumentException.class, () -> norm.forward(arguments.offsets(0, 1, 2, 3)));
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"cpu", "reference"})
  void poolingElementwiseAndLoss(String name) {
    try (Device device = Device.of(name)) {
      Pooling pooling = device.pooling(PoolSpec.of(PoolKind.MAX, 1, 2, 2, 1, 2));
      Tensor image = of(device, 1, 4, 3, 2);
      Tensor top = of(device, 0);
      pooling.forward(image, top, 1);
      assertArrayEquals(new float[] {4}, top.toFloats());
      pooling.backward(of(device, 5), image, 1);
      assertArrayEquals(new float[] {0, 5, 0, 0}, image.toFloats());

      Elementwise elementwise = device.elementwise(DataType.F32);
      Tensor x = of(device, -1, 2);
      elementwise.relu(x, x, 2);
      assertArrayEquals(new float[] {0, 2}, x.toFloats());
      elementwise.add(x, of(device, -3, 3), x, 2, true);
      assertArrayEquals(new float[] {0, 5}, x.toFloats());
      Tensor many = device.tensor(DataType.F32, 1, 10_000);
      many.copyFrom(new float[10_000]);
      try (VectorKernels vectors = device.vectors(null)) {
        vectors.fill(1, many);
        elementwise.dropout(many, many, 1, 10_000, 0.25, 1, 0, 0);
        assertEquals(10_000, vectors.sum(many), 300);
      }

      SoftmaxCrossEntropy loss = device.softmaxCrossEntropy(DataType.F32);
      Tensor labels = device.tensor(DataType.S32, 2);
      labels.copyFrom(new int[] {0, 1});
      Tensor logits = of(device, 1, 1, 0, 100);
      LossResult result = new LossResult();
      loss.run(logits, labels, null, 2, 2, 0, 1, logits, result);
      assertEquals(Math.log(2), result.loss(), 1e-6);
      assertEquals(2, result.correct());
      assertArrayEquals(new float[] {-0.5f, 0.5f, 0, 0}, logits.toFloats(), 1e-6f);
      labels.copyFrom(new int[] {0, 2});
      assertThrows(
          NativeException.class, () -> loss.run(logits, labels, null, 2, 2, 0, 1, null, result));
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"cpu", "reference"})
  void loader(String name) {
    try (Device device = Device.of(name);
        Samples samples = device.samples(DataType.U8, 3, 1, 1, 2, 2)) {
      samples.write(0, 3, new byte[] {0, 2, 4, 6, (byte) 200, 10});
      samples.writeLabels(0, 3, new int[] {0, 1, 0});
      LoadSpec spec =
          LoadSpec.of(1, 1, 2).withNormalization(0.5, List.of(1.0, 0.0), List.of(2.0, 1.0));
      BatchLoader loader = device.batchLoader(spec);
      Tensor dst = device.tensor(DataType.F32, 2, 1, 1, 2);
      Tensor labels = device.tensor(DataType.S32, 2);
      loader.load(samples, new int[] {2, 1}, 2, 1, 0, false, dst, labels);
      assertArrayEquals(new float[] {49.5f, 5, 0.5f, 3}, dst.toFloats(), 1e-5f);
      assertArrayEquals(new int[] {0, 1}, labels.toInts());
      assertThrows(
          NativeException.class,
          () -> loader.load(samples, new int[] {3}, 1, 1, 0, false, dst, null));
      assertThrows(IllegalArgumentException.class, () -> samples.writeLabels(0, 1, new int[] {2}));
      assertThrows(IllegalArgumentException.class, () -> samples.write(0, 4, new byte[8]));
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"cpu", "reference"})
  void vectors(String name) {
    try (Device device = Device.of(name);
        Lanes lanes = device.lanes(2);
        VectorKernels vectors = device.vectors(lanes)) {
      Tensor x = of(device, 3, 4);
      Tensor y = of(device, 1, 1);
      assertEquals(5, vectors.norm(x));
      assertEquals(7, vectors.dot(x, y));
      assertEquals(4, vectors.maxAbs(x));
      assertEquals(Math.sqrt(13), vectors.distance(x, y), 1e-6);
      vectors.axpy(2, x, y);
      assertArrayEquals(new float[] {7, 9}, y.toFloats());
      vectors.interpolate(0.5, x, y, y);
      assertArrayEquals(new float[] {5, 6.5f}, y.toFloats());
      vectors.projectBox(0.25, x, y);
      assertArrayEquals(new float[] {4, 5.25f}, y.toFloats(), 1e-6f);
      vectors.scaleByMagnitude(0.5, of(device, -3, 0), y);
      assertArrayEquals(new float[] {14, 2.625f}, y.toFloats(), 1e-5f);
      Tensor v = of(device, 0, 0);
      Tensor w = of(device, 1, 1);
      SgdStep step = new SgdStep().rate(0.5).momentum(0.5).gradientScale(2);
      vectors.sgd(step, w, of(device, 1, 2), v);
      vectors.sgd(step, w, of(device, 0, 0), v);
      assertArrayEquals(new float[] {-0.5f, -2}, w.toFloats(), 1e-6f);
      Tensor m = of(device, 0, 0);
      Tensor u = of(device, 0, 0);
      vectors.adam(new AdamStep().rate(0.1), w, of(device, 4, -4), m, u);
      assertArrayEquals(new float[] {-0.6f, -1.9f}, w.toFloats(), 1e-5f);
      try (Segments layers = device.segments()) {
        layers.add(1, true);
        assertThrows(
            IllegalArgumentException.class,
            () -> vectors.lars(new LarsStep(), layers, w, u, v),
            "a layer is missing");
        layers.add(1, false);
        assertEquals(2, layers.elements());
        Tensor weights = of(device, 4, 1);
        LarsStep lars = new LarsStep().rate(0.5).trust(0.1).momentum(0);
        // lambda = 0.1 * 4 / 2, and 1 for what is not adapted.
        vectors.lars(lars, layers, weights, of(device, 2, 2), of(device, 0, 0));
        assertArrayEquals(new float[] {3.8f, 0}, weights.toFloats(), 1e-6f);
        LambStep lamb = new LambStep().rate(0.5);
        // mhat / sqrt(vhat) = 1 in the first step; ||w|| / ||r|| = 3.8.
        vectors.lamb(lamb, layers, weights, of(device, 7, 7), of(device, 0, 0), of(device, 0, 0));
        assertArrayEquals(new float[] {1.9f, -0.5f}, weights.toFloats(), 1e-5f);
        assertThrows(IllegalArgumentException.class, () -> layers.add(0, true));
      }
      assertThrows(IllegalArgumentException.class, () -> vectors.axpy(1, x, of(device, 1)));
    }
  }
}
