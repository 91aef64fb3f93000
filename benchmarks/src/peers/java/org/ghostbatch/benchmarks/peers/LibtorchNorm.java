package org.ghostbatch.benchmarks.peers;

import java.util.ArrayList;
import java.util.List;
import org.bytedeco.javacpp.BoolPointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.T_TensorTensorTensor_T;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * Ghost batch norm and ReLU by the operators that autograd calls, so that backward can run alone.
 * Spellings as in {@link LibtorchNetwork}; {@code accumulate} takes ghost after ghost through
 * forward and backward.
 */
final class LibtorchNorm {
  private static final double MOMENTUM = 0.1;
  private static final double EPSILON = 1e-5;

  /** What backward reads. */
  private record Saved(Tensor x, Tensor y, TensorOptional mean, TensorOptional rstd) {}

  private final Scalar zero = new Scalar(0.0);
  private final BoolPointer all = LibtorchKernels.mask(true, true, true);
  private final int ghosts;
  private final Tensor x;
  private final Tensor dy;
  private final TensorVector xGhosts;
  private final TensorVector dyGhosts;
  private final Tensor gamma;
  private final Tensor beta;
  private final TensorOptional gammaOption;
  private final TensorOptional betaOption;
  private final TensorOptional mean;
  private final TensorOptional variance;
  private final Tensor diffGamma;
  private final Tensor diffBeta;

  /**
   * @param x [N, C, H, W] in channels_last, as {@code dy}
   * @param statistics running means and variances to keep: C, or ghosts C of a fold
   */
  private LibtorchNorm(
      Tensor x, Tensor dy, Tensor gamma, Tensor beta, int ghosts, long statistics) {
    this.x = x;
    this.dy = dy;
    this.gamma = gamma;
    this.beta = beta;
    this.ghosts = ghosts;
    xGhosts = x.chunk(ghosts, 0);
    dyGhosts = dy.chunk(ghosts, 0);
    gammaOption = new TensorOptional(gamma);
    betaOption = new TensorOptional(beta);
    mean = new TensorOptional(torch.zeros(statistics));
    variance = new TensorOptional(torch.ones(statistics));
    diffGamma = torch.zeros(gamma.numel());
    diffBeta = torch.zeros(gamma.numel());
  }

  /**
   * One run in that direction. What it holds goes to the caller's scope.
   *
   * @param spelling plain, accumulate, chunk or fold
   * @param direction forward, backward or both
   */
  static Runnable of(
      String spelling,
      String direction,
      Tensor x,
      Tensor dy,
      Tensor gamma,
      Tensor beta,
      int ghosts) {
    if (!List.of("forward", "backward", "both").contains(direction)) {
      throw new IllegalArgumentException(
          "[libtorch] needs direction forward, backward or both, got " + direction);
    }
    boolean fold = spelling.equals("fold");
    long statistics = gamma.numel() * (fold ? ghosts : 1);
    LibtorchNorm norm = new LibtorchNorm(x, dy, gamma, beta, ghosts, statistics);
    return switch (spelling) {
      case "plain", "accumulate" -> norm.accumulating(direction);
      case "chunk" -> norm.chunking(direction);
      case "fold" -> norm.folding(direction);
      default ->
          throw new IllegalArgumentException(
              "[libtorch] needs spelling plain, accumulate, chunk or fold, got " + spelling);
    };
  }

  private Runnable accumulating(String direction) {
    return switch (direction) {
      case "forward" ->
          () -> {
            for (int g = 0; g < ghosts; g++) {
              try (var scope = new PointerScope()) {
                forward(xGhosts.get(g));
              }
            }
          };
      case "backward" -> {
        List<Saved> saved = forwardGhosts();
        yield () -> {
          for (int g = 0; g < ghosts; g++) {
            try (var scope = new PointerScope()) {
              backward(saved.get(g), dyGhosts.get(g));
            }
          }
        };
      }
      default ->
          () -> {
            for (int g = 0; g < ghosts; g++) {
              try (var scope = new PointerScope()) {
                backward(forward(xGhosts.get(g)), dyGhosts.get(g));
              }
            }
          };
    };
  }

