package org.ghostbatch.device;

import org.ghostbatch.binding.Resource;

/**
 * A layer dst = weights * src + bias, compiled for one shape. The kernel keeps its own packed copy
 * of the weights: {@link #setWeights} comes first, and again after every change of them.
 */
public abstract sealed class Affine extends NativeObject permits Convolution, Linear {
  private final org.ghostbatch.binding.Affine binding;
  private final boolean backward;
  private final boolean hasBias;
  private final DataType type;
  private final long srcElements;
  private final long dstElements;
  private final long weightsElements;
  private final long biasElements;
  private final String implementation;
  private final long scratch;
  private final long packed;
  private final long packedDiff;
  private final boolean packsDiff;
  private boolean ready;

  Affine(
      Device device,
      String kind,
      Resource[] parts,
      boolean backward,
      long biasElements,
      DataType type) {
    super(device, kind, parts, NO_STRUCTS);
    this.binding = (org.ghostbatch.binding.Affine) parts[0];
    this.backward = backward;
    this.hasBias = biasElements > 0;
    this.type = type;
    this.srcElements = binding.src_elements();
    this.dstElements = binding.dst_elements();
    this.weightsElements = binding.weights_elements();
    this.biasElements = biasElements;
    this.implementation = binding.implementation();
    this.scratch = ((org.ghostbatch.binding.Tensor) parts[1]).view();
    this.packed = ((org.ghostbatch.binding.Tensor) parts[2]).view();
    this.packsDiff = binding.packs_diff_weights();
    this.packedDiff = ((org.ghostbatch.binding.Tensor) parts[3]).view();
  }

  /** The kernel and the memory that it needs beside its arguments: scratch, packed, gradient. */
  static Resource[] parts(
      Device device, org.ghostbatch.binding.Affine kernel, boolean backward, DataType type) {
    Resource[] parts = {kernel, null, null, null};
    try {
      parts[1] = room(device, DataType.U8, kernel.scratch_bytes());
      parts[2] = room(device, DataType.U8, kernel.packed_weights_bytes());
      parts[3] =
          room(
              device,
              type.parameterType(),
              backward && kernel.packs_diff_weights() ? kernel.packed_diff_weights_elements() : 0);
    } catch (RuntimeException e) {
      for (Resource part : parts) {
        if (part != null) {
          part.destroy();
        }
      }
      throw e;
    }
    return parts;
  }

  private static Resource room(Device device, DataType type, long elements) {
    return org.ghostbatch.binding.Tensor.create(
        device.binding(), type.binding, Math.max(1, elements));
  }

  /** Takes weights [K,R,S,C/G], or [out, in]. */
  public void setWeights(Tensor weights) {
    begin();
    try {
      long view = useExactly("weights", weights, type.parameterType(), weightsElements);
      binding.pack_weights(view, packed, scratch);
      ready = true;
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** dst = weights * src + bias; {@code bias} null exactly where the spec has none. */
  public void forward(Tensor src, Tensor bias, Tensor dst) {
    present("bias", bias, hasBias);
    begin();
    try {
      ready();
      binding.forward(
          useExactly("src", src, type, srcElements),
          packed,
          hasBias ? useExactly("bias", bias, type.parameterType(), biasElements) : NO_VIEW,
          useExactly("dst", dst, type, dstElements),
          scratch);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** diffSrc = transpose(weights) * diffDst. */
  public void backwardData(Tensor diffDst, Tensor diffSrc) {
    backward();
    begin();
    try {
      ready();
      binding.backward_data(
          useExactly("diff_dst", diffDst, type, dstElements),
          packed,
          useExactly("diff_src", diffSrc, type, srcElements),
          scratch);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /**
   * diffWeights = diffDst * transpose(src), diffBias = sum of diffDst over rows and places; both
   * are overwritten. Rows that hold no sample must be zero in src and diffDst.
   */
  public void backwardWeights(Tensor src, Tensor diffDst, Tensor diffWeights, Tensor diffBias) {
    backward();
    present("diff_bias", diffBias, hasBias);
    begin();
    try {
      long weights = useExactly("diff_weights", diffWeights, type.parameterType(), weightsElements);
      long gradient = packsDiff ? packedDiff : weights;
      binding.backward_weights(
          useExactly("src", src, type, srcElements),
          useExactly("diff_dst", diffDst, type, dstElements),
          gradient,
          hasBias ? useExactly("diff_bias", diffBias, type.parameterType(), biasElements) : NO_VIEW,
          scratch);
      if (packsDiff) {
        binding.unpack_diff_weights(packedDiff, weights, scratch);
      }
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** What runs: "forward | backward data | backward weights". */
  public String implementation() {
    return implementation;
  }

  private void ready() {
    if (!ready) {
      throw new IllegalStateException("[" + kind + "] needs its weights set before it runs");
    }
  }

  private void backward() {
    if (!backward) {
      throw new IllegalStateException(
          "[" + kind + "] needs to be made with backward, got a forward-only one");
    }
  }
}
