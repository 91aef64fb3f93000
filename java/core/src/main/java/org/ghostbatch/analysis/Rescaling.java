package org.ghostbatch.analysis;

import org.ghostbatch.nn.ModelFile;
import org.ghostbatch.nn.Network;
import org.ghostbatch.nn.Parameter;
import org.ghostbatch.nn.Statistics;

/** The same function with other weights. */
public final class Rescaling {
  private Rescaling() {}

  /**
   * The network with every layer that batch norm follows multiplied by a number, such that its
   * filters have a mean square norm of 1: networks that differ in the scale of such weights alone
   * become one (Dinh et al. 2017, arXiv 1703.04933, on measures that they tell apart). What epsilon
   * weighs changes; layers of zeros stay.
   */
  public static ModelFile toEqualNorms(ModelFile model) {
    double[] parameters = model.parameters().clone();
    double[] statistics = model.statistics().clone();
    for (Network.NormalizedLayer layer : model.network().normalizedLayers()) {
      Parameter weight = layer.weight();
      double squares = 0;
      for (int i = 0; i < weight.elements(); i++) {
        double w = parameters[(int) weight.offset() + i];
        squares += w * w;
      }
      if (squares == 0) {
        continue;
      }
      double factor = Math.sqrt(weight.outer() / squares);
      scale(parameters, weight.offset(), weight.elements(), factor);
      if (layer.bias() != null) {
        scale(parameters, layer.bias().offset(), layer.bias().elements(), factor);
      }
      Statistics of = layer.statistics();
      scale(statistics, of.offset(), of.channels(), factor);
      scale(statistics, of.offset() + of.channels(), of.channels(), factor * factor);
    }
    return new ModelFile(
        model.network(),
        model.normalization(),
        model.classNames(),
        model.precision(),
        parameters,
        statistics);
  }

  private static void scale(double[] values, long first, int count, double factor) {
    for (int i = 0; i < count; i++) {
      values[(int) first + i] *= factor;
    }
  }
}
