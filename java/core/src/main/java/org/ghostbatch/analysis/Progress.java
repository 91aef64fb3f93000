package org.ghostbatch.analysis;

/** Hears how far an analysis is, after every pass over the data. */
@FunctionalInterface
public interface Progress {
  /** Nobody listens. */
  Progress NONE = (what, done, of) -> {};

  /**
   * @param what is being done, as in "Lanczos step"
   * @param of how many of it at most
   */
  void at(String what, long done, long of);
}
