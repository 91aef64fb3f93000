package org.ghostbatch.device;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;

/** Samples [count, H, W, C] of u8 or f32 and their labels, in native host memory. */
public final class Samples extends NativeObject {
  final org.ghostbatch.binding.Samples binding;
  private final DataType type;
  private final int count;
  private final int height;
  private final int width;
  private final int channels;
  private final int classes;

  private Samples(
      Device device,
      org.ghostbatch.binding.Samples binding,
      DataType type,
      int count,
      int height,
      int width,
      int channels,
      int classes) {
    super(device, "samples", binding);
    this.binding = binding;
    this.type = type;
    this.count = count;
    this.height = height;
    this.width = width;
    this.channels = channels;
    this.classes = classes;
  }

  static Samples create(
      Device device, DataType type, int count, int height, int width, int channels, int classes) {
    if (type != DataType.U8 && type != DataType.F32) {
      throw Check.bad("samples", "u8 or f32", type);
    }
    Check.positive("samples", "count", count);
    Check.positive("samples", "height", height);
    Check.positive("samples", "width", width);
    Check.positive("samples", "channels", channels);
    Check.positive("samples", "classes", classes);
    Check.product("samples", "data", count, height, width, channels);
    try {
      return new Samples(
          device,
          org.ghostbatch.binding.Samples.create(
              type.binding, count, height, width, channels, classes),
          type,
          count,
          height,
          width,
          channels,
          classes);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    }
  }

  public DataType type() {
    return type;
  }

  public int count() {
    return count;
  }

  public int height() {
    return height;
  }

  public int width() {
    return width;
  }

  public int channels() {
    return channels;
  }

  public int classes() {
    return classes;
  }

  /** H * W * C. */
  public long sampleElements() {
    return (long) height * width * channels;
  }

  /** Copies {@code rows} samples of u8 to rows [first, first + rows). */
  public void write(int first, int rows, byte[] src) {
    rows(first, rows, DataType.U8);
    holds(rows, Check.present("samples", "an array", src).length);
    begin();
    try {
      binding.write_bytes(first, rows, src);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** As {@link #write(int, int, byte[])}, from the buffer's position on; direct buffers only. */
  public void write(int first, int rows, ByteBuffer src) {
    rows(first, rows, DataType.U8);
    holds(rows, Check.present("samples", "a buffer", src).remaining());
    if (!src.isDirect()) {
      throw Check.bad("samples", "a direct buffer", "one on the heap");
    }
    begin();
    try {
      binding.write_bytes(first, rows, src.slice());
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** Copies {@code rows} samples of f32 to rows [first, first + rows). */
  public void write(int first, int rows, float[] src) {
    rows(first, rows, DataType.F32);
    holds(rows, Check.present("samples", "an array", src).length);
    begin();
    try {
      binding.write_floats(first, rows, src);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** As {@link #write(int, int, float[])}, from the buffer's position on; direct buffers only. */
  public void write(int first, int rows, FloatBuffer src) {
    rows(first, rows, DataType.F32);
    holds(rows, Check.present("samples", "a buffer", src).remaining());
    if (!src.isDirect() || src.order() != ByteOrder.nativeOrder()) {
      throw Check.bad("samples", "a direct buffer in native byte order", "another");
    }
    begin();
    try {
      binding.write_floats(first, rows, src.slice());
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** Sets the labels of rows [first, first + rows), each in [0, classes). */
  public void writeLabels(int first, int rows, int[] labels) {
    rows(first, rows, type);
    if (Check.present("samples", "labels", labels).length < rows) {
      throw Check.bad("samples", "an array of " + rows + " labels", labels.length);
    }
    for (int i = 0; i < rows; i++) {
      if (labels[i] < 0 || labels[i] >= classes) {
        throw Check.bad(
            "samples", "labels in [0, " + classes + ")", labels[i] + " in row " + (first + i));
      }
    }
    begin();
    try {
      binding.write_labels(first, rows, labels);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /**
   * Says which samples of their data set lie in rows [first, first + rows), where that is not row i
   * for sample i: augmentation is keyed by these numbers, each at least 0.
   */
  public void writeNumbers(int first, int rows, int[] numbers) {
    rows(first, rows, type);
    if (Check.present("samples", "numbers", numbers).length < rows) {
      throw Check.bad("samples", "an array of " + rows + " numbers", numbers.length);
    }
    for (int i = 0; i < rows; i++) {
      if (numbers[i] < 0) {
        throw Check.bad(
            "samples", "numbers of samples from 0 on", numbers[i] + " in row " + (first + i));
      }
    }
    begin();
    try {
      binding.write_numbers(first, rows, numbers);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  private void rows(int first, int rows, DataType wanted) {
    if (type != wanted) {
      throw Check.bad("samples", wanted + " samples", type);
    }
    if (first < 0 || rows < 1 || first > count - rows) {
      throw Check.bad(
          "samples",
          "rows inside [0, " + count + ")",
          "[" + first + ", " + first + " + " + rows + ")");
    }
  }

  private void holds(int rows, int values) {
    if (values < rows * sampleElements()) {
      throw Check.bad("samples", rows * sampleElements() + " values", values);
    }
  }

  /** As in {@code u8 [6000, 28, 28, 1], 10 classes}. */
  @Override
  public String toString() {
    return type
        + " ["
        + count
        + ", "
        + height
        + ", "
        + width
        + ", "
        + channels
        + "], "
        + classes
        + " classes";
  }
}
