package org.ghostbatch.device;

/**
 * Ghost batch normalization of [N,H,W,C], or [N,C] with H = W = 1, per channel over each ghost: y =
 * act(gamma * (x - mean) / sqrt(variance + epsilon) + beta + residual), with biased variance.
 *
 * @param batch N: capacity in rows
 * @param relu act = max(0, .), else the identity
 */
public record GhostBatchNormSpec(
    int batch,
    int height,
    int width,
    int channels,
    boolean relu,
    boolean residual,
    double epsilon,
    DataType type) {
  private static final String KIND = "ghost_batch_norm";

  public GhostBatchNormSpec {
    Check.positive(KIND, "batch", batch);
    Check.positive(KIND, "height", height);
    Check.positive(KIND, "width", width);
    Check.positive(KIND, "channels", channels);
    Check.activation(KIND, type);
    Check.finite(KIND, "epsilon", epsilon);
    if (!(epsilon > 0)) {
      throw Check.bad(KIND, "epsilon above 0", epsilon);
    }
    Check.product(KIND, "src", batch, height, width, channels);
  }

  /** f32, epsilon 1e-5, no ReLU, no residual. */
  public static GhostBatchNormSpec of(int batch, int height, int width, int channels) {
    return new GhostBatchNormSpec(batch, height, width, channels, false, false, 1e-5, DataType.F32);
  }

  public GhostBatchNormSpec withRelu(boolean relu) {
    return new GhostBatchNormSpec(batch, height, width, channels, relu, residual, epsilon, type);
  }

  public GhostBatchNormSpec withResidual(boolean residual) {
    return new GhostBatchNormSpec(batch, height, width, channels, relu, residual, epsilon, type);
  }

  public GhostBatchNormSpec withEpsilon(double epsilon) {
    return new GhostBatchNormSpec(batch, height, width, channels, relu, residual, epsilon, type);
  }

  public GhostBatchNormSpec withType(DataType type) {
    return new GhostBatchNormSpec(batch, height, width, channels, relu, residual, epsilon, type);
  }

  /** N * H * W * C. */
  public long elements() {
    return (long) batch * height * width * channels;
  }

  /** The native spec; to be closed after use. */
  org.ghostbatch.binding.GhostBatchNormSpec toBinding() {
    return new org.ghostbatch.binding.GhostBatchNormSpec()
        .batch(batch)
        .height(height)
        .width(width)
        .channels(channels)
        .relu(relu)
        .residual(residual)
        .epsilon(epsilon)
        .type(type.binding);
  }
}
