package org.ghostbatch.analysis;

import java.util.List;
import org.ghostbatch.analysis.NetworkLossSpec.Norm;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;
import org.ghostbatch.train.Evaluation;

/**
 * Loss and accuracy, on training and test data, at points of parameter space: between and beyond
 * two networks of one kind, or around one. Batch norm's running statistics are recomputed at every
 * point, for those of the ends of a path, or means of them, are of no point between; or they stay
 * fixed, as in the Hessian and the sharpness of one network.
 */
public final class Slice {
  /** How two parameter vectors a (at 0) and b (at 1) are joined. */
  public enum Path {
    /** (1 - t) a + t b (Keskar et al. 2017, arXiv 1609.04836, section 2.2.1). */
    LINE,
    /** cos(t pi / 2) a + sin(t pi / 2) b (the same, Appendix D). */
    ARC
  }

  private final NetworkLoss train;
  private final NetworkLoss test;
  private final boolean recomputed;

  /**
   * @param train of any of the networks, on training data
   * @param test the same on test data, by running statistics; null for none, whose figures are NaN
   * @param recomputed whether running statistics are recomputed at every point, from the samples of
   *     {@code train}; else they stay as it has them
   */
  public Slice(NetworkLoss train, NetworkLoss test, boolean recomputed) {
    this.train = Check.present("slice", "a loss on training data", train);
    this.test = test;
    this.recomputed = recomputed;
    if (test != null && !train.model().network().layers().equals(test.model().network().layers())) {
      throw Check.bad("slice", "losses of one network", "those of two");
    }
  }

  /** Writes the point at {@code t} of the path from a to b to x, which may be neither. */
  public static void point(
      VectorKernels vectors, Path path, double t, Tensor a, Tensor b, Tensor x) {
    if (path == Path.LINE) {
      vectors.interpolate(t, a, b, x);
      return;
    }
    vectors.copy(a, x);
    vectors.scale(Math.cos(t * Math.PI / 2), x);
    vectors.axpy(Math.sin(t * Math.PI / 2), b, x);
  }

  /** Writes x0 + sum over k of c_k d_k to x, which is none of them. */
  public static void point(
      VectorKernels vectors, Tensor x0, double[] c, List<Tensor> directions, Tensor x) {
    if (c.length != directions.size()) {
      throw Check.bad("slice", "as many directions as coordinates, " + c.length, directions.size());
    }
    vectors.copy(x0, x);
    for (int k = 0; k < c.length; k++) {
      vectors.axpy(c[k], directions.get(k), x);
    }
  }

  /**
   * Loss and accuracy at x. Costs a pass forward over the training data, one over the test data,
   * and one over the training data where statistics are recomputed.
   *
   * @param t for the result
   */
  public SlicePoint at(double t, Tensor x) {
    if (recomputed && (test != null || train.norm() == Norm.RUNNING)) {
      train.recomputeStatistics(x);
    }
    Evaluation onTrain = train.evaluate(x);
    if (test == null) {
      return new SlicePoint(t, onTrain.loss(), onTrain.accuracy(), Double.NaN, Double.NaN);
    }
    test.takeStatistics(train);
    Evaluation onTest = test.evaluate(x);
    return new SlicePoint(t, onTrain.loss(), onTrain.accuracy(), onTest.loss(), onTest.accuracy());
  }
}
