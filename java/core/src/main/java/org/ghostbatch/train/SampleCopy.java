package org.ghostbatch.train;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.ElementType;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Samples;

/** Copies samples of a data set to native memory, in pieces. Not thread-safe. */
public final class SampleCopy {
  private static final int PIECE_BYTES = 4 << 20;

  private final Dataset data;
  private final ByteBuffer piece;
  private final int pieceRows;
  private final int[] labels;
  private final int[] numbers;

  public SampleCopy(Dataset data) {
    this.data = data;
    this.pieceRows = Math.max(1, Math.min(data.count(), PIECE_BYTES / data.sampleBytes()));
    this.piece =
        ByteBuffer.allocateDirect(Math.multiplyExact(pieceRows, data.sampleBytes()))
            .order(ByteOrder.nativeOrder());
    this.labels = new int[pieceRows];
    this.numbers = new int[pieceRows];
  }

  private static DataType type(Dataset data) {
    return data.type() == ElementType.U8 ? DataType.U8 : DataType.F32;
  }

  /** Native room for so many samples of a data set. */
  public static Samples room(Device device, Dataset data, int count) {
    return device.samples(
        type(data),
        count,
        data.shape().height(),
        data.shape().width(),
        data.shape().channels(),
        data.classes());
  }

  /** Rows 0, 1, ... of {@code target} become samples indices[from .. to). */
  public void copy(int[] indices, int from, int to, Samples target) {
    for (int at = from; at < to; at += pieceRows) {
      int rows = Math.min(pieceRows, to - at);
      piece.clear();
      data.read(indices, at, at + rows, piece);
      if (piece.position() != rows * data.sampleBytes()) {
        throw new IllegalStateException(
            "[dataset] needs read() to write "
                + rows * data.sampleBytes()
                + " bytes, got "
                + piece.position());
      }
      piece.flip();
      for (int i = 0; i < rows; i++) {
        labels[i] = data.label(indices[at + i]);
      }
      if (data.type() == ElementType.U8) {
        target.write(at - from, rows, piece);
      } else {
        target.write(at - from, rows, piece.asFloatBuffer());
      }
      target.writeLabels(at - from, rows, labels);
      System.arraycopy(indices, at, numbers, 0, rows);
      target.writeNumbers(at - from, rows, numbers);
    }
  }
}
