package org.ghostbatch.data;

import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.Objects;
import java.util.stream.IntStream;

/** What data sets on memory of the user have in common: checked sizes, labels, class names. */
abstract class MemoryDataset implements Dataset {
  private final SampleShape shape;
  private final int[] labels;
  private final List<String> classNames;

  MemoryDataset(Buffer values, SampleShape shape, int[] labels) {
    this.shape = Check.present("dataset", "a shape", shape);
    this.labels = Check.present("dataset", "labels", labels).clone();
    if (labels.length == 0) {
      throw new IllegalArgumentException("[dataset] needs at least one sample, got none");
    }
    long needed = (long) labels.length * shape.elements();
    if (values.remaining() != needed) {
      throw new IllegalArgumentException(
          "[dataset] needs "
              + needed
              + " values for "
              + labels.length
              + " samples of "
              + shape
              + ", got "
              + values.remaining());
    }
    int largest = 0;
    for (int i = 0; i < labels.length; i++) {
      if (labels[i] < 0 || labels[i] >= 1 << 20) {
        throw new IllegalArgumentException(
            "[dataset] needs labels in [0, 1048575], got " + labels[i] + " at sample " + i);
      }
      largest = Math.max(largest, labels[i]);
    }
    classNames = IntStream.rangeClosed(0, largest).mapToObj(Integer::toString).toList();
  }

  @Override
  public int count() {
    return labels.length;
  }

  @Override
  public SampleShape shape() {
    return shape;
  }

  @Override
  public List<String> classNames() {
    return classNames;
  }

  @Override
  public int label(int index) {
    return labels[index];
  }

  @Override
  public void read(int[] indices, int from, int to, ByteBuffer target) {
    checkRead(this, indices, from, to, target);
    copy(indices, from, to, target);
  }

  /** Refuses arguments of {@link Dataset#read} that reach beyond the samples or the target. */
  static void checkRead(Dataset data, int[] indices, int from, int to, ByteBuffer target) {
    Objects.checkFromToIndex(from, to, indices.length);
    for (int i = from; i < to; i++) {
      Objects.checkIndex(indices[i], data.count());
    }
    long needed = (long) (to - from) * data.sampleBytes();
    if (target.remaining() < needed) {
      throw new IllegalArgumentException(
          "[dataset] needs a target of " + needed + " bytes, got " + target.remaining());
    }
  }

  /** As read, with arguments that are known to be valid. */
  abstract void copy(int[] indices, int from, int to, ByteBuffer target);
}
