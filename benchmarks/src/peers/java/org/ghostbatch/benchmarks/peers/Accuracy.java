package org.ghostbatch.benchmarks.peers;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Stream;
import org.ghostbatch.data.Datasets;
import org.ghostbatch.train.EpochRow;

/**
 * The accuracy comparison; see benchmarks/peers/accuracy.
 *
 * <pre>
 * run ghostbatch|libtorch FOLDER [--data NAME] [--data-dir DIR] [--SETTING VALUE]...
 * report FOLDER        of run folders: a table, and loss.svg beside them
 * </pre>
 */
public final class Accuracy {
  private Accuracy() {}

  public static void main(String[] args) throws IOException {
    try {
      switch (args.length < 2 ? "" : args[0]) {
        case "run" -> run(args[1], Path.of(args[2]), settings(args, 3));
        case "report" -> report(Path.of(args[1]));
        default ->
            throw new IllegalArgumentException(
                "[accuracy] needs run or report, got " + Arrays.toString(args));
      }
    } catch (IllegalArgumentException e) {
      System.err.println(e.getMessage());
      System.exit(2);
    }
  }

  private static Map<String, String> settings(String[] args, int from) {
    Map<String, String> settings = new LinkedHashMap<>();
    for (int i = from; i < args.length; i += 2) {
      if (!args[i].startsWith("--") || i + 1 == args.length) {
        throw new IllegalArgumentException(
            "[accuracy] needs --SETTING VALUE, got " + String.join(" ", args));
      }
      settings.put(args[i].substring(2), args[i + 1]);
    }
    return settings;
  }

  private static void run(String engine, Path folder, Map<String, String> settings)
      throws IOException {
    String name = settings.getOrDefault("data", "cifar10");
    String home = settings.get("data-dir");
    settings.keySet().removeAll(List.of("data", "data-dir"));
    Recipe recipe = Recipe.of(settings);
    var data = Datasets.load(name, home == null ? null : Path.of(home));
    Files.createDirectories(folder);
    switch (engine) {
      case "ghostbatch" -> GhostBatchRun.run(recipe, data, folder);
      case "libtorch" -> LibtorchRun.run(recipe, data, folder);
      default ->
          throw new IllegalArgumentException(
              "[accuracy] needs engine ghostbatch or libtorch, got " + engine);
    }
  }

  static void log(EpochRow row) {
    System.err.printf(
        Locale.ROOT,
        "epoch %d: train loss %.4f, test loss %.4f, test accuracy %.2f %%, %.1f images/s, %.0f s%n",
        row.epoch(),
        row.trainLoss(),
        row.testLoss(),
        100 * row.testAccuracy(),
        row.imagesPerSecond(),
        row.seconds());
  }

  private static void report(Path folder) throws IOException {
    List<Path> folders = new ArrayList<>();
    try (Stream<Path> entries = Files.list(folder)) {
      entries.filter(RunFiles::complete).sorted().forEach(folders::add);
    }
    List<RunRecord> runs = folders.stream().map(RunRecord::read).toList();
    if (runs.isEmpty()) {
      throw new IllegalArgumentException("[accuracy] needs complete runs in " + folder);
    }
    System.out.print(AccuracyTable.of(runs));
    Path picture = folder.resolve("loss.svg");
    RunFiles.write(picture, LossChart.svg(runs));
    System.err.println("loss curves: " + picture);
  }
}
