package org.ghostbatch.benchmarks.peers;

import static org.bytedeco.pytorch.global.torch.DeviceType.CPU;
import static org.bytedeco.pytorch.global.torch.ScalarType.BFloat16;

import org.bytedeco.pytorch.global.torch;

/**
 * libtorch's mixed precision while it is open, for forward passes: convolutions and linear layers
 * in bf16. Converted weights are kept until {@link #weightsChange}.
 */
final class Autocast implements AutoCloseable {
  private final boolean on;

  Autocast(boolean on) {
    this.on = on;
    if (on) {
      torch.set_autocast_dtype(CPU, BFloat16);
      torch.set_autocast_enabled(CPU, true);
    }
  }

  @Override
  public void close() {
    if (on) {
      torch.set_autocast_enabled(CPU, false);
    }
  }

  /**
   * To be called after each update; and after forward passes without gradients, whose weights have
   * none either.
   */
  static void weightsChange() {
    torch.clear_cache();
  }
}
