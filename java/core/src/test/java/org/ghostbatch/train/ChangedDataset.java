package org.ghostbatch.train;

import java.nio.ByteBuffer;
import java.util.List;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.ElementType;
import org.ghostbatch.data.Normalization;
import org.ghostbatch.data.SampleShape;

/** Another data set, but for what a test changes. */
class ChangedDataset implements Dataset {
  private final Dataset source;

  ChangedDataset(Dataset source) {
    this.source = source;
  }

  @Override
  public int count() {
    return source.count();
  }

  @Override
  public SampleShape shape() {
    return source.shape();
  }

  @Override
  public ElementType type() {
    return source.type();
  }

  @Override
  public List<String> classNames() {
    return source.classNames();
  }

  @Override
  public int label(int index) {
    return source.label(index);
  }

  @Override
  public void read(int[] indices, int from, int to, ByteBuffer target) {
    source.read(indices, from, to, target);
  }

  @Override
  public boolean streaming() {
    return source.streaming();
  }

  @Override
  public Normalization normalization() {
    return source.normalization();
  }
}
