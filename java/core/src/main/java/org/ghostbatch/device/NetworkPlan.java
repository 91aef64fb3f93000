package org.ghostbatch.device;

import org.bytedeco.javacpp.Pointer;

/**
 * What an engine compiles: operations in order, each on values made before it. Value 0 is the
 * input; every adding method returns the number of the value it makes; the last is the output.
 * Specs come with any batch and type, which the engine sets. Offsets are elements of the parameter
 * vector, or of the running statistics: mean [C], then variance [C].
 */
public final class NetworkPlan extends NativeObject {
  final org.ghostbatch.binding.Network binding;

  private NetworkPlan(Device device, org.ghostbatch.binding.Network binding) {
    super(device, "network", binding);
    this.binding = binding;
  }

  static NetworkPlan create(Device device, int height, int width, int channels) {
    try {
      return new NetworkPlan(
          device, org.ghostbatch.binding.Network.create(height, width, channels));
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    }
  }

  private interface Adding<S extends Pointer> {
    int run(S spec);
  }

  private <S extends Pointer> int add(String name, S spec, Adding<S> adding) {
    Check.present(kind, "a name", name);
    begin();
    try (S closing = spec) {
      return adding.run(closing);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  private <T> T present(T spec) {
    return Check.present(kind, "a spec", spec);
  }

  /** A convolution; {@code biasOffset} counts where the spec has a bias. */
  public int convolution(
      String name, int src, ConvolutionSpec spec, long weightsOffset, long biasOffset) {
    return add(
        name,
        present(spec).toBinding(),
        binding -> this.binding.convolution(name, src, binding, weightsOffset, biasOffset));
  }

  /** A linear layer on the flattened source: spec.in = H * W * C. */
  public int linear(String name, int src, LinearSpec spec, long weightsOffset, long biasOffset) {
    return add(
        name,
        present(spec).toBinding(),
        binding -> this.binding.linear(name, src, binding, weightsOffset, biasOffset));
  }

  /**
   * Batch norm, with ReLU and residual as {@code spec} says.
   *
   * @param residual a value of the same shape, or -1
   */
  public int ghostBatchNorm(
      String name,
      int src,
      int residual,
      GhostBatchNormSpec spec,
      long gammaOffset,
      long betaOffset,
      long statisticsOffset) {
    if (present(spec).residual() != residual >= 0) {
      throw Check.bad(kind, "a residual exactly where the spec has one", residual);
    }
    return add(
        name,
        null,
        none ->
            binding.ghost_batch_norm(
                name,
                src,
                residual,
                spec.relu(),
                spec.epsilon(),
                gammaOffset,
                betaOffset,
                statisticsOffset));
  }

  public int relu(String name, int src) {
    return add(name, null, none -> binding.relu(name, src));
  }

  /** a + b, then max(0, .) where {@code relu}. */
  public int add(String name, int a, int b, boolean relu) {
    return add(name, null, none -> binding.add(name, a, b, relu));
  }

  public int pool(String name, int src, PoolSpec spec) {
    return add(name, present(spec).toBinding(), binding -> this.binding.pool(name, src, binding));
  }

  public int dropout(String name, int src, double rate) {
    return add(name, null, none -> binding.dropout(name, src, rate));
  }
}
