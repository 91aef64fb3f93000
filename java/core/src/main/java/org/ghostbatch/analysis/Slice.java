package org.ghostbatch.analysis;

import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;
import org.ghostbatch.train.Evaluation;

/**
 * Loss and accuracy, on training and test data, at points between and beyond two networks of one
 * kind. Batch norm's running statistics are recomputed at every point: those of the ends, or means
 * of them, are of no point between.
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
  private final Dataset statistics;

  /**
   * @param train of either network, on training data
   * @param test of either network, on test data
   * @param statistics what running statistics are recomputed from: the training data
   */
  public Slice(NetworkLoss train, NetworkLoss test, Dataset statistics) {
    this.train = Check.present("slice", "a loss on training data", train);
    this.test = Check.present("slice", "a loss on test data", test);
    this.statistics = Check.present("slice", "training data", statistics);
    if (!train.model().network().layers().equals(test.model().network().layers())) {
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

  /**
   * Loss and accuracy at x. Costs a pass forward over the test data, and two over the training
   * data.
   */
  public SlicePoint at(double t, Tensor x) {
    train.recomputeStatistics(x, statistics);
    test.takeStatistics(train);
    Evaluation onTrain = train.evaluate(x);
    Evaluation onTest = test.evaluate(x);
    return new SlicePoint(t, onTrain.loss(), onTrain.accuracy(), onTest.loss(), onTest.accuracy());
  }
}
