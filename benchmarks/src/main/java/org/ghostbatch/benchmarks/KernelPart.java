package org.ghostbatch.benchmarks;

import java.util.LinkedHashMap;
import java.util.Map;
import org.ghostbatch.device.Affine;
import org.ghostbatch.device.ConvolutionSpec;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Elementwise;
import org.ghostbatch.device.GhostBatchNorm;
import org.ghostbatch.device.GhostBatchNormSpec;
import org.ghostbatch.device.LinearSpec;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.random.RandomStream;

/** A kernel on one thread's rows, with random operands that depend on a seed alone. */
abstract class KernelPart {
  private final Device device;
  private final DataType type;
  private final int rows;
  private final RandomStream random;
  private final Map<String, Tensor> results = new LinkedHashMap<>();

  private KernelPart(Device device, Case what, int rows, long seed) {
    this.device = device;
    this.type = Kernels.type(what);
    this.rows = rows;
    this.random = new RandomStream(seed, 1, 0, 0);
  }

  final int rows() {
    return rows;
  }

  abstract void run();

  abstract String kernel();

  /** A tensor of values in -1..1. */
  final Tensor random(DataType type, long... shape) {
    Tensor tensor = device.tensor(type, shape);
    float[] block = new float[(int) Math.min(tensor.elements(), 1 << 20)];
    for (long at = 0; at < tensor.elements(); at += block.length) {
      if (tensor.elements() - at < block.length) {
        block = new float[(int) (tensor.elements() - at)];
      }
      for (int i = 0; i < block.length; i++) {
        block[i] = (float) (2 * random.nextDouble() - 1);
      }
      tensor.copyFrom(at, block);
    }
    return tensor;
  }

  /** Room that {@link #compare} looks at. */
  final Tensor result(String name, DataType type, long... shape) {
    Tensor tensor = device.tensor(type, shape);
    results.put(name, tensor);
    return tensor;
  }

  /** Refuses results that differ by more than {@code tolerance} times the largest value. */
  final void compare(KernelPart exact, double tolerance) {
    results.forEach(
        (name, tensor) -> {
          float[] values = tensor.toFloats();
          float[] wanted = exact.results.get(name).toFloats();
          double largest = 0;
          for (float value : wanted) {
            largest = Math.max(largest, Math.abs(value));
          }
          for (int i = 0; i < values.length; i++) {
            if (!(Math.abs(values[i] - wanted[i]) <= tolerance * largest)) {
              throw new IllegalStateException(
                  "[bench] needs the reference's "
                      + name
                      + ", "
                      + wanted[i]
                      + " at "
                      + i
                      + " of "
                      + values.length
                      + ", got "
                      + values[i]);
            }
          }
        });
  }

  /** Ghost batch norm with ReLU. */
  static final class Norm extends KernelPart {
    private final GhostBatchNorm norm;
    private final GhostBatchNorm.Arguments arguments = new GhostBatchNorm.Arguments();
    private final boolean forward;
    private final boolean backward;

    Norm(Device device, Case what, int rows, long seed) {
      super(device, what, rows, seed);
      int[] n = what.sizes("N", "H", "W", "C");
      DataType type = Kernels.type(what);
      int ghost = what.ghost() == 0 ? rows : what.ghost();
      int[] offsets = new int[rows / ghost + 1];
      for (int g = 0; g < offsets.length; g++) {
        offsets[g] = g * ghost;
      }
      int ghosts = offsets.length - 1;
      long[] shape = {rows, n[1], n[2], n[3]};
      norm =
          device.ghostBatchNorm(
              GhostBatchNormSpec.of(rows, n[1], n[2], n[3]).withRelu(true).withType(type));
      arguments
          .src(random(type, shape))
          .gamma(random(DataType.F32, n[3]))
          .beta(random(DataType.F32, n[3]))
          .mean(result("mean", DataType.F32, ghosts, n[3]))
          .variance(result("variance", DataType.F32, ghosts, n[3]))
          .offsets(offsets);
      forward = !what.direction().equals("backward");
      backward = !what.direction().equals("forward");
      arguments.dst(forward ? result("dst", type, shape) : device.tensor(type, shape));
      if (backward) {
        arguments
            .diffDst(random(type, shape))
            .diffSrc(result("diff_src", type, shape))
            .diffGamma(result("diff_gamma", DataType.F32, n[3]))
            .diffBeta(result("diff_beta", DataType.F32, n[3]));
      }
      if (!forward) {
        norm.forward(arguments); // the statistics
      }
    }

    @Override
    void run() {
      if (forward) {
        norm.forward(arguments);
      }
      if (backward) {
        norm.backward(arguments, false);
      }
    }

    @Override
    String kernel() {
      return norm.implementation();
    }
  }

  /** A convolution or a linear layer in one direction. */
  static final class Layer extends KernelPart {
    private final Affine affine;
    private final Runnable run;

    private Layer(
        Device device,
        Case what,
        int rows,
        long seed,
        Affine affine,
        long[] src,
        long[] weights,
        long[] dst) {
      super(device, what, rows, seed);
      this.affine = affine;
      DataType type = Kernels.type(what);
      affine.setWeights(random(DataType.F32, weights));
      switch (what.direction()) {
        case "forward" -> {
          Tensor x = random(type, src);
          Tensor y = result("dst", type, dst);
          run = () -> affine.forward(x, null, y);
        }
        case "backward-data" -> {
          Tensor dy = random(type, dst);
          Tensor dx = result("diff_src", type, src);
          run = () -> affine.backwardData(dy, dx);
        }
        default -> {
          Tensor x = random(type, src);
          Tensor dy = random(type, dst);
          Tensor dw = result("diff_weights", DataType.F32, weights);
          run = () -> affine.backwardWeights(x, dy, dw, null);
        }
      }
    }

    static Layer convolution(Device device, Case what, int rows, long seed) {
      int[] n = what.sizes("N", "H", "W", "C", "F", "K", "S");
      ConvolutionSpec spec =
          ConvolutionSpec.of(rows, n[1], n[2], n[3], n[4], n[5])
              .withPadding(n[5] / 2)
              .withStride(n[6])
              .withType(Kernels.type(what));
      return new Layer(
          device,
          what,
          rows,
          seed,
          device.convolution(spec, true),
          new long[] {rows, n[1], n[2], n[3]},
          new long[] {n[4], n[5], n[5], n[3]},
          new long[] {rows, spec.outHeight(), spec.outWidth(), n[4]});
    }

    static Layer linear(Device device, Case what, int rows, long seed) {
      int[] n = what.sizes("N", "IN", "OUT");
      return new Layer(
          device,
          what,
          rows,
          seed,
          device.linear(
              LinearSpec.of(rows, n[1], n[2]).withBias(false).withType(Kernels.type(what)), true),
          new long[] {rows, n[1]},
          new long[] {n[2], n[1]},
          new long[] {rows, n[2]});
    }

    @Override
    void run() {
      run.run();
    }

    @Override
    String kernel() {
      return affine.implementation();
    }
  }

  /** ReLU, out of place. */
  static final class Relu extends KernelPart {
    private final Elementwise elementwise;
    private final Tensor src;
    private final Tensor dst;

    Relu(Device device, Case what, int rows, long seed) {
      super(device, what, rows, seed);
      DataType type = Kernels.type(what);
      elementwise = device.elementwise(type);
      src = random(type, rows);
      dst = result("dst", type, rows);
    }

    @Override
    void run() {
      elementwise.relu(src, dst, rows());
    }

    @Override
    String kernel() {
      return elementwise.implementation();
    }
  }
}
