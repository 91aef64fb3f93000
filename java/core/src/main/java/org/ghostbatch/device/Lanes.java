package org.ghostbatch.device;

/** A fixed number of native threads that an engine, or vector kernels, spread their work over. */
public final class Lanes extends NativeObject {
  final org.ghostbatch.binding.Lanes binding;
  private final int threads;

  Lanes(Device device, org.ghostbatch.binding.Lanes binding, int threads) {
    super(device, "lanes", binding);
    this.binding = binding;
    this.threads = threads;
  }

  public int threads() {
    return threads;
  }
}
