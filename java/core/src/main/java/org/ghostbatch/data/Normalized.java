package org.ghostbatch.data;

import java.util.Objects;

/** A data set with a known normalization. */
final class Normalized extends ForwardingDataset {
  private final Normalization normalization;

  Normalized(Dataset source, Normalization normalization) {
    super(source);
    this.normalization = Objects.requireNonNull(normalization, "normalization");
    if (normalization.mean().size() != source.shape().channels()) {
      throw new IllegalArgumentException(
          "[normalization] needs "
              + source.shape().channels()
              + " channels, got "
              + normalization.mean().size());
    }
  }

  @Override
  public Normalization normalization() {
    return normalization;
  }
}
