package org.ghostbatch.cli;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.ghostbatch.device.Device;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.study.Spread;
import org.ghostbatch.study.Study;
import org.ghostbatch.study.StudyResult;
import org.ghostbatch.study.StudyRunner;
import org.ghostbatch.study.StudyTable;
import org.ghostbatch.train.TrainingListener;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Trains the arms of a study and prints its table. */
@Command(
    name = "study",
    description = {
      "Trains one network in several ways (arms) over several seeds, and prints what differed.",
      "Each arm's test accuracy is compared with the baseline's, seed by seed. Started again on the same folder, it "
          + "goes on with what is missing."
    },
    customSynopsis =
        "ghostbatch study [NAME|FILE] [--seeds N] [--quick] [--epoch-scale X] [--train-samples N] [--out DIR]%n"
            + "                        [--data-dir DIR] [--offline] [--backend NAME] [--threads N] [--quiet]%n")
final class StudyCommand implements Callable<Integer> {
  @Parameters(
      arity = "0..1",
      paramLabel = "NAME|FILE",
      defaultValue = "gap",
      completionCandidates = Candidates.Studies.class,
      description =
          "A built-in study (gap), or a JSON file that lists arms and seeds. Default: gap.")
  private String study;

  @Option(
      names = "--seeds",
      paramLabel = "N",
      description = "How many seeds. Default: the study's.")
  private Integer seeds;

  @Option(
      names = "--quick",
      description = "The small form of a built-in study: a few minutes on two cores.")
  private boolean quick;

  @Option(
      names = "--epoch-scale",
      paramLabel = "X",
      description = "Multiply all lengths and boundaries. Default: 1.")
  private Double epochScale;

  @Option(
      names = "--train-samples",
      paramLabel = "N",
      description = "Train on the first N samples. Default: the study's.")
  private Integer trainSamples;

  @Option(
      names = "--out",
      paramLabel = "DIR",
      description =
          "Folder of runs, runs.csv, table.csv and study.json. Default: runs/study-NAME..., a new one.")
  private Path out;

  @Option(
      names = "--data-dir",
      paramLabel = "DIR",
      description =
          "Folder of the data's files, or one that holds it. Default: the study's, $GHOSTBATCH_DATA.")
  private String dataDir;

  @Option(names = "--quiet", description = "Print the table only.")
  private boolean quiet;

  @Mixin private DataFlags data;
  @Mixin private DeviceOptions device;
  @Mixin private CommonOptions common;

  @Override
  public Integer call() {
    Study chosen = chosen();
    Path folder =
        out != null ? out : TrainCommand.unused(Path.of("runs"), "study-" + chosen.name());
    Terminal terminal = quiet ? Terminal.silent() : Terminal.standardError();
    try (Interrupt interrupt = new Interrupt();
        Device opened = device.open()) {
      StudyRunner runner =
          UsageException.check(
              () ->
                  new StudyRunner(
                      chosen,
                      opened,
                      folder,
                      data.options(opened.threads(), terminal),
                      new Progress(terminal)));
      terminal.line(
          chosen.name()
              + ": "
              + chosen.about()
              + "; "
              + opened.name()
              + ", "
              + opened.threads()
              + " threads; "
              + folder);
      runner.load();
      if (!interrupt.hold()) {
        return Main.DONE;
      }
      interrupt.stopWith(runner::stop);
      StudyTable table = runner.run();
      terminal.clear();
      System.out.print(text(chosen, table));
      if (runner.stopped()) {
        terminal.line(
            "stopped: finished runs are in "
                + folder
                + "; the same command with --out "
                + folder
                + " goes on with the others");
      }
    }
    return Main.DONE; // after a signal the JVM ends with its status instead
  }

