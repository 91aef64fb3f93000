package org.ghostbatch.data;

import java.nio.ByteBuffer;
import java.nio.FloatBuffer;

/** Samples of floats in a buffer. */
final class FloatsDataset extends MemoryDataset {
  private final FloatBuffer values;

  FloatsDataset(FloatBuffer values, SampleShape shape, int[] labels) {
    super(Check.present("dataset", "values", values), shape, labels);
    this.values = values.slice().asReadOnlyBuffer();
    for (int i = 0; i < this.values.limit(); i++) {
      if (!Float.isFinite(this.values.get(i))) {
        throw new IllegalArgumentException(
            "[dataset] needs finite values, got "
                + this.values.get(i)
                + " at sample "
                + i / shape.elements()
                + ", element "
                + i % shape.elements());
      }
    }
  }

  @Override
  public ElementType type() {
    return ElementType.F32;
  }

  @Override
  void copy(int[] indices, int from, int to, ByteBuffer target) {
    int size = shape().elements();
    FloatBuffer floats = target.asFloatBuffer();
    for (int i = from; i < to; i++) {
      floats.put((i - from) * size, values, indices[i] * size, size);
    }
    target.position(target.position() + (to - from) * sampleBytes());
  }
}
