package org.ghostbatch.device;

import org.ghostbatch.binding.Resource;

/**
 * min f(x), lower &lt;= x &lt;= upper, by L-BFGS-B, for vectors as long as the parameters of a
 * network: f64 tensors in host memory.
 *
 * <p>By reverse communication: {@link #start} writes a point to x, the caller evaluates f there,
 * {@link #advance} writes the next, until a status {@linkplain LbfgsbStatus#isEnd is an end}. Every
 * point lies inside the box, exactly. Results have the same bits for any number of lanes. Memory:
 * about (2 m + 6) n doubles; calls allocate nothing.
 *
 * @see <a href="https://doi.org/10.1137/0916069">Byrd, Lu, Nocedal & Zhu 1995</a>
 * @see <a href="https://doi.org/10.1145/2049662.2049669">Morales & Nocedal 2011</a>
 * @see <a href="https://doi.org/10.1145/192115.192132">More & Thuente 1994</a>
 */
public final class Lbfgsb extends NativeObject {
  private static final NativeHandle[] NONE = {};

  private final org.ghostbatch.binding.Lbfgsb binding;
  private final Lanes lanes;
  private final org.ghostbatch.binding.Lanes lanesBinding;
  private final LbfgsbSpec spec;
  private final long elements;

  private Lbfgsb(
      Device device,
      org.ghostbatch.binding.Lbfgsb binding,
      Lanes lanes,
      long elements,
      LbfgsbSpec spec) {
    super(
        device,
        "lbfgsb",
        new Resource[] {binding},
        NO_STRUCTS,
        lanes == null ? NONE : new NativeHandle[] {lanes.handle});
    this.binding = binding;
    this.lanes = lanes;
    this.lanesBinding = lanes == null ? null : lanes.binding;
    this.elements = elements;
    this.spec = spec;
  }

  static Lbfgsb create(Device device, Lanes lanes, long elements, LbfgsbSpec spec) {
    Check.positive("lbfgsb", "elements", elements);
    if (!device.hostMemory()) {
      throw Check.bad("lbfgsb", "a device whose tensors are host memory", device.name());
    }
    if (lanes != null) {
      if (lanes.device() != device) {
        throw Check.bad("lbfgsb", "lanes of its own device", "those of another");
      }
      lanes.handle.acquire();
    }
    try (var binding = spec.toBinding()) {
      return new Lbfgsb(
          device, org.ghostbatch.binding.Lbfgsb.create(elements, binding), lanes, elements, spec);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      if (lanes != null) {
        lanes.handle.release();
      }
    }
  }

  public LbfgsbSpec spec() {
    return spec;
  }

  /**
   * Begins at {@code x}, which is clamped into the box. The bounds are copied; they may be
   * infinite.
   *
   * @throws NativeException naming the first place where lower &lt;= upper does not hold, or x is
   *     not finite
   */
  public void start(Tensor x, Tensor lower, Tensor upper) {
    begin();
    try {
      useLanes();
      binding.start(lanesBinding, vector("x", x), vector("lower", lower), vector("upper", upper));
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /**
   * Takes f and its gradient at the point last written to {@code x}, and writes the next, or, at an
   * end, the last iterate. A value or gradient that is not finite shortens the step.
   *
   * @throws NativeException where they are not finite at the first point, or nothing was started
   */
  public LbfgsbStatus advance(double f, Tensor gradient, Tensor x) {
    begin();
    try {
      useLanes();
      return LbfgsbStatus.of(
          binding.advance(lanesBinding, f, vector("gradient", gradient), vector("x", x)));
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** Writes the last iterate, the best point so far. */
  public void best(Tensor x) {
    begin();
    try {
      useLanes();
      binding.best(lanesBinding, vector("x", x));
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** The last status in words. */
  public String reason() {
    begin();
    try {
      return binding.reason();
    } finally {
      end();
    }
  }

  /** f at the last iterate; NaN before the first evaluation. */
  public double value() {
    begin();
    try {
      return binding.value();
    } finally {
      end();
    }
  }

  /** max |P(x - g) - x| at the last iterate; NaN before the first evaluation. */
  public double projectedGradientNorm() {
    begin();
    try {
      return binding.projected_gradient_norm();
    } finally {
      end();
    }
  }

  /** Iterates since the start, the first point not counted. */
  public long iterations() {
    begin();
    try {
      return binding.iterations();
    } finally {
      end();
    }
  }

  /** Values that were taken since the start. */
  public long evaluations() {
    begin();
    try {
      return binding.evaluations();
    } finally {
      end();
    }
  }

  /** Bytes that this holds. */
  public long bytes() {
    begin();
    try {
      return binding.bytes();
    } finally {
      end();
    }
  }

  private void useLanes() {
    if (lanes != null) {
      use(lanes.handle);
    }
  }

  private long vector(String role, Tensor tensor) {
    return useExactly(role, tensor, DataType.F64, elements);
  }
}
