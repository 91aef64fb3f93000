package org.ghostbatch.train;

import org.ghostbatch.device.Engine;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;
import org.ghostbatch.nn.Network;
import org.ghostbatch.nn.Parameter;
import org.ghostbatch.nn.Statistics;

/**
 * Training went where numbers are not finite. The update was not made: the weights are the last
 * that were good, and no checkpoint is written after it.
 */
public final class DivergedException extends IllegalStateException {
  private static final long serialVersionUID = 1;

  private final long update;

  private DivergedException(long update, double loss, double gradientNorm, String where) {
    super(
        "[trainer] needs finite numbers, got loss "
            + loss
            + " and gradient norm "
            + gradientNorm
            + " at update "
            + update
            + (where == null ? "" : ": " + where)
            + "; a lower learning rate, warm-up or clipping helps");
    this.update = update;
  }

  /**
   * Why an update was not made, with the first layer, from the input on, whose own numbers went
   * wrong: its weights, or the statistics of what it saw. Gradients come last, as one bad one
   * spoils all before it.
   */
  static DivergedException at(
      long update,
      double loss,
      double gradientNorm,
      Network network,
      Engine engine,
      VectorKernels vectors) {
    String where = null;
    for (Parameter parameter : network.parameters()) {
      if (where == null
          && !finite(vectors, engine.parameters(), parameter.offset(), parameter.elements())) {
        where = "weights " + parameter.name() + " are not finite";
      }
    }
    for (Statistics seen : network.statistics()) {
      if (where == null
          && !finite(vectors, engine.statistics(), seen.offset(), 2L * seen.channels())) {
        where = "what enters batch norm " + seen.name() + " is not finite";
      }
    }
    for (int i = network.parameters().size() - 1; where == null && i >= 0; i--) {
      Parameter parameter = network.parameters().get(i);
      if (!finite(vectors, engine.gradients(), parameter.offset(), parameter.elements())) {
        where = "the gradient of " + parameter.name() + " is not finite";
      }
    }
    return new DivergedException(update, loss, gradientNorm, where);
  }

  private static boolean finite(VectorKernels vectors, Tensor vector, long first, long elements) {
    try (Tensor slice = vector.slice(first, elements)) {
      return Double.isFinite(vectors.maxAbs(slice));
    }
  }

  /** Number of the update that was not made, from 1. */
  public long update() {
    return update;
  }
}
