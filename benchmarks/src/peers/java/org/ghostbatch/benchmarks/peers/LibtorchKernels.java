package org.ghostbatch.benchmarks.peers;

import static org.bytedeco.pytorch.global.torch.MemoryFormat.ChannelsLast;
import static org.bytedeco.pytorch.global.torch.ScalarType.BFloat16;
import static org.bytedeco.pytorch.global.torch.ScalarType.Float;

import org.bytedeco.javacpp.BoolPointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.InferenceMode;
import org.bytedeco.pytorch.LongArrayRefOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;
import org.ghostbatch.benchmarks.Case;

/**
 * Single operators of libtorch without autograd: what its backward passes call is called directly.
 * Images in channels_last; in bf16 all but gamma and beta is bf16.
 */
final class LibtorchKernels {
  private final Case what;

  private LibtorchKernels(Case what) {
    this.what = what;
  }

  /** One run; operands go to the caller's scope, as does inference mode. */
  static Runnable of(Case what) {
    new InferenceMode();
    var kernels = new LibtorchKernels(what);
    return switch (what.name()) {
      case "gbn" -> kernels.norm();
      case "conv" -> kernels.convolution();
      case "linear" -> kernels.linear();
      case "relu" -> kernels.relu();
      default ->
          throw new IllegalArgumentException(
              "[libtorch] needs gbn, conv, linear or relu, got " + what.name());
    };
  }

  private Runnable norm() {
    int[] n = what.sizes("N", "H", "W", "C");
    int ghost = what.ghost() == 0 ? n[0] : what.ghost();
    if (n[0] % ghost != 0) {
      throw new IllegalArgumentException(
          "[libtorch] needs whole ghosts of " + ghost + " rows, got " + n[0] + " rows");
    }
    Tensor gamma = torch.rand(n[3]);
    Tensor beta = torch.rand(n[3]);
    return LibtorchNorm.of(
        what.spelling(),
        what.direction(),
        images(n[0], n[1], n[2], n[3]),
        images(n[0], n[1], n[2], n[3]),
        gamma,
        beta,
        n[0] / ghost);
  }

  private Runnable convolution() {
    int[] n = what.sizes("N", "H", "W", "C", "F", "K", "S");
    Tensor x = images(n[0], n[1], n[2], n[3]);
    Tensor weight = random(n[4], n[3], n[5], n[5]).contiguous(ChannelsLast);
    long[] stride = {n[6], n[6]};
    long[] padding = {n[5] / 2, n[5] / 2};
    long[] one = {1, 1};
    long[] zero = {0, 0};
    var none = new TensorOptional();
    if (what.direction().equals("forward")) {
      return scoped(() -> torch.convolution(x, weight, none, stride, padding, one, false, zero, 1));
    }
    Tensor y = torch.convolution(x, weight, none, stride, padding, one, false, zero, 1);
    Tensor dy = images(y.size(0), y.size(2), y.size(3), y.size(1));
    boolean data = backwardData();
    var mask = mask(data, !data, false);
    var noBias = new LongArrayRefOptional();
    return scoped(
        () ->
            torch.convolution_backward(
                dy, x, weight, noBias, stride, padding, one, false, zero, 1, mask));
  }

  private Runnable linear() {
    int[] n = what.sizes("N", "IN", "OUT");
    Tensor x = random(n[0], n[1]);
    Tensor weight = random(n[2], n[1]);
    if (what.direction().equals("forward")) {
      return scoped(() -> torch.linear(x, weight));
    }
    Tensor dy = random(n[0], n[2]);
    return backwardData() ? scoped(() -> dy.mm(weight)) : scoped(() -> dy.t().mm(x));
  }

  private boolean backwardData() {
    return switch (what.direction()) {
      case "backward-data" -> true;
      case "backward-weights" -> false;
      default ->
          throw new IllegalArgumentException(
              "[libtorch] needs direction forward, backward-data or backward-weights, got "
                  + what.direction());
    };
  }

  /** Without a scope: nothing is made. */
  private Runnable relu() {
    int[] n = what.sizes("N");
    Tensor x = random(n[0]);
    Tensor y = random(n[0]);
    return () -> torch.relu_out(y, x);
  }

  /** Which gradients a backward operator computes. */
  static BoolPointer mask(boolean data, boolean weights, boolean bias) {
    return new BoolPointer(3).put(0, data).put(1, weights).put(2, bias);
  }

  private static Runnable scoped(Runnable run) {
    return () -> {
      try (var scope = new PointerScope()) {
        run.run();
      }
    };
  }

  /** [N, C, H, W] in channels_last. */
  private Tensor images(long n, long height, long width, long channels) {
    return random(n, height, width, channels).permute(0, 3, 1, 2);
  }

  /** Values in -1..1. */
  private Tensor random(long... shape) {
    Tensor values = torch.uniform_(torch.empty(shape), -1, 1);
    return values.to(what.precision().equals("bf16") ? BFloat16 : Float);
  }
}
