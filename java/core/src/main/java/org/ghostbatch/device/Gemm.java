package org.ghostbatch.device;

import org.ghostbatch.binding.Resource;

/** Matrix product of one shape. */
public final class Gemm extends NativeObject {
  private final GemmSpec spec;
  private final org.ghostbatch.binding.Gemm binding;
  private final long scratch;
  private final String implementation;

  private Gemm(Device device, Resource[] parts, GemmSpec spec) {
    super(device, "gemm", parts, NO_STRUCTS);
    this.spec = spec;
    this.binding = (org.ghostbatch.binding.Gemm) parts[0];
    this.scratch = ((org.ghostbatch.binding.Tensor) parts[1]).view();
    this.implementation = binding.implementation();
  }

  static Gemm create(Device device, GemmSpec spec) {
    org.ghostbatch.binding.Gemm kernel = null;
    try (var binding = spec.toBinding()) {
      kernel = device.binding().gemm(binding);
      Resource scratch =
          org.ghostbatch.binding.Tensor.create(
              device.binding(), DataType.U8.binding, Math.max(1, kernel.scratch_bytes()));
      return new Gemm(device, new Resource[] {kernel, scratch}, spec);
    } catch (RuntimeException e) {
      if (kernel != null) {
        kernel.destroy();
      }
      throw NativeException.of(e);
    }
  }

  public GemmSpec spec() {
    return spec;
  }

  /** C = alpha op(A) op(B) + beta C, + bias; {@code bias} null exactly where the spec has none. */
  public void run(Tensor a, Tensor b, Tensor bias, Tensor c) {
    present("bias", bias, spec.bias());
    begin();
    try {
      binding.run(
          useExactly("A", a, spec.type(), (long) spec.m() * spec.k()),
          useExactly("B", b, spec.type(), (long) spec.k() * spec.n()),
          spec.bias() ? useExactly("bias", bias, spec.type().parameterType(), spec.n()) : NO_VIEW,
          useExactly("C", c, spec.type(), (long) spec.m() * spec.n()),
          scratch);
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
}
