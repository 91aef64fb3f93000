package org.ghostbatch.benchmarks;

import java.io.IOException;

/** Measures GhostBatch on the device that its argument names: see {@link WorkerLoop}. */
final class GhostBatchWorker {
  private GhostBatchWorker() {}

  public static void main(String[] arguments) throws IOException {
    WorkerLoop.serve(what -> prepare(what, arguments[0]));
  }

  static Work prepare(Case what, String device) {
    return switch (what.suite()) {
      case "kernels" -> Kernels.prepare(what, device);
      case "step" -> Steps.prepare(what, device);
      default ->
          throw new IllegalArgumentException(
              "[bench] needs suite kernels or step, got " + what.suite());
    };
  }
}
