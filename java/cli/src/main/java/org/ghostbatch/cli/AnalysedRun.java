package org.ghostbatch.cli;

import java.nio.file.Path;
import picocli.CommandLine.Option;

/** What an analysis at one network looks at: its run, and which statistics batch norm has there. */
final class AnalysedRun {
  @Option(names = "--run", paramLabel = "DIR", required = true, description = "A run folder.")
  Path folder;

  @Option(
      names = "--bn",
      paramLabel = "MODE",
      defaultValue = "running",
      completionCandidates = Candidates.Norms.class,
      description =
          "running: by running statistics, recomputed first and then fixed; batch: by those of ghosts, as in "
              + "training. Default: running.")
  String norm;
}
