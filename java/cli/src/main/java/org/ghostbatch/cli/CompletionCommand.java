package org.ghostbatch.cli;

import java.util.List;
import java.util.concurrent.Callable;
import picocli.AutoComplete;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** Prints what makes a shell complete commands, flags and their values. */
@Command(
    name = "completion",
    description = {
      "Prints a script for shell completion.",
      "With it the shell completes commands, flags, and names of networks, data and the like.",
      "",
      "For this shell:   source <(ghostbatch completion bash)",
      "For all shells:   ghostbatch completion bash > ~/.local/share/bash-completion/completions/ghostbatch"
    },
    customSynopsis = "ghostbatch completion bash|zsh%n")
final class CompletionCommand implements Callable<Integer> {
  private static final List<String> SHELLS = List.of("bash", "zsh");

  @Parameters(
      paramLabel = "SHELL",
      description = "bash or zsh.",
      completionCandidates = Shells.class)
  private String shell;

  @Mixin private CommonOptions common;

  @Spec private CommandSpec spec;

  /** Shells that it knows. */
  static final class Shells extends Candidates.Of {
    private static final long serialVersionUID = 1;

    Shells() {
      super(SHELLS);
    }
  }

  @Override
  public Integer call() {
    if (!SHELLS.contains(shell)) {
      throw new UsageException("needs bash or zsh, got " + shell);
    }
    // One script for both: zsh runs it by its emulation of bash's completion.
    System.out.print(AutoComplete.bash("ghostbatch", spec.root().commandLine()));
    return Main.DONE;
  }
}
