package org.ghostbatch.benchmarks;

/**
 * The processes that measure on a device by name: GhostBatch and the device's copy. They stay from
 * case to case, as a process takes seconds to open a GPU.
 */
final class DeviceWorkers implements AutoCloseable {
  private final String device;
  private Worker ours;
  private Worker limits;

  DeviceWorkers(String device) {
    this.device = device;
  }

  /** As {@link Comparison#runOn}. */
  Row run(Comparison comparison, int rounds, double seconds) {
    try {
      if (ours == null) {
        ours = Side.startOn(device);
        limits = Side.startOn(device);
      }
      return comparison.runOn(ours, limits, rounds, seconds);
    } catch (IllegalStateException e) {
      close(); // after an error inside a kernel a process can do nothing more on its GPU
      throw e;
    }
  }

  @Override
  public void close() {
    if (ours != null) {
      ours.close();
      limits.close();
      ours = null;
    }
  }
}
