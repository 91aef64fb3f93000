package org.ghostbatch.train;

/**
 * Time of training phases; the first two updates warm caches and compile, and count only where
 * nothing else does.
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

  void lap(int count, boolean warm) {
    long now = System.nanoTime();
    nanos += now - last;
    images += count;
    if (warm) {
      warmNanos += now - last;
      warmImages += count;
    }
    last = now;
  }

  void add(TrainingClock other) {
    nanos += other.nanos;
    images += other.images;
    warmNanos += other.warmNanos;
    warmImages += other.warmImages;
  }

  double imagesPerSecond(boolean orCold) {
    if (warmImages > 0) {
      return warmImages / (warmNanos / 1e9);
    }
    return orCold && nanos > 0 ? images / (nanos / 1e9) : Double.NaN;
  }
}
