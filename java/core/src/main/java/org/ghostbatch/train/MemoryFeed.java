package org.ghostbatch.train;

import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Samples;
import org.ghostbatch.random.Shuffle;

/** Batches of data that lies in native memory as a whole. */
final class MemoryFeed implements BatchFeed {
  private final Samples samples;
  private final long seed;
  private final int[] order;
  private final int[] rows;
  private int batch;
  private int position;
  private int count;

  MemoryFeed(Device device, Dataset data, int largestBatch, long seed) {
    this.seed = seed;
    this.order = new int[data.count()];
    this.rows = new int[largestBatch];
    this.samples = SampleCopy.room(device, data, data.count());
    try {
      for (int i = 0; i < order.length; i++) {
        order[i] = i;
      }
      new SampleCopy(data).copy(order, 0, order.length, samples);
    } catch (RuntimeException e) {
      samples.close();
      throw e;
    }
  }

  @Override
  public void start(long epoch, int batch) {
    this.batch = batch;
    position = 0;
    Shuffle.fill(order, seed, epoch);
  }

  @Override
  public void skip(int updates) {
    position = (int) Math.min(order.length, position + (long) updates * batch);
  }

  @Override
  public void next() {
    count = Math.min(batch, order.length - position);
    System.arraycopy(order, position, rows, 0, count);
    position += count;
  }

  @Override
  public void rest() {}

  @Override
  public Samples samples() {
    return samples;
  }

  @Override
  public int[] rows() {
    return rows;
  }

  @Override
  public int count() {
    return count;
  }

  @Override
  public int sample(int i) {
    return rows[i];
  }

  @Override
  public void close() {
    samples.close();
  }
}
