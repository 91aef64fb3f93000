package org.ghostbatch.device;

/** The layers of a vector, one behind another: what LARS and LAMB take norms of. */
public final class Segments extends NativeObject {
  final org.ghostbatch.binding.Segments binding;

  private Segments(Device device, org.ghostbatch.binding.Segments binding) {
    super(device, "segments", binding);
    this.binding = binding;
  }

  static Segments create(Device device) {
    try {
      return new Segments(device, org.ghostbatch.binding.Segments.create());
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    }
  }

  /**
   * The next layer.
   *
   * @param adapted whether it has a trust ratio and weight decay
   */
  public void add(long elements, boolean adapted) {
    Check.range(kind, "elements of a layer", elements, 1, 1L << 48);
    begin();
    try {
      binding.add(elements, adapted);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** Elements of all layers. */
  public long elements() {
    begin();
    try {
      return binding.elements();
    } finally {
      end();
    }
  }
}
