package org.ghostbatch.data;

import java.nio.ByteBuffer;
import java.util.List;

/** A data set that is another one but for what a subclass changes. */
abstract class ForwardingDataset implements Dataset {
  final Dataset source;

  ForwardingDataset(Dataset source) {
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