  /**
   * ReLU before cat, while the ghost is in cache: alone, that measured faster than on the whole.
   */
  private Runnable chunking(String direction) {
    if (direction.equals("backward")) {
      List<Saved> saved = forwardGhosts();
      return () -> {
        try (var scope = new PointerScope()) {
          backwardGhosts(saved);
        }
      };
    }
    boolean both = direction.equals("both");
    return () -> {
      try (var scope = new PointerScope()) {
        List<Saved> saved = forwardGhosts();
        TensorVector results = new TensorVector(ghosts);
        for (int g = 0; g < ghosts; g++) {
          results.put(g, saved.get(g).y);
        }
        torch.cat(results, 0);
        if (both) {
          backwardGhosts(saved);
        }
      }
    };
  }

  private Runnable folding(String direction) {
    if (direction.equals("backward")) {
      Saved saved = forwardFolded();
      return () -> {
        try (var scope = new PointerScope()) {
          backwardFolded(saved);
        }
      };
    }
    boolean both = direction.equals("both");
    return () -> {
      try (var scope = new PointerScope()) {
        Saved saved = forwardFolded();
        LibtorchNetwork.unfold(saved.y, ghosts);
        if (both) {
          backwardFolded(saved);
        }
      }
    };
  }

  private List<Saved> forwardGhosts() {
    List<Saved> saved = new ArrayList<>();
    for (int g = 0; g < ghosts; g++) {
      saved.add(forward(xGhosts.get(g)));
    }
    return saved;
  }

  private void backwardGhosts(List<Saved> saved) {
    TensorVector results = new TensorVector(ghosts);
    for (int g = 0; g < ghosts; g++) {
      try (var scope = new PointerScope()) {
        results.put(g, backward(saved.get(g), dyGhosts.get(g)));
      }
    }
    torch.cat(results, 0);
  }

  private Saved forward(Tensor x) {
    return forward(x, gammaOption, betaOption);
  }

  private Saved forward(Tensor x, TensorOptional gamma, TensorOptional beta) {
    T_TensorTensorTensor_T results =
        torch.native_batch_norm(x, gamma, beta, mean, variance, true, MOMENTUM, EPSILON);
    results.get0().relu_();
    return new Saved(
        x, results.get0(), new TensorOptional(results.get1()), new TensorOptional(results.get2()));
  }

  private Tensor backward(Saved saved, Tensor dy) {
    T_TensorTensorTensor_T results = backward(saved, dy, gammaOption);
    diffGamma.add_(results.get1());
    diffBeta.add_(results.get2());
    return results.get0();
  }

  private T_TensorTensorTensor_T backward(Saved saved, Tensor dy, TensorOptional gamma) {
    Tensor masked = torch.threshold_backward(dy, saved.y, zero);
    return torch.native_batch_norm_backward(
        masked, saved.x, gamma, mean, variance, saved.mean, saved.rstd, true, EPSILON, all);
  }

  private Saved forwardFolded() {
    return forward(
        LibtorchNetwork.fold(x, ghosts),
        new TensorOptional(gamma.repeat(ghosts)),
        new TensorOptional(beta.repeat(ghosts)));
  }

  private void backwardFolded(Saved saved) {
    T_TensorTensorTensor_T results =
        backward(saved, LibtorchNetwork.fold(dy, ghosts), new TensorOptional(gamma.repeat(ghosts)));
    diffGamma.add_(results.get1().view(ghosts, gamma.numel()).sum(0));
    diffBeta.add_(results.get2().view(ghosts, gamma.numel()).sum(0));
    LibtorchNetwork.unfold(results.get0(), ghosts);
  }
}
