package org.ghostbatch.cli;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.io.AtomicFiles;
import org.ghostbatch.train.LearningRateFinder;
import org.ghostbatch.train.LearningRateFinder.Point;
import org.ghostbatch.train.LearningRateFinder.Result;
import org.ghostbatch.train.Trainer;

/** {@code train --find-lr}: a sweep instead of a run, told as a curve. */
final class FindLearningRate {
  /** Updates of a sweep where none are given. */
  static final long UPDATES = 100;

  static final String FILE = "lr-finder.csv";
  private static final int ROWS = 32;
  private static final int BAR = 40;

  private FindLearningRate() {}

  /**
   * Sweeps, prints the curve and the suggestion, and leaves {@code lr-finder.csv} in {@code out}
   * where that is not null.
   */
  static void run(Trainer trainer, Dataset train, Path out, Terminal terminal) {
    int updates = (int) Math.min(Integer.MAX_VALUE, trainer.spec().updates());
    LearningRateFinder finder =
        UsageException.check(() -> LearningRateFinder.of().withUpdates(updates));
    int[] done = new int[1];
    Result result =
        finder.find(
            trainer,
            train,
            point ->
                terminal.status(
                    String.format(
                        Locale.ROOT,
                        "update %d/%d  rate %.2e  loss %.4f",
                        ++done[0],
                        updates,
                        point.rate(),
                        point.smoothed())));
    terminal.clear();
    if (out != null) {
      write(out.resolve(FILE), result);
    }
    double factor = trainer.spec().learningRate().rule().factor(trainer.batchSize(0));
    System.out.print(text(result, factor, trainer.spec().learningRate().rule().toString()));
  }

  private static void write(Path file, Result result) {
    StringBuilder csv = new StringBuilder("update," + Point.CSV_HEADER + "\n");
    for (int i = 0; i < result.points().size(); i++) {
      csv.append(i + 1).append(',').append(result.points().get(i).csv()).append('\n');
    }
    try {
      Files.createDirectories(file.getParent());
    } catch (IOException e) {
      throw new UncheckedIOException("cannot make " + file.getParent() + ": " + e.getMessage(), e);
    }
    AtomicFiles.write(file, csv.toString().getBytes(StandardCharsets.UTF_8));
  }

  /**
   * @param factor of the rule for the batch size, by which {@code --lr} is multiplied
   */
  static String text(Result result, double factor, String rule) {
    StringBuilder text = new StringBuilder();
    List<Point> points = result.points();
    double least = points.stream().mapToDouble(Point::smoothed).min().orElse(0);
    double most = points.stream().mapToDouble(Point::smoothed).max().orElse(1);
    // The last points of a sweep that diverged would flatten all others.
    double top = points.isEmpty() ? 1 : Math.min(most, 1.5 * points.get(0).smoothed());
    TextTable table = new TextTable("learning rate", "loss", "<smoothed loss");
    int every = Math.max(1, (points.size() + ROWS - 1) / ROWS);
    for (int i = 0; i < points.size(); i++) {
      List<String> marks = new ArrayList<>();
      if (i == result.steepest()) {
        marks.add("falls fastest");
      }
      if (i == result.lowest() && result.steepest() >= 0) {
        marks.add("lowest");
      }
      if (i % every == 0 || !marks.isEmpty() || i == points.size() - 1) {
        Point point = points.get(i);
        double height = top > least ? (point.smoothed() - least) / (top - least) : 0;
        int length = (int) Math.round(BAR * Math.min(1, height));
        table.row(
            String.format(Locale.ROOT, "%.2e", point.rate()),
            String.format(Locale.ROOT, "%.4f", point.loss()),
            String.format(
                Locale.ROOT,
                "%.4f %s%s",
                point.smoothed(),
                "#".repeat(length),
                marks.isEmpty() ? "" : " <- " + String.join(", ", marks)));
      }
    }
    text.append(table);
    String end = System.lineSeparator();
    if (result.diverged()) {
      text.append("the sweep ended here, as the loss had grown too much").append(end);
    }
    if (result.steepest() < 0) {
      return text.append(
              "no suggestion: the loss did not fall by more than 5 %; more --updates tell more")
          .append(end)
          .toString();
    }
    text.append(
        String.format(
            Locale.ROOT,
            "the loss falls fastest at %.2e; a tenth of the rate where it is lowest is %.2e%n",
            result.steepestRate(),
            result.tenthOfLowestRate()));
    String suggestion = String.format(Locale.ROOT, "%.2g", result.suggestion() / factor);
    text.append("suggestion: --lr ").append(suggestion);
    if (factor != 1) {
      text.append(
          String.format(Locale.ROOT, ", which rule %s makes %.2g", rule, result.suggestion()));
    }
    return text.append(end).toString();
  }
}
