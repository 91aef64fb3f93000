package org.ghostbatch.benchmarks;

import org.ghostbatch.device.Device;

/** A case made ready: its memory is there and holds random data. */
public interface Work extends AutoCloseable {
  /** Name of the implementation that runs. */
  String kernel();

  /** Floating-point operations of one run, by the textbook formula; 0: not what limits it. */
  double flops();

  /** Bytes that one run has to read and write; 0: not what limits it. */
  double bytes();

  /** Does the work once; on a GPU it may only have begun. */
  void run();

  /** Waits until all that was begun is done. */
  default void finish() {}

  /** Bytes of a GPU's memory that were taken when it was made ready; 0: it lies on the host. */
  default long deviceBytes() {
    return 0;
  }

  /** For {@link #deviceBytes()}: what was taken since so many bytes were free. */
  static long deviceBytes(Device device, long free) {
    return device.hostMemory() ? 0 : free - device.availableBytes();
  }

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
