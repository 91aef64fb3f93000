package org.ghostbatch.device;

import org.bytedeco.javacpp.Pointer;
import org.ghostbatch.binding.AdamSpec;
import org.ghostbatch.binding.LambSpec;
import org.ghostbatch.binding.LarsSpec;
import org.ghostbatch.binding.Resource;
import org.ghostbatch.binding.SgdSpec;

/**
 * One-pass kernels on vectors of one length, all of a call f32 or all f64 unless a kernel says
 * otherwise. Sums are formed in double over fixed blocks combined in order: results have the same
 * bits for any number of lanes.
 */
public final class VectorKernels extends NativeObject {
  private static final NativeHandle[] NONE = {};

  private final org.ghostbatch.binding.VectorKernels binding;
  private final Lanes lanes;
  private final org.ghostbatch.binding.Lanes lanesBinding;
  private final SgdSpec sgd;
  private final AdamSpec adam;
  private final LarsSpec lars;
  private final LambSpec lamb;
  private final String implementation;

  private VectorKernels(
      Device device,
      org.ghostbatch.binding.VectorKernels binding,
      Lanes lanes,
      SgdSpec sgd,
      AdamSpec adam,
      LarsSpec lars,
      LambSpec lamb) {
    super(
        device,
        "vectors",
        new Resource[] {binding},
        new Pointer[] {sgd, adam, lars, lamb},
        lanes == null ? NONE : new NativeHandle[] {lanes.handle});
    this.binding = binding;
    this.lanes = lanes;
    this.lanesBinding = lanes == null ? null : lanes.binding;
    this.sgd = sgd;
    this.adam = adam;
    this.lars = lars;
    this.lamb = lamb;
    this.implementation = binding.implementation();
  }

  static VectorKernels create(Device device, Lanes lanes) {
    if (lanes != null) {
      if (lanes.device() != device) {
        throw Check.bad("vectors", "lanes of its own device", "those of another");
      }
      lanes.handle.acquire();
    }
    try {
      return new VectorKernels(
          device,
          device.binding().vector_kernels(),
          lanes,
          new SgdSpec(),
          new AdamSpec(),
          new LarsSpec(),
          new LambSpec());
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      if (lanes != null) {
        lanes.handle.release();
      }
    }
  }

