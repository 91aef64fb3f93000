package org.ghostbatch.device;

import org.ghostbatch.binding.Resource;

/** 2-D convolution of one shape: src [N,H,W,C], weights [K,R,S,C/G], bias [K], dst [N,P,Q,K]. */
public final class Convolution extends Affine {
  private final ConvolutionSpec spec;

  private Convolution(Device device, Resource[] parts, ConvolutionSpec spec, boolean backward) {
    super(device, "convolution", parts, backward, spec.bias() ? spec.filters() : 0, spec.type());
    this.spec = spec;
  }

  static Convolution create(Device device, ConvolutionSpec spec, boolean backward) {
    try (var binding = spec.toBinding()) {
      Resource[] parts =
          parts(device, device.binding().convolution(binding, backward), backward, spec.type());
      return new Convolution(device, parts, spec, backward);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    }
  }

  public ConvolutionSpec spec() {
    return spec;
  }
}
