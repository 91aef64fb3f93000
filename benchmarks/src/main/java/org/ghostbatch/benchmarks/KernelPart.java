package org.ghostbatch.benchmarks;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
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
import org.ghostbatch.device.VectorKernels;
import org.ghostbatch.random.RandomStream;

/** A kernel on one thread's rows, with random operands that depend on a seed alone. */
abstract class KernelPart implements AutoCloseable {
  /** Random values repeat after so many: a prime, so that rows differ. */
  private static final int PERIOD = 999_983;

  private final Device device;
  private final DataType type;
  private final int rows;
  private final RandomStream random;
  private final Map<String, Tensor> results = new LinkedHashMap<>();
  private final List<Runnable> owned = new ArrayList<>();

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

  /**
   * Waits for all runs: a value of a result comes behind them, in the order of the GPU's stream.
   */
  final void finish() {
    results.values().iterator().next().copyTo(0, new float[1]);
  }

  abstract String kernel();

  final Tensor tensor(DataType type, long... shape) {
    Tensor tensor = device.tensor(type, shape);
    owned.add(tensor::close);
    return tensor;
  }

  /** A tensor of values in -1..1. */
  final Tensor random(DataType type, long... shape) {
    Tensor tensor = tensor(type, shape);
    float[] block = new float[(int) Math.min(tensor.elements(), PERIOD)];
    for (int i = 0; i < block.length; i++) {
      block[i] = (float) (2 * random.nextDouble() - 1);
    }
    for (long at = 0; at < tensor.elements(); at += block.length) {
      if (tensor.elements() - at < block.length) {
        block = Arrays.copyOf(block, (int) (tensor.elements() - at));
      }
      tensor.copyFrom(at, block);
    }
    return tensor;
  }

  /** Room that {@link #compare} looks at. */
  final Tensor result(String name, DataType type, long... shape) {
    Tensor tensor = tensor(type, shape);
    results.put(name, tensor);
    return tensor;
  }

  /** Closes the kernel and its operands. */
  @Override
  public void close() {
    closeKernel();
    owned.forEach(Runnable::run);
  }

  abstract void closeKernel();

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
          if (largest == 0 && values.length >= 64) { // nothing ran, here or there
            throw new IllegalStateException("[bench] needs a " + name + ", got zeros");
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

  /**
   * Ghost batch norm with ReLU. Spelled {@code accumulate}: ghost after ghost, each forward and
   * backward in the same memory, as where a network takes them one by one. On a GPU a call also
   * copies its offsets there, some 100 bytes, which its time contains; the engine keeps them there.
   */
  static final class Norm extends KernelPart {
    private final GhostBatchNorm norm;
    private final List<GhostBatchNorm.Arguments> calls = new ArrayList<>();
    private final boolean forward;
    private final boolean backward;

    Norm(Device device, Case what, int rows, long seed) {
      super(device, what, rows, seed);
      int[] n = what.sizes("N", "H", "W", "C");
      DataType type = Kernels.type(what);
      int ghost = what.ghost() == 0 ? rows : what.ghost();
      int ghosts = rows / ghost;
      int passes = what.spelling().equals("accumulate") ? ghosts : 1;
      int rowsOfPass = rows / passes;
      norm =
          device.ghostBatchNorm(
              GhostBatchNormSpec.of(rowsOfPass, n[1], n[2], n[3]).withRelu(true).withType(type));
      forward = !what.direction().equals("backward");
      backward = !what.direction().equals("forward");
      int[] offsets = new int[ghosts / passes + 1];
      for (int g = 0; g < offsets.length; g++) {
        offsets[g] = g * ghost;
      }
      long[] shape = {rows, n[1], n[2], n[3]};
      long[] ofPass = {rowsOfPass, n[1], n[2], n[3]};
      long elements = (long) rowsOfPass * n[1] * n[2] * n[3];
      Tensor src = random(type, shape);
      Tensor gamma = random(DataType.F32, n[3]);
      Tensor beta = random(DataType.F32, n[3]);
      Tensor mean = result("mean", DataType.F32, ghosts / passes, n[3]);
      Tensor variance = result("variance", DataType.F32, ghosts / passes, n[3]);
      Tensor dst = forward ? result("dst", type, ofPass) : tensor(type, ofPass);
      Tensor diffDst = backward ? random(type, shape) : null;
      Tensor diffSrc = backward ? result("diff_src", type, ofPass) : null;
      Tensor diffGamma = backward ? result("diff_gamma", DataType.F32, n[3]) : null;
      Tensor diffBeta = backward ? result("diff_beta", DataType.F32, n[3]) : null;
      for (int pass = 0; pass < passes; pass++) {
        GhostBatchNorm.Arguments arguments =
            new GhostBatchNorm.Arguments()
                .src(src.slice(pass * elements, ofPass))
                .gamma(gamma)
                .beta(beta)
                .mean(mean)
                .variance(variance)
                .dst(dst)
                .offsets(offsets);
        if (backward) {
          arguments
              .diffDst(diffDst.slice(pass * elements, ofPass))
              .diffSrc(diffSrc)
              .diffGamma(diffGamma)
              .diffBeta(diffBeta);
        }
        calls.add(arguments);
      }
      if (!forward) {
        norm.forward(calls.get(0)); // the statistics
      }
    }

    @Override
    void run() {
      for (GhostBatchNorm.Arguments arguments : calls) {
        if (forward) {
          norm.forward(arguments);
        }
        if (backward) {
          norm.backward(arguments, false);
        }
      }
    }

    @Override
    String kernel() {
      return norm.implementation();
    }

    @Override
    void closeKernel() {
      norm.close();
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

    @Override
    void closeKernel() {
      affine.close();
    }
  }

  /** A copy of a vector. */
  static final class Copy extends KernelPart {
    private final VectorKernels vectors;
    private final Tensor src;
    private final Tensor dst;

    Copy(Device device, Case what, int rows, long seed) {
      super(device, what, rows, seed);
      vectors = device.vectors(null);
      src = random(DataType.F32, rows);
      dst = result("dst", DataType.F32, rows);
    }

    @Override
    void run() {
      vectors.copy(src, dst);
    }

    @Override
    String kernel() {
      return vectors.implementation();
    }

    @Override
    void closeKernel() {
      vectors.close();
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

    @Override
    void closeKernel() {
      elementwise.close();
    }
  }
}
