package org.ghostbatch.data;

import java.nio.ByteBuffer;

/** Reads a data set front to back in pieces, for sums and hashes over all of it. */
final class DatasetRows {
  private DatasetRows() {}

  static ByteBuffer buffer(Dataset data, int rows) {
    return ByteBuffer.allocate(Math.multiplyExact(rows, data.sampleBytes()));
  }

  /**
   * Reads up to indices.length rows from {@code first} on to the start of {@code rows}; the number
   * that were read.
   */
  static int read(Dataset data, int first, int[] indices, ByteBuffer rows) {
    int count = Math.min(indices.length, data.count() - first);
    for (int i = 0; i < count; i++) {
      indices[i] = first + i;
    }
    rows.clear();
    data.read(indices, 0, count, rows);
    if (rows.position() != count * data.sampleBytes()) {
      throw new IllegalStateException(
          "[dataset] needs read() to write "
              + (long) count * data.sampleBytes()
              + " bytes, got "
              + rows.position());
    }
    return count;
  }
}
