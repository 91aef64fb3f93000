package org.ghostbatch.cli;

import java.nio.file.Files;
import java.nio.file.Path;
import picocli.CommandLine.Option;

/** Where a trained network comes from; exactly one. */
final class ModelSource {
  @Option(names = "--run", paramLabel = "DIR", required = true, description = "A run folder.")
  Path run;

  @Option(
      names = "--checkpoint",
      paramLabel = "FILE",
      required = true,
      description = "A model file, as model.safetensors of a run folder.")
  Path checkpoint;

  /** The model file. */
  Path file() {
    Path file = run != null ? run.resolve("model.safetensors") : checkpoint;
    if (!Files.isRegularFile(file)) {
      throw new IllegalArgumentException("needs a model file, got no " + file);
    }
    return file;
  }
}
