package org.ghostbatch.cli;

import org.ghostbatch.device.Device;
import org.ghostbatch.train.TrainingSpec;
import picocli.CommandLine.Option;

/** Where a command computes. */
final class DeviceOptions {
  @Option(
      names = "--backend",
      completionCandidates = Candidates.Backends.class,
      paramLabel = "NAME",
      description =
          "cpu, cuda, cuda:N, auto (CUDA where there is one) or reference (plain loops: slow, exact). Default: cpu.")
  String backend;

  @Option(
      names = "--tf32",
      description =
          "With --backend cuda: products and convolutions of f32 may round their operands to TF32.")
  boolean tf32;

  @Option(
      names = "--autotune",
      description =
          "With --backend cuda: choose cuDNN's kernels of convolutions by timing them, not by its heuristics. A run "
              + "keeps its choices in config.json, and never times them again.")
  boolean autotune;

  @Option(
      names = "--threads",
      paramLabel = "N",
      description =
          "Threads to compute on; results do not depend on them. On cuda one starts all work. Default: all cores that this process may use.")
  Integer threads;

  /** The backend in force. */
  String backend() {
    String named = named();
    return named == null ? "cpu" : named;
  }

  /** The backend that was asked for, null where none was. */
  String named() {
    String options = option(tf32, "tf32") + option(autotune, "autotune");
    return options.isEmpty() ? backend : backend + options;
  }

  private String option(boolean given, String name) {
    if (given && (backend == null || !backend.startsWith("cuda"))) {
      String got = backend == null ? "cpu" : backend;
      throw new UsageException("--" + name + " needs --backend cuda or cuda:N, got " + got);
    }
    return given ? "," + name : "";
  }

  /** The number of threads in force. */
  int threads() {
    int count =
        threads == null ? Math.min(1024, Runtime.getRuntime().availableProcessors()) : threads;
    if (count < 1 || count > 1024) {
      throw new UsageException("--threads needs 1 to 1024, got " + count);
    }
    return count;
  }

  /** Opens the device; a name that no backend has is bad usage. */
  Device open() {
    int count = threads();
    return UsageException.check(() -> Device.of(backend(), count));
  }

  /** Opens the device of a run. */
  Device open(TrainingSpec spec) {
    int count = spec.threads() == 0 ? threads() : spec.threads();
    return UsageException.check(() -> Device.of(spec.backend(), count));
  }
}
