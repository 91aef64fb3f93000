package org.ghostbatch.data;

import java.nio.ByteBuffer;

/** Samples of bytes in a buffer. */
final class BytesDataset extends MemoryDataset {
  private final ByteBuffer values;

  BytesDataset(ByteBuffer values, SampleShape shape, int[] labels) {
    super(Check.present("dataset", "values", values), shape, labels);
    this.values = values.slice().asReadOnlyBuffer();
  }

  @Override
  public ElementType type() {
    return ElementType.U8;
  }

  @Override
  void copy(int[] indices, int from, int to, ByteBuffer target) {
    int size = shape().elements();
    int position = target.position();
    for (int i = from; i < to; i++, position += size) {
      target.put(position, values, indices[i] * size, size);
    }
    target.position(position);
  }
}
