package org.ghostbatch.device;

/** Gathers samples by index, augments, normalizes, and writes them as [rows, H, W, C]. */
public final class BatchLoader extends NativeObject {
  private final LoadSpec spec;
  private final org.ghostbatch.binding.BatchLoader binding;
  private final String implementation;

  private BatchLoader(Device device, org.ghostbatch.binding.BatchLoader binding, LoadSpec spec) {
    super(device, "batch_loader", binding);
    this.binding = binding;
    this.spec = spec;
    this.implementation = binding.implementation();
  }

  static BatchLoader create(Device device, LoadSpec spec) {
    try (var binding = spec.toBinding()) {
      return new BatchLoader(device, device.binding().batch_loader(binding), spec);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    }
  }

  public LoadSpec spec() {
    return spec;
  }

  /**
   * Loads samples[indices[0..rows)]. What is drawn at random depends on seed, epoch and number of
   * the sample alone.
   *
   * @param dst of at least [rows, H, W, C]
   * @param labels s32 of at least [rows], or null
   */
  public void load(
      Samples samples,
      int[] indices,
      int rows,
      long seed,
      long epoch,
      boolean augment,
      Tensor dst,
      Tensor labels) {
    Check.present(kind, "samples", samples);
    Check.present(kind, "indices", indices);
    Check.range(kind, "rows", rows, 1, indices.length);
    if (samples.height() != spec.height()
        || samples.width() != spec.width()
        || samples.channels() != spec.channels()) {
      throw Check.bad(
          kind,
          "samples of " + spec.height() + "x" + spec.width() + "x" + spec.channels(),
          samples.height() + "x" + samples.width() + "x" + samples.channels());
    }
    begin();
    try {
      use(samples.handle);
      binding.load(
          samples.binding,
          indices,
          rows,
          seed,
          epoch,
          augment,
          use("dst", dst, spec.type(), rows * spec.sampleElements()),
          labels == null ? NO_VIEW : use("labels", labels, DataType.S32, rows));
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** What runs. */
  public String implementation() {
    return implementation;
  }
}
