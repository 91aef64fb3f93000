package org.ghostbatch.benchmarks;

/** A case made ready: its memory is there and holds random data. */
public interface Work extends AutoCloseable {
  /** Name of the implementation that runs. */
  String kernel();

  /** Floating-point operations of one run, by the textbook formula; 0: not what limits it. */
  double flops();

  /** Bytes that one run has to read and write; 0: not what limits it. */
  double bytes();

  /** Does the work once. */
  void run();

  /**
   * Does the work once more, with a profile: 1 - time of all kernels / (threads x wall time).
   * Negative where there is no profile.
   */
  default double outsideKernels() {
    return -1;
  }

  @Override
  void close();
}
