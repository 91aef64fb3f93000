package org.ghostbatch.device;

import org.ghostbatch.binding.GhostBatch;

/**
 * Ghost batch normalization (Hoffer, Hubara and Soudry 2017, arXiv 1705.08741, Algorithm 1) of one
 * shape, fused with ReLU and a residual. Ghosts are runs of rows: ghost k is rows [offsets[k],
 * offsets[k+1]), offsets start at 0; rows behind the last are neither read nor written.
 */
public final class GhostBatchNorm extends NativeObject {
  private final GhostBatchNormSpec spec;
  private final org.ghostbatch.binding.GhostBatchNorm binding;
  private final String implementation;

  /**
   * The tensors of a call by role; made once, filled, and used again for any number of calls.
   * Activations have the spec's type and size, everything per channel the parameter type.
   */
  public static final class Arguments {
    private Tensor src;
    private Tensor residual;
    private Tensor dst;
    private Tensor gamma;
    private Tensor beta;
    private Tensor mean;
    private Tensor variance;
    private Tensor diffDst;
    private Tensor diffDst2;
    private Tensor diffSrc;
    private Tensor diffResidual;
    private Tensor diffGamma;
    private Tensor diffBeta;
    private int[] offsets;

    /** x [N,H,W,C]. */
    public Arguments src(Tensor tensor) {
      src = tensor;
      return this;
    }

    /** Added before the ReLU, as src; only with a spec that has one. */
    public Arguments residual(Tensor tensor) {
      residual = tensor;
      return this;
    }

    /** y, as src; backward needs it where the spec has ReLU and residual. */
    public Arguments dst(Tensor tensor) {
      dst = tensor;
      return this;
    }

    /** Scale [C]. */
    public Arguments gamma(Tensor tensor) {
      gamma = tensor;
      return this;
    }

    /** Shift [C]. */
    public Arguments beta(Tensor tensor) {
      beta = tensor;
      return this;
    }

    /** [ghosts, C]. */
    public Arguments mean(Tensor tensor) {
      mean = tensor;
      return this;
    }

    /** Biased, [ghosts, C]. */
    public Arguments variance(Tensor tensor) {
      variance = tensor;
      return this;
    }

    /** Gradient of y. */
    public Arguments diffDst(Tensor tensor) {
      diffDst = tensor;
      return this;
    }

    /** A second gradient of y to be added, or null; only with a residual. */
    public Arguments diffDst2(Tensor tensor) {
      diffDst2 = tensor;
      return this;
    }

    /** Receives the gradient of x. */
    public Arguments diffSrc(Tensor tensor) {
      diffSrc = tensor;
      return this;
    }

    /** Receives the gradient of the residual; only with a residual. */
    public Arguments diffResidual(Tensor tensor) {
      diffResidual = tensor;
      return this;
    }

    /** Receives the gradient of gamma [C], summed over the ghosts. */
    public Arguments diffGamma(Tensor tensor) {
      diffGamma = tensor;
      return this;
    }

    /** Receives the gradient of beta [C], summed over the ghosts. */
    public Arguments diffBeta(Tensor tensor) {
      diffBeta = tensor;
      return this;
    }

    /** First rows of the ghosts, and behind them the number of rows; at least two. */
    public Arguments offsets(int... offsets) {
      this.offsets = offsets;
      return this;
    }
  }

  private GhostBatchNorm(
      Device device, org.ghostbatch.binding.GhostBatchNorm binding, GhostBatchNormSpec spec) {
    super(device, "ghost_batch_norm", binding);
    this.binding = binding;
    this.spec = spec;
    this.implementation = binding.implementation();
  }

  static GhostBatchNorm create(Device device, GhostBatchNormSpec spec) {
    try (var binding = spec.toBinding()) {
      return new GhostBatchNorm(device, device.binding().ghost_batch_norm(binding), spec);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    }
  }

  public GhostBatchNormSpec spec() {
    return spec;
  }

