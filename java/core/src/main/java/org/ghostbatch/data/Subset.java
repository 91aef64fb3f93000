package org.ghostbatch.data;

import java.nio.ByteBuffer;
import java.util.Objects;

/** Some samples of another data set, which keep its normalization. */
final class Subset extends ForwardingDataset {
  private final int[] chosen;
  private int[] mapped = new int[0];

  Subset(Dataset source, int[] chosen) {
    super(source);
    this.chosen = chosen;
    if (chosen.length == 0) {
      throw new IllegalArgumentException("[dataset] needs at least one sample, got none");
    }
    for (int index : chosen) {
      if (index < 0 || index >= source.count()) {
        throw new IllegalArgumentException(
            "[dataset] needs sample indices in [0, " + source.count() + "), got " + index);
      }
    }
  }

  @Override
  public int count() {
    return chosen.length;
  }

  @Override
  public int label(int index) {
    return source.label(chosen[index]);
  }

  @Override
  public void read(int[] indices, int from, int to, ByteBuffer target) {
    Objects.checkFromToIndex(from, to, indices.length);
    if (mapped.length < to - from) {
      mapped = new int[to - from];
    }
    for (int i = from; i < to; i++) {
      mapped[i - from] = chosen[indices[i]];
    }
    source.read(mapped, 0, to - from, target);
  }
}
