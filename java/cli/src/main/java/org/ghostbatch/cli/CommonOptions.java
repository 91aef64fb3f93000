package org.ghostbatch.cli;

import picocli.CommandLine.Option;

/** Flags of every command. */
final class CommonOptions {
  @Option(names = "--debug", description = "Print the stack trace of a failure.")
  boolean debug;

  @Option(
      names = {"-h", "--help"},
      usageHelp = true,
      description = "Print this help.")
  boolean help;
}