  /** Writes mean, variance and dst from src, gamma, beta and residual. */
  public void forward(Arguments a) {
    int ghosts = check(a);
    begin();
    try {
      binding.forward(
          activation("src", a.src),
          channels("gamma", a.gamma, 1),
          channels("beta", a.beta, 1),
          optional("residual", a.residual, spec.residual()),
          activation("dst", a.dst),
          channels("mean", a.mean, ghosts),
          channels("variance", a.variance, ghosts),
          a.offsets,
          ghosts);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** Writes dst from given statistics; running statistics are those of one ghost. */
  public void normalize(Arguments a) {
    int ghosts = check(a);
    begin();
    try {
      binding.normalize(
          activation("src", a.src),
          channels("mean", a.mean, ghosts),
          channels("variance", a.variance, ghosts),
          channels("gamma", a.gamma, 1),
          channels("beta", a.beta, 1),
          optional("residual", a.residual, spec.residual()),
          activation("dst", a.dst),
          a.offsets,
          ghosts);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /**
   * Writes diffSrc, diffResidual, diffGamma and diffBeta.
   *
   * @param constantStatistics mode RUNNING: mean and variance are constants
   */
  public void backward(Arguments a, boolean constantStatistics) {
    int ghosts = check(a);
    begin();
    try {
      binding.backward(
          activation("src", a.src),
          optional(
              "dst", spec.relu() && spec.residual() ? a.dst : null, spec.relu() && spec.residual()),
          activation("diff_dst", a.diffDst),
          a.diffDst2 == null ? NO_VIEW : activation("diff_dst2", a.diffDst2),
          channels("mean", a.mean, ghosts),
          channels("variance", a.variance, ghosts),
          channels("gamma", a.gamma, 1),
          channels("beta", a.beta, 1),
          activation("diff_src", a.diffSrc),
          optional("diff_residual", a.diffResidual, spec.residual()),
          channels("diff_gamma", a.diffGamma, 1),
          channels("diff_beta", a.diffBeta, 1),
          a.offsets,
          ghosts,
          constantStatistics);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /**
   * Folds batch norm with running statistics into the layer before it, in place: weights[k] *=
   * gamma[k] / sqrt(variance[k] + epsilon), bias[k] = beta[k] + (bias[k] - mean[k]) * the same.
   *
   * @param weights of K rows; this and all others in memory of the host
   * @param bias [K]
   * @param norm gamma, beta, mean and variance, each [K]
   */
  public static void fold(Tensor weights, Tensor bias, Arguments norm, double epsilon) {
    String kind = "fold_batch_norm";
    Check.present(kind, "arguments", norm);
    Tensor[] all = {weights, bias, norm.gamma, norm.beta, norm.mean, norm.variance};
    int held = 0;
    for (Tensor tensor : all) {
      Check.present(kind, "weights, bias, gamma, beta, mean and variance", tensor);
      if (!tensor.device().hostMemory()) {
        throw Check.bad(kind, "tensors in memory of the host", "those of " + tensor.device());
      }
    }
    try {
      for (; held < all.length; held++) {
        all[held].handle.acquire();
      }
      GhostBatch.fold_batch_norm(
          weights.view,
          bias.view,
          norm.gamma.view,
          norm.beta.view,
          norm.mean.view,
          norm.variance.view,
          epsilon);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      while (held > 0) {
        all[--held].handle.release();
      }
    }
  }

  /** What runs. */
  public String implementation() {
    return implementation;
  }

  private int check(Arguments a) {
    Check.present(kind, "arguments", a);
    if (a.offsets == null || a.offsets.length < 2) {
      throw Check.bad(kind, "at least two offsets", a.offsets == null ? "null" : a.offsets.length);
    }
    return a.offsets.length - 1;
  }

  private long activation(String role, Tensor tensor) {
    return useExactly(role, tensor, spec.type(), spec.elements());
  }

  private long optional(String role, Tensor tensor, boolean wanted) {
    present(role, tensor, wanted);
    return wanted ? activation(role, tensor) : NO_VIEW;
  }

  private long channels(String role, Tensor tensor, int rows) {
    return use(role, tensor, spec.type().parameterType(), (long) rows * spec.channels());
  }
}
