package org.ghostbatch.device;

import org.ghostbatch.binding.Resource;

/** Linear layer of one shape: src [N, in], weights [out, in], bias [out], dst [N, out]. */
public final class Linear extends Affine {
  private final LinearSpec spec;

  private Linear(Device device, Resource[] parts, LinearSpec spec, boolean backward) {
    super(device, "linear", parts, backward, spec.bias() ? spec.out() : 0, spec.type());
    this.spec = spec;
  }

  static Linear create(Device device, LinearSpec spec, boolean backward) {
    try (var binding = spec.toBinding()) {
      Resource[] parts =
          parts(device, device.binding().linear(binding, backward), backward, spec.type());
      return new Linear(device, parts, spec, backward);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    }
  }

  public LinearSpec spec() {
    return spec;
  }
}