  private Study chosen() {
    return UsageException.check(
        () -> {
          Path file = Path.of(study);
          boolean isFile = !Study.NAMES.contains(study) && Files.isRegularFile(file);
          if (isFile && quick) {
            throw new UsageException("--quick needs a built-in study, got " + study);
          }
          Study chosen = isFile ? Study.read(file) : Study.named(study, quick);
          if (seeds != null) {
            chosen = chosen.withSeeds(seeds);
          }
          if (epochScale != null) {
            chosen = chosen.scaled(epochScale);
          }
          if (trainSamples != null) {
            if (trainSamples < 1) {
              throw new UsageException("--train-samples needs 1 or more, got " + trainSamples);
            }
            chosen = chosen.with(new JsonObject().put("train_samples", trainSamples));
          }
          return dataDir == null ? chosen : chosen.with(new JsonObject().put("data_dir", dataDir));
        });
  }

  /** A line a run, and on a terminal a bar within it. */
  private record Progress(Terminal terminal) implements StudyRunner.Listener {
    @Override
    public TrainingListener onRun(Study.Arm arm, long seed, int number, int of) {
      return new TrainProgress(
          terminal, String.format("[%d/%d] %s seed %d ", number, of, arm.name(), seed), false);
    }

    @Override
    public void onResult(StudyResult result, int number, int of, boolean kept) {
      terminal.line(
          String.format(
              Locale.ROOT,
              "[%d/%d] %s seed %d: test accuracy %s, training accuracy %s, %s%s",
              number,
              of,
              result.arm(),
              result.seed(),
              Figures.percent(result.testAccuracy()),
              Figures.percent(result.trainAccuracy()),
              Figures.duration(result.seconds()),
              kept ? " (done before)" : ""));
    }
  }

  static String text(Study study, StudyTable table) {
    List<String> columns =
        new ArrayList<>(
            List.of(
                "arm",
                "seeds",
                "test accuracy %",
                "minus " + table.baseline(),
                "<",
                "train accuracy %",
                "train - test",
                "updates",
                "seconds"));
    for (String measure : table.measures()) {
      columns.add(measure);
      columns.add("of " + table.baseline() + "'s");
    }
    TextTable text = new TextTable(columns.toArray(String[]::new));
    boolean underFitted = false;
    for (StudyTable.Row row : table.rows()) {
      underFitted |= row.underFitted();
      List<String> cells =
          new ArrayList<>(
              List.of(
                  row.arm(),
                  Integer.toString(row.testAccuracy().count()),
                  percent(row.testAccuracy(), false),
                  row.difference() == null ? "" : percent(row.difference(), true),
                  row.verdict().toString(),
                  percent(row.trainAccuracy(), false) + (row.underFitted() ? " *" : "  "),
                  percent(row.gap(), true),
                  Long.toString(row.updates()),
                  String.format(Locale.ROOT, "%.1f", row.seconds().mean())));
      for (StudyTable.Measured measured : row.measures()) {
        cells.add(number(measured.value()));
        cells.add(number(measured.ratio()));
      }
      text.row(cells.toArray(String[]::new));
    }
    StringBuilder out = new StringBuilder().append(text).append('\n');
    study.arms().forEach(arm -> out.append(String.format("%-14s %s%n", arm.name(), arm.about())));
    out.append(
        "Mean and standard deviation over seeds; differences are paired by seed, and \"no difference seen\" "
            + "where the mean lies within the deviation.%s\n"
                .formatted(table.measures().isEmpty() ? "" : " Measures are compared as ratios."));
    if (underFitted) {
      out.append("* under-fitted: training accuracy below 99 %, so its gap says little.\n");
    }
    return out.toString();
  }

  private static String number(Spread spread) {
    if (spread == null) {
      return "";
    }
    String mean = Figures.number(spread.mean());
    return spread.count() == 1 ? mean : mean + " ± " + Figures.number(spread.std());
  }

  private static String percent(Spread spread, boolean signed) {
    String mean = String.format(Locale.ROOT, signed ? "%+.2f" : "%.2f", 100 * spread.mean());
    return spread.count() == 1
        ? mean
        : mean + String.format(Locale.ROOT, " ± %.2f", 100 * spread.std());
  }
}
