package org.ghostbatch.cli;

import java.util.Comparator;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import picocli.CommandLine.UnmatchedArgumentException;

/** The {@code ghostbatch} command. */
@Command(
    name = "ghostbatch",
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    description =
        "Trains convolutional networks with large batches, and keeps the accuracy that they usually cost.",
    synopsisSubcommandLabel = "COMMAND",
    commandListHeading = "%nCommands:%n",
    descriptionHeading = "%n",
    optionListHeading = "%n",
    footer = {"", "'ghostbatch COMMAND --help' describes a command."},
    subcommands = {
      TrainCommand.class,
      EvaluateCommand.class,
      PredictCommand.class,
      SharpnessCommand.class,
      HessianCommand.class,
      SliceCommand.class,
      SurfaceCommand.class,
      CurvesCommand.class,
      StudyCommand.class,
      BenchCommand.class,
      InfoCommand.class,
      CompletionCommand.class
    })
public final class Main implements Callable<Integer> {
  /** Exit status: done. */
  static final int DONE = 0;

  /** Exit status: the run failed. */
  static final int FAILED = 1;

  /** Exit status: bad usage. */
  static final int BAD_USAGE = 2;

  private static final int HELP_WIDTH = 110;

  @Spec private CommandSpec spec;

  @Override
  public Integer call() {
    throw new ParameterException(
        spec.commandLine(), "needs a command: " + String.join(", ", spec.subcommands().keySet()));
  }

  public static void main(String[] arguments) {
    // One line a record, as all other messages; a file or format that the user set stays.
    if (System.getProperty("java.util.logging.SimpleFormatter.format") == null) {
      System.setProperty("java.util.logging.SimpleFormatter.format", "ghostbatch: %5$s%n");
    }
    System.exit(run(arguments));
  }

  /** Runs a command line in this JVM and returns its exit status. */
  static int run(String... arguments) {
    try {
      return commandLine().execute(arguments);
    } catch (
        Throwable
            failure) { // Errors, which picocli lets pass: a library that is not there, no memory.
      report(failure, List.of(arguments).contains("--debug"));
      return FAILED;
    } finally {
      System.out.flush();
    }
  }

  static CommandLine commandLine() {
    CommandLine commandLine = new CommandLine(new Main());
    commandLine
        .setUsageHelpAutoWidth(false)
        .setUsageHelpLongOptionsMaxWidth(34)
        .setHelpFactory(
            (command, colors) -> {
              command.usageMessage().width(helpWidth(Terminal.columnsOfOutput(HELP_WIDTH)));
              return new CommandLine.Help(command, colors);
            });
    for (CommandLine command : commandLine.getSubcommands().values()) {
      command
          .getCommandSpec()
          .usageMessage()
          .sortOptions(false)
          .abbreviateSynopsis(false)
          .parameterListHeading("%n")
          .optionListHeading(command.getCommandName().equals("train") ? "" : "%n") // it has groups
          .exitCodeListHeading("%nExit status:%n")
          .exitCodeList(ExitStatus.of(command.getCommandName()));
    }
    commandLine.setParameterExceptionHandler(
        (exception, ignored) -> {
          CommandLine command = exception.getCommandLine();
          usageError(
              command,
              exception instanceof UnmatchedArgumentException unmatched
                  ? unknown(unmatched)
                  : exception.getMessage());
          return BAD_USAGE;
        });
    commandLine.setExecutionExceptionHandler(
        (exception, command, parsed) -> {
          if (exception instanceof UsageException) {
            usageError(command, exception.getMessage());
            return BAD_USAGE;
          }
          report(exception, command.getParseResult().hasMatchedOption("--debug"));
          return FAILED;
        });
    return commandLine;
  }

  /** As wide as the terminal, within what reads well. */
  static int helpWidth(int columns) {
    return Math.max(60, Math.min(HELP_WIDTH, columns));
  }

  /** Names what comes first, and what it may have been meant for. */
  private static String unknown(UnmatchedArgumentException exception) {
    CommandSpec spec = exception.getCommandLine().getCommandSpec();
    String got = exception.getUnmatched().get(0);
    String text;
    if (exception.isUnknownOption()) {
      text = "knows no option " + got;
    } else if (spec.subcommands().isEmpty()) {
      text = "takes no such argument: " + got;
    } else {
      text = "needs a command: " + String.join(", ", spec.subcommands().keySet()) + ", got " + got;
    }
    // Options are suggested with their whole name only: "--epochs", not "--epochs=E".
    return exception.getSuggestions().stream()
        .min(Comparator.comparingInt(meant -> edits(got, meant.split("[= ]")[0])))
        .map(meant -> text + "; did you mean " + meant.split("[= ]")[0] + "?")
        .orElse(text);
  }

  /**
   * Letters to insert, delete, replace, or swap with their neighbour, to make one word of another.
   */
  private static int edits(String from, String to) {
    int[][] least = new int[from.length() + 1][to.length() + 1];
    for (int i = 0; i <= from.length(); i++) {
      for (int j = 0; j <= to.length(); j++) {
        if (i == 0 || j == 0) {
          least[i][j] = i + j;
          continue;
        }
        int other = from.charAt(i - 1) == to.charAt(j - 1) ? 0 : 1;
        int one = Math.min(least[i - 1][j], least[i][j - 1]) + 1;
        least[i][j] = Math.min(one, least[i - 1][j - 1] + other);
        if (i > 1
            && j > 1
            && from.charAt(i - 1) == to.charAt(j - 2)
            && from.charAt(i - 2) == to.charAt(j - 1)) {
          least[i][j] = Math.min(least[i][j], least[i - 2][j - 2] + 1);
        }
      }
    }
    return least[from.length()][to.length()];
  }

  private static void usageError(CommandLine command, String message) {
    String name = command.getCommandSpec().qualifiedName();
    System.err.println(name + ": " + message + " (see '" + name + " --help')");
  }

  private static void report(Throwable failure, boolean debug) {
    if (debug) {
      failure.printStackTrace();
    }
    String message = failure.getMessage();
    System.err.println(
        "ghostbatch: " + (message == null || message.isBlank() ? failure.toString() : message));
  }
}
