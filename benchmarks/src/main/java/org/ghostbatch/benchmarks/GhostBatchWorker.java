package org.ghostbatch.benchmarks;

import java.io.IOException;

/** Measures GhostBatch: see {@link WorkerLoop}. */
final class GhostBatchWorker {
  private GhostBatchWorker() {}

  public static void main(String[] arguments) throws IOException {
    WorkerLoop.serve(GhostBatchWorker::prepare);
  }

  static Work prepare(Case what) {
    return switch (what.suite()) {
      case "kernels" -> Kernels.prepare(what);
      case "step" -> Steps.prepare(what);
      default ->
          throw new IllegalArgumentException(
              "[bench] needs suite kernels or step, got " + what.suite());
    };
  }
}
