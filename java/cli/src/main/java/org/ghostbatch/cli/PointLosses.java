package org.ghostbatch.cli;

import java.util.List;
import org.ghostbatch.analysis.NetworkLoss;
import org.ghostbatch.analysis.NetworkLossSpec;
import org.ghostbatch.analysis.NetworkLossSpec.Norm;
import org.ghostbatch.analysis.Slice;
import org.ghostbatch.device.Device;
import org.ghostbatch.train.TrainedRun;

/** The losses of a run's network at many points, with batch norm's statistics as asked for. */
final class PointLosses implements AutoCloseable {
  static final String RECOMPUTED = "recomputed";
  static final String RUNNING = "running";

  /** What {@code --bn} of points takes. */
  static final List<String> NORMS = List.of(RECOMPUTED, RUNNING, "batch");

  /** What {@code --bn} says of it. */
  static final String HELP =
      "recomputed: by running statistics, recomputed at every point from its samples; running: recomputed once, at "
          + "the network, and then fixed; batch: by those of ghosts, as in training, test data as with recomputed.";

  final NetworkLoss train;
  final Slice slice;
  private final NetworkLoss test;

  private PointLosses(NetworkLoss train, NetworkLoss test, Slice slice) {
    this.train = train;
    this.test = test;
    this.slice = slice;
  }

  /** The training data that losses are taken of, and how batch norm works in them. */
  static NetworkLossSpec spec(AnalysisOptions options, TrainedRun run, String norm) {
    if (!NORMS.contains(norm)) {
      throw new UsageException("--bn needs one of " + NORMS + ", got " + norm);
    }
    return options.objective(run, norm.equals(RECOMPUTED) ? RUNNING : norm);
  }

  /**
   * Around a run.
   *
   * @param tested whether on test data too
   */
  static PointLosses of(
      Device device, TrainedRun run, NetworkLossSpec spec, String norm, boolean tested) {
    NetworkLoss train = NetworkLoss.of(device, run.model(), run.train(), spec);
    NetworkLoss test = null;
    try {
      if (norm.equals(RUNNING)) {
        train.recomputeStatistics(train.start(), run.train());
      }
      if (tested) {
        NetworkLossSpec all = spec.withSamples(0).withNorm(Norm.RUNNING);
        test = NetworkLoss.of(device, run.model(), run.test(), all);
      }
      return new PointLosses(train, test, new Slice(train, test, !norm.equals(RUNNING)));
    } catch (RuntimeException e) {
      close(train, test);
      throw e;
    }
  }

  private static void close(NetworkLoss train, NetworkLoss test) {
    if (test != null) {
      test.close();
    }
    train.close();
  }

  @Override
  public void close() {
    close(train, test);
  }
}