  /** x = value. */
  public void fill(double value, Tensor x) {
    check("x", x, x);
    start();
    try {
      binding._fill(lanesBinding, value, use("x", x, x.type(), x.elements()));
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** y = x, rounded where y is f32 and x f64. */
  public void copy(Tensor x, Tensor y) {
    check("x", x, x);
    check("y", y, y);
    asLong("y", y, x);
    start();
    try {
      binding.copy(lanesBinding, vector("x", x), vector("y", y));
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** x *= alpha. */
  public void scale(double alpha, Tensor x) {
    check("x", x, x);
    start();
    try {
      binding.scale(lanesBinding, alpha, vector("x", x));
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** y += alpha x; x may be f32 where y is f64. */
  public void axpy(double alpha, Tensor x, Tensor y) {
    check("x", x, x);
    if (x.type() == DataType.F32 && Check.present(kind, "y", y).type() == DataType.F64) {
      asLong("y", y, x);
    } else {
      check("y", y, x);
    }
    start();
    try {
      binding.axpy(lanesBinding, alpha, vector("x", x), vector("y", y));
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** Sum of x_i y_i. */
  public double dot(Tensor x, Tensor y) {
    check("x", x, x);
    check("y", y, x);
    start();
    try {
      return binding.dot(lanesBinding, vector("x", x), vector("y", y));
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** Euclidean norm. */
  public double norm(Tensor x) {
    return Math.sqrt(dot(x, x));
  }

  /** Sum of x_i. */
  public double sum(Tensor x) {
    check("x", x, x);
    start();
    try {
      return binding.sum(lanesBinding, vector("x", x));
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** Euclidean norm of x - y. */
  public double distance(Tensor x, Tensor y) {
    check("x", x, x);
    check("y", y, x);
    start();
    try {
      return binding.distance(lanesBinding, vector("x", x), vector("y", y));
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** Largest |x_i|; NaN where any is NaN. */
  public double maxAbs(Tensor x) {
    check("x", x, x);
    start();
    try {
      return binding.max_abs(lanesBinding, vector("x", x));
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /**
   * z = (1 - alpha) x + alpha y; exactly x at alpha 0 and where both are alike, y at alpha 1. z may
   * be x or y.
   */
  public void interpolate(double alpha, Tensor x, Tensor y, Tensor z) {
    check("x", x, x);
    check("y", y, x);
    check("z", z, x);
    start();
    try {
      binding.interpolate(lanesBinding, alpha, vector("x", x), vector("y", y), vector("z", z));
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** Clamps x into |x_i - center_i| <= epsilon (|center_i| + 1): the box of Keskar's Metric 2.1. */
  public void projectBox(double epsilon, Tensor center, Tensor x) {
    check("x", x, x);
    check("center", center, x);
    start();
    try {
      binding.project_box(lanesBinding, epsilon, vector("center", center), vector("x", x));
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** y_i *= |x_i| + offset: T_w of ASAM on a gradient (Kwon et al. 2021, arXiv 2102.11600). */
  public void scaleByMagnitude(double offset, Tensor x, Tensor y) {
    check("x", x, x);
    check("y", y, x);
    start();
    try {
      binding.scale_by_magnitude(lanesBinding, offset, vector("x", x), vector("y", y));
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** One SGD update of {@code weights}; {@code velocity} starts at zero. */
  public void sgd(SgdStep step, Tensor weights, Tensor gradient, Tensor velocity) {
    Check.present(kind, "a step", step);
    check("weights", weights, weights);
    check("gradient", gradient, weights);
    check("velocity", velocity, weights);
    start();
    try {
      sgd.rate(step.rate)
          .momentum(step.momentum)
          .weight_decay(step.weightDecay)
          .gradient_scale(step.gradientScale)
          .nesterov(step.nesterov);
      binding.sgd(
          lanesBinding,
          sgd,
          vector("weights", weights),
          vector("gradient", gradient),
          vector("velocity", velocity));
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** One Adam update of {@code weights}; the moments {@code m} and {@code v} start at zero. */
  public void adam(AdamStep step, Tensor weights, Tensor gradient, Tensor m, Tensor v) {
    Check.present(kind, "a step", step);
    check("weights", weights, weights);
    check("gradient", gradient, weights);
    check("m", m, weights);
    check("v", v, weights);
    start();
    try {
      adam.rate(step.rate)
          .beta1(step.beta1)
          .beta2(step.beta2)
          .epsilon(step.epsilon)
          .weight_decay(step.weightDecay)
          .gradient_scale(step.gradientScale)
          .decoupled(step.decoupled)
          .step(step.step);
      binding.adam(
          lanesBinding,
          adam,
          vector("weights", weights),
          vector("gradient", gradient),
          vector("m", m),
          vector("v", v));
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /**
   * One LARS update of {@code weights}; {@code velocity} starts at zero.
   *
   * @param segments the layers, which cover the weights
   */
  public void lars(
      LarsStep step, Segments segments, Tensor weights, Tensor gradient, Tensor velocity) {
    Check.present(kind, "a step", step);
    check("weights", weights, weights);
    check("gradient", gradient, weights);
    check("velocity", velocity, weights);
    start();
    try {
      use(segments, weights);
      lars.rate(step.rate)
          .momentum(step.momentum)
          .trust(step.trust)
          .weight_decay(step.weightDecay)
          .gradient_scale(step.gradientScale)
          .nesterov(step.nesterov);
      binding.lars(
          lanesBinding,
          lars,
          segments.binding,
          vector("weights", weights),
          vector("gradient", gradient),
          vector("velocity", velocity));
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /**
   * One LAMB update of {@code weights}; the moments {@code m} and {@code v} start at zero.
   *
   * @param segments the layers, which cover the weights
   */
  public void lamb(
      LambStep step, Segments segments, Tensor weights, Tensor gradient, Tensor m, Tensor v) {
    Check.present(kind, "a step", step);
    check("weights", weights, weights);
    check("gradient", gradient, weights);
    check("m", m, weights);
    check("v", v, weights);
    start();
    try {
      use(segments, weights);
      lamb.rate(step.rate)
          .beta1(step.beta1)
          .beta2(step.beta2)
          .epsilon(step.epsilon)
          .weight_decay(step.weightDecay)
          .gradient_scale(step.gradientScale)
          .step(step.step);
      binding.lamb(
          lanesBinding,
          lamb,
          segments.binding,
          vector("weights", weights),
          vector("gradient", gradient),
          vector("m", m),
          vector("v", v));
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** What runs. */
  public String implementation() {
    return implementation;
  }

  private void start() {
    begin();
    if (lanes != null) {
      try {
        use(lanes.handle);
      } catch (RuntimeException e) {
        end();
        throw e;
      }
    }
  }

  private void use(Segments segments, Tensor weights) {
    Check.present(kind, "segments", segments);
    if (segments.device() != device) {
      throw Check.bad(kind, "segments of its own device", "those of another");
    }
    use(segments.handle);
    if (segments.binding.elements() != weights.elements()) {
      throw Check.bad(
          kind, "segments of " + weights.elements() + " elements", segments.binding.elements());
    }
  }

  private long vector(String role, Tensor x) {
    return use(role, x, x.type(), x.elements());
  }

  private void asLong(String role, Tensor tensor, Tensor like) {
    if (tensor.elements() != like.elements()) {
      throw Check.bad(kind, role + " of " + like.elements() + " elements", tensor);
    }
  }

  private void check(String role, Tensor tensor, Tensor like) {
    Check.present(kind, role, tensor);
    if (tensor.type() != like.type() || tensor.elements() != like.elements()) {
      throw Check.bad(kind, role + " of " + like.elements() + " " + like.type(), tensor);
    }
    if (tensor.type() != DataType.F32 && tensor.type() != DataType.F64) {
      throw Check.bad(kind, role + " of f32 or f64", tensor);
    }
  }
}
