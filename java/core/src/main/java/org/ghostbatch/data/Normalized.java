package org.ghostbatch.data;

/** A data set with a known normalization. */
final class Normalized extends ForwardingDataset {
  private final Normalization normalization;

  Normalized(Dataset source, Normalization normalization) {
    super(source);
    this.normalization = Check.present("dataset", "a normalization", normalization);
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

  @Override
  public String fingerprint() {
    return source.fingerprint(); // of the values as they are stored
  }
}
