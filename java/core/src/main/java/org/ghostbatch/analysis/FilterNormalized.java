package org.ghostbatch.analysis;

import org.ghostbatch.nn.ModelFile;
import org.ghostbatch.nn.Parameter;
import org.ghostbatch.random.Philox;
import org.ghostbatch.random.Purpose;

/**
 * Random directions in the units of a network's own filters, so that plots of networks with weights
 * of unlike scale can be compared: d_k = ||w_k|| g_k / ||g_k|| for each filter w_k, with g standard
 * normal. A filter is what makes one output: [R, S, C/G] of a convolution, a row of a linear layer.
 * Biases and batch norm's parameters stay where they are, d = 0.
 *
 * @see <a href="https://arxiv.org/abs/1712.09913">Li et al. 2018, arXiv 1712.09913, section 4</a>
 */
public final class FilterNormalized {
  private static final String KIND = "direction";

  private FilterNormalized() {}

  /**
   * A direction d in R^n, in the order of the parameter vector; the same on every machine.
   *
   * @param number which of the independent directions of this seed, at least 0
   */
  public static double[] draw(ModelFile model, long seed, int number) {
    Check.present(KIND, "a model", model);
    Check.range(KIND, "number", number, 0, 0xFFFFFF);
    double[] weights = model.parameters();
    double[] direction = new double[weights.length];
    for (Parameter parameter : model.network().parameters()) {
      if (parameter.kind() == Parameter.Kind.WEIGHT) {
        double[] drawn = new double[parameter.elements()];
        int first = (int) parameter.offset();
        Philox.gaussian(seed, Purpose.DIRECTION.stream(number), first, drawn);
        System.arraycopy(drawn, 0, direction, first, drawn.length);
        int filter = drawn.length / parameter.outer();
        for (int k = 0; k < parameter.outer(); k++) {
          scale(weights, direction, first + k * filter, filter);
        }
      }
    }
    return direction;
  }

  /** As long, in this range, as the weights. */
  private static void scale(double[] weights, double[] direction, int first, int count) {
    double own = norm(direction, first, count);
    double factor = own > 0 ? norm(weights, first, count) / own : 0;
    for (int i = first; i < first + count; i++) {
      direction[i] *= factor;
    }
  }

  /** The cosine of the angle between two vectors; NaN where one is 0. */
  public static double cosine(double[] a, double[] b) {
    if (a.length != b.length) {
      throw Check.bad(KIND, "two vectors of one length", a.length + " and " + b.length);
    }
    double product = 0;
    for (int i = 0; i < a.length; i++) {
      product += a[i] * b[i];
    }
    return product / norm(a, 0, a.length) / norm(b, 0, b.length);
  }

  private static double norm(double[] values, int first, int count) {
    double squares = 0;
    for (int i = first; i < first + count; i++) {
      squares += values[i] * values[i];
    }
    return Math.sqrt(squares);
  }
}
