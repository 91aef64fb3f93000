package org.ghostbatch.device;

/**
 * A linear layer: src [N, in], weights [out, in], bias [out], dst [N, out].
 *
 * @param relu dst = max(0, .); forward only
 */
public record LinearSpec(int batch, int in, int out, boolean bias, boolean relu, DataType type) {
  private static final String KIND = "linear";

  public LinearSpec {
    Check.positive(KIND, "batch", batch);
    Check.positive(KIND, "in", in);
    Check.positive(KIND, "out", out);
    Check.activation(KIND, type);
    Check.product(KIND, "weights", out, in, 1, 1);
    Check.product(KIND, "src", batch, in, 1, 1);
    Check.product(KIND, "dst", batch, out, 1, 1);
  }

  /** f32 with a bias, no ReLU. */
  public static LinearSpec of(int batch, int in, int out) {
    return new LinearSpec(batch, in, out, true, false, DataType.F32);
  }

  public LinearSpec withBias(boolean bias) {
    return new LinearSpec(batch, in, out, bias, relu, type);
  }

  public LinearSpec withRelu(boolean relu) {
    return new LinearSpec(batch, in, out, bias, relu, type);
  }

  public LinearSpec withType(DataType type) {
    return new LinearSpec(batch, in, out, bias, relu, type);
  }

  /** Multiply-adds times two of one forward pass. */
  public double flops() {
    return 2.0 * batch * in * out;
  }

  /** The native spec; to be closed after use. */
  org.ghostbatch.binding.LinearSpec toBinding() {
    return new org.ghostbatch.binding.LinearSpec()
        .batch(batch)
        .in(in)
        .out(out)
        .bias(bias)
        .relu(relu)
        .type(type.binding);
  }
}
