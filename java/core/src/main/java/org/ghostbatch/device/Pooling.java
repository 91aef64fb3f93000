package org.ghostbatch.device;

import org.ghostbatch.binding.Resource;

/** Pooling of one shape; the kernel remembers which cells won, from forward to backward. */
public final class Pooling extends NativeObject {
  private final PoolSpec spec;
  private final org.ghostbatch.binding.Pooling binding;
  private final long workspace;
  private final String implementation;

  private Pooling(Device device, Resource[] parts, PoolSpec spec) {
    super(device, "pooling", parts, NO_STRUCTS);
    this.spec = spec;
    this.binding = (org.ghostbatch.binding.Pooling) parts[0];
    this.workspace =
        parts.length == 1 ? NO_VIEW : ((org.ghostbatch.binding.Tensor) parts[1]).view();
    this.implementation = binding.implementation();
  }

  static Pooling create(Device device, PoolSpec spec) {
    org.ghostbatch.binding.Pooling kernel = null;
    try (var binding = spec.toBinding()) {
      kernel = device.binding().pooling(binding);
      long elements = kernel.workspace_elements();
      Resource[] parts =
          elements == 0
              ? new Resource[] {kernel}
              : new Resource[] {
                kernel,
                org.ghostbatch.binding.Tensor.create(
                    device.binding(), DataType.U8.binding, elements)
              };
      return new Pooling(device, parts, spec);
    } catch (RuntimeException e) {
      if (kernel != null) {
        kernel.destroy();
      }
      throw NativeException.of(e);
    }
  }

  public PoolSpec spec() {
    return spec;
  }

  /** dst [N,P,Q,C] of the first {@code rows} samples of src [N,H,W,C]. */
  public void forward(Tensor src, Tensor dst, int rows) {
    Check.range(kind, "rows", rows, 0, spec.batch());
    begin();
    try {
      binding.forward(
          useExactly("src", src, spec.type(), spec.srcElements()),
          useExactly("dst", dst, spec.type(), spec.dstElements()),
          workspace,
          rows);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** Gradient of src from the gradient of dst, for the samples of the last {@link #forward}. */
  public void backward(Tensor diffDst, Tensor diffSrc, int rows) {
    Check.range(kind, "rows", rows, 0, spec.batch());
    begin();
    try {
      binding.backward(
          useExactly("diff_dst", diffDst, spec.type(), spec.dstElements()),
          useExactly("diff_src", diffSrc, spec.type(), spec.srcElements()),
          workspace,
          rows);
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
