package org.ghostbatch.device;

/**
 * What is fixed when an engine is compiled.
 *
 * @param type of activations
 * @param microBatch S: rows of one pass of the kernels
 * @param ghost the largest ghost batch V of a step, in rows; 0: no step needs ghosts
 * @param ghostPerLane how a ghost larger than a micro-batch is run: by one lane whole, or, false,
 *     by all lanes one at a time
 * @param backward false: forward only, with less memory
 * @param inputGradient whether a step can also give the gradient of its input
 * @param load what is done to samples; its size is the network's input
 */
public record EngineSpec(
    DataType type,
    int microBatch,
    int ghost,
    boolean ghostPerLane,
    boolean backward,
    boolean inputGradient,
    LoadSpec load) {
  private static final String KIND = "engine";

  public EngineSpec {
    Check.activation(KIND, type);
    Check.positive(KIND, "micro-batch", microBatch);
    Check.range(KIND, "ghost", ghost, 0, Integer.MAX_VALUE);
    Check.present(KIND, "a load spec", load);
  }

  /** The native spec; to be closed after use. */
  org.ghostbatch.binding.EngineSpec toBinding() {
    try (var loading = load.withType(type).toBinding()) {
      return new org.ghostbatch.binding.EngineSpec()
          .type(type.binding)
          .micro_batch(microBatch)
          .ghost(ghost)
          .ghost_per_lane(ghostPerLane)
          .backward(backward)
          .input_gradient(inputGradient)
          .load(loading);
    }
  }
}
