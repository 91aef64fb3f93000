package org.ghostbatch.cli;

import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import org.ghostbatch.analysis.NetworkLossSpec;
import org.ghostbatch.analysis.Progress;
import org.ghostbatch.data.DataOptions;
import org.ghostbatch.train.TrainedRun;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** What all analyses of trained networks share: data, batch norm, device, form of the answer. */
final class AnalysisOptions {
  static final List<String> NORMS = List.of("running", "batch");

  @Option(
      names = "--data-dir",
      paramLabel = "DIR",
      description =
          "Folder of the data's files, or one that holds it. Default: that of the run, $GHOSTBATCH_DATA.")
  private Path dataDir;

  @Option(
      names = "--samples",
      paramLabel = "N",
      description =
          "Training samples that the loss is the mean of, chosen by the seed. Default: all.")
  private int samples;

  @Option(
      names = "--ghost",
      paramLabel = "V",
      description =
          "Samples that share statistics of batch norm. Default: as in training, at most 1000 with --bn batch.")
  private Integer ghost;

  @Option(
      names = "--seed",
      paramLabel = "N",
      defaultValue = "1",
      description = "Of all that is drawn. Default: 1.")
  long seed;

  @Option(names = "--json", description = "One JSON object on standard output.")
  boolean json;

  @Mixin private DataFlags loading;
  @Mixin DeviceOptions device;
  @Mixin private CommonOptions common;

  /** A run with its data. */
  TrainedRun open(Path run) {
    DataOptions options = loading.options(device.threads(), Terminal.standardError());
    return TrainedRun.open(run, dataDir == null ? options : options.withFolder(dataDir));
  }

  /** What of a run's training data the loss is taken of, and how batch norm works in it. */
  NetworkLossSpec objective(TrainedRun run, String norm) {
    if (!NORMS.contains(norm)) {
      throw new UsageException("--bn needs one of " + NORMS + ", got " + norm);
    }
    int count = run.train().count();
    if (samples > count) {
      throw new UsageException(
          "--samples needs at most the " + count + " that the run trained on, got " + samples);
    }
    boolean running = norm.equals("running");
    int own = running ? run.ghost() : Math.max(1, Math.min(1000, run.ghost()));
    int used = ghost == null ? own : ghost;
    return UsageException.check(
        () ->
            (running ? NetworkLossSpec.running(used) : NetworkLossSpec.batch(used))
                .withSamples(samples)
                .withSeed(seed));
  }

  /** Shows on standard error how far an analysis is. */
  static Progress shown(Terminal terminal) {
    return (what, done, of) ->
        terminal.status(String.format(Locale.ROOT, "%s %d of %d", what, done + 1, of));
  }
}
