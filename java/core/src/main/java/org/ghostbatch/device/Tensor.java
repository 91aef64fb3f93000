package org.ghostbatch.device;

import java.util.Arrays;
import org.ghostbatch.binding.Resource;

/**
 * Memory of a device with a shape, zeroed when made; activations are [N,H,W,C] or [N,C].
 *
 * <p>Closing twice is silent; use after close, and use from two threads at once, are {@link
 * IllegalStateException}s. Tensors of an {@link Engine}, and slices, belong to what they came from:
 * closing them does nothing.
 */
public final class Tensor implements AutoCloseable {
  final NativeHandle handle;
  // Its address in native memory, which the handle guards.
  final long view;
  private final Device device;
  private final org.ghostbatch.binding.Tensor whole;
  private final long first;
  private final DataType type;
  private final long[] shape;
  private final long elements;
  private final boolean owned;

  /** A tensor of its own; see {@link Device#tensor}. */
  Tensor(Device device, org.ghostbatch.binding.Tensor made, DataType type, long[] shape) {
    this.device = device;
    this.whole = made;
    this.first = 0;
    this.type = type;
    this.shape = shape;
    this.elements = made.elements();
    this.view = made.view();
    this.owned = true;
    this.handle = device.register("tensor", new Resource[] {made}, NativeObject.NO_STRUCTS);
    handle.reportLeakOf(this);
  }

  /** A tensor that belongs to what {@code handle} guards. */
  Tensor(Device device, org.ghostbatch.binding.Tensor lent, DataType type, NativeHandle handle) {
    this.device = device;
    this.whole = lent;
    this.first = 0;
    this.type = type;
    this.elements = lent.elements();
    this.shape = new long[] {elements};
    this.view = lent.view();
    this.owned = false;
    this.handle = handle;
  }

  private Tensor(Tensor parent, long first, long[] shape, long elements) {
    this.device = parent.device;
    this.whole = parent.whole;
    this.first = parent.first + first;
    this.type = parent.type;
    this.shape = shape;
    this.elements = elements;
    this.owned = false;
    this.handle = parent.handle;
    this.view = whole.slice(this.first, elements);
  }

  /** The device whose memory this is. */
  public Device device() {
    return device;
  }

  public DataType type() {
    return type;
  }

  /** A copy of the shape. */
  public long[] shape() {
    return shape.clone();
  }

  /** Product of the shape. */
  public long elements() {
    return elements;
  }

  /**
   * Elements [first, first + product of shape) as a tensor of that shape; it shares this one's
   * memory and lifetime. A range costs some 100 bytes, once, until that memory is freed.
   */
  public Tensor slice(long first, long... shape) {
    long count = elements("tensor", shape);
    if (first < 0 || first > elements - count) {
      throw Check.bad(
          "tensor",
          "a slice inside [0, " + elements + ")",
          "[" + first + ", " + first + " + " + count + ")");
    }
    handle.acquire();
    try {
      return new Tensor(this, first, shape.clone(), count);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      handle.release();
    }
  }

  /** Copies all elements from {@code src}, converted to this tensor's type (f32, f64 or bf16). */
  public void copyFrom(float[] src) {
    all(Check.present("tensor", "an array", src).length);
    copyFrom(0, src);
  }

  /** Copies {@code src} to the elements from {@code at} on, converted to this tensor's type. */
  public void copyFrom(long at, float[] src) {
    range(at, Check.present("tensor", "an array", src).length);
    handle.acquire();
    try {
      whole.write_floats(first + at, src.length, src);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      handle.release();
    }
  }

  /** Copies all elements from {@code src}, converted to this tensor's type (f32, f64 or bf16). */
  public void copyFrom(double[] src) {
    all(Check.present("tensor", "an array", src).length);
    copyFrom(0, src);
  }

  /** Copies {@code src} to the elements from {@code at} on, converted to this tensor's type. */
  public void copyFrom(long at, double[] src) {
    range(at, Check.present("tensor", "an array", src).length);
    handle.acquire();
    try {
      whole.write_doubles(first + at, src.length, src);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      handle.release();
    }
  }

  /** Copies all elements from {@code src}, converted to this tensor's type (u8 or s32). */
  public void copyFrom(int[] src) {
    all(Check.present("tensor", "an array", src).length);
    copyFrom(0, src);
  }

  /** Copies {@code src} to the elements from {@code at} on (u8 or s32). */
  public void copyFrom(long at, int[] src) {
    range(at, Check.present("tensor", "an array", src).length);
    handle.acquire();
    try {
      whole.write_ints(first + at, src.length, src);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      handle.release();
    }
  }

  /** Fills {@code dst} with the elements from {@code at} on, as floats. */
  public void copyTo(long at, float[] dst) {
    range(at, Check.present("tensor", "an array", dst).length);
    handle.acquire();
    try {
      whole.read_floats(first + at, dst.length, dst);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      handle.release();
    }
  }

  /** Fills {@code dst} with the elements from {@code at} on, as doubles. */
  public void copyTo(long at, double[] dst) {
    range(at, Check.present("tensor", "an array", dst).length);
    handle.acquire();
    try {
      whole.read_doubles(first + at, dst.length, dst);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      handle.release();
    }
  }

  /** Fills {@code dst} with the elements from {@code at} on (u8 or s32). */
  public void copyTo(long at, int[] dst) {
    range(at, Check.present("tensor", "an array", dst).length);
    handle.acquire();
    try {
      whole.read_ints(first + at, dst.length, dst);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      handle.release();
    }
  }

  /** All elements as floats. */
  public float[] toFloats() {
    float[] values = new float[arrayLength()];
    copyTo(0, values);
    return values;
  }

  /** All elements as doubles. */
  public double[] toDoubles() {
    double[] values = new double[arrayLength()];
    copyTo(0, values);
    return values;
  }

  /** All elements as ints (u8 or s32). */
  public int[] toInts() {
    int[] values = new int[arrayLength()];
    copyTo(0, values);
    return values;
  }

  /** Whether the memory has been freed. */
  public boolean closed() {
    return handle.closed();
  }

  /** Frees the memory; closing twice is silent. */
  @Override
  public void close() {
    if (owned) {
      handle.close();
    }
  }

  /** Type and shape, as in {@code f32 [32, 28, 28, 1]}. */
  @Override
  public String toString() {
    return type + " " + Arrays.toString(shape);
  }

  static long elements(String kind, long[] shape) {
    Check.present(kind, "a shape", shape);
    if (shape.length == 0) {
      throw Check.bad(kind, "a shape of at least one dimension", "[]");
    }
    long product = 1;
    for (long size : shape) {
      if (size < 1 || size > (1L << 48) / product) {
        throw Check.bad(
            kind, "positive dimensions of at most 2^48 elements together", Arrays.toString(shape));
      }
      product *= size;
    }
    return product;
  }

  private void all(int length) {
    if (length != elements) {
      throw Check.bad("tensor", "an array of " + elements + " elements", length);
    }
  }

  private void range(long at, int length) {
    if (at < 0 || at > elements - length) {
      throw Check.bad(
          "tensor",
          "a range inside [0, " + elements + ")",
          "[" + at + ", " + at + " + " + length + ")");
    }
  }

  private int arrayLength() {
    if (elements > Integer.MAX_VALUE - 8) {
      throw Check.bad("tensor", "at most 2^31 - 9 elements for one array", elements);
    }
    return (int) elements;
  }
}
