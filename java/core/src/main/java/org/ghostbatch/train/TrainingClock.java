package org.ghostbatch.train;

/**
 * Time of an epoch's updates. The first ones of a process warm caches and compile: they count only
 * where there are no others.
 */
final class TrainingClock {
  private long last;
  private long nanos;
  private long images;
  private long warmNanos;
  private long warmImages;

  void start() {
    last = System.nanoTime();
  }

  /**
   * An update is done.
   *
   * @param warm whether it comes after the first ones
   * @return what it took, in ns
   */
  long lap(int count, boolean warm) {
    long now = System.nanoTime();
    long lap = now - last;
    nanos += lap;
    images += count;
    if (warm) {
      warmNanos += lap;
      warmImages += count;
    }
    last = now;
    return lap;
  }

  /** NaN before the first lap. */
  double imagesPerSecond() {
    return warmImages > 0 ? warmImages / (warmNanos / 1e9) : images / (nanos / 1e9);
  }
}
