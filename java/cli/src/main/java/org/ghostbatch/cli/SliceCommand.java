package org.ghostbatch.cli;

import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.ghostbatch.analysis.NetworkLoss;
import org.ghostbatch.analysis.NetworkLossSpec;
import org.ghostbatch.analysis.ResultFile;
import org.ghostbatch.analysis.Slice;
import org.ghostbatch.analysis.SlicePoint;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.train.TrainedRun;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** The loss along a path from one network to another. */
@Command(
    name = "slice",
    description = {
      "Follows the loss from one trained network to another, and beyond.",
      "Loss and accuracy on training and test data at points of the line, or the arc, that joins them (Keskar et al. "
          + "2017), batch norm's running statistics recomputed at each. A CSV file gets every point when it is known; "
          + "the same command goes on behind the last, and draws the curves beside it."
    },
    customSynopsis =
        "ghostbatch slice --from RUN --to RUN [--range -1,2] [--points 25] [--path line|arc] [--out FILE.csv]%n"
            + "                        [--samples N] [--ghost V] [--json] [--backend NAME] [--threads N]%n")
final class SliceCommand implements Callable<Integer> {
  private static final String[] COLUMNS = {
    "t", "train_loss", "train_accuracy", "test_loss", "test_accuracy"
  };

  @Option(names = "--from", paramLabel = "RUN", required = true, description = "The run at 0.")
  private Path from;

  @Option(names = "--to", paramLabel = "RUN", required = true, description = "The run at 1.")
  private Path to;

  @Option(
      names = "--range",
      paramLabel = "T,T",
      split = ",",
      defaultValue = "-1,2",
      description = "Where the path begins and ends. Default: -1,2.")
  private double[] range;

  @Option(
      names = "--points",
      paramLabel = "N",
      defaultValue = "25",
      description = "Points, equally spaced. Default: 25.")
  private int points;

  @Option(
      names = "--path",
      paramLabel = "PATH",
      defaultValue = "line",
      completionCandidates = Candidates.Paths.class,
      description = "line: (1 - t) a + t b; arc: cos(t pi/2) a + sin(t pi/2) b. Default: line.")
  private String path;

  @Option(
      names = "--out",
      paramLabel = "FILE.csv",
      description =
          "Where the points go; the curves lie beside them. Default: slice.csv in the run of --to.")
  private Path out;

  @Mixin private AnalysisOptions options;

  @Override
  public Integer call() {
    Slice.Path kind =
        switch (path) {
          case "line" -> Slice.Path.LINE;
          case "arc" -> Slice.Path.ARC;
          default -> throw new UsageException("--path needs line or arc, got " + path);
        };
    if (range.length != 2 || !(range[0] < range[1])) {
      throw new UsageException(
          "--range needs two numbers, the lower first, got " + Arrays.toString(range));
    }
    if (points < 2) {
      throw new UsageException("--points needs 2 or more, got " + points);
    }
    TrainedRun a = options.open(from);
    TrainedRun b = options.open(to);
    if (!a.model().network().layers().equals(b.model().network().layers())
        || !a.spec().data().equals(b.spec().data())) {
      throw new UsageException("--from and --to need runs of one network on the same data");
    }
    Path csv = out == null ? to.resolve("slice.csv") : out;
    NetworkLossSpec spec = options.objective(b, "running");
    JsonObject settings =
        new JsonObject()
            .put("from", a.fingerprint())
            .put("to", b.fingerprint())
            .put("path", path)
            .put("range", List.of(range[0], range[1]))
            .put("points", points)
            .put("samples", spec.samples())
            .put("ghost", spec.ghost())
            .put("seed", spec.seed());
    ResultFile file = UsageException.check(() -> ResultFile.open(csv, settings, COLUMNS));
    if (file.rows().size() < points) {
      follow(kind, a, b, spec, file);
    }
    List<double[]> rows = file.rows();
    draw(rows, csv, "loss", 1, 3, true);
    draw(rows, csv, "accuracy", 2, 4, false);
    System.out.print(options.json ? Json.write(json(rows, csv)) + "\n" : text(rows, csv));
    return Main.DONE;
  }

  /** The points that are not in the file yet. */
  private void follow(
      Slice.Path kind, TrainedRun a, TrainedRun b, NetworkLossSpec spec, ResultFile file) {
    Terminal terminal = Terminal.standardError();
    try (Device device = options.device.open();
        NetworkLoss train = NetworkLoss.of(device, b.model(), b.train(), spec);
        NetworkLoss test = NetworkLoss.of(device, b.model(), b.test(), spec.withSamples(0));
        Tensor start = train.vector();
        Tensor x = train.vector()) {
      start.copyFrom(a.model().parameters());
      Slice slice = new Slice(train, test, b.train());
      for (int i = file.rows().size(); i < points; i++) {
        terminal.status(String.format(Locale.ROOT, "point %d of %d", i + 1, points));
        double t = range[0] + (range[1] - range[0]) * i / (points - 1);
        Slice.point(train.vectors(), kind, t, start, train.start(), x);
        SlicePoint point = slice.at(t, x);
        file.add(
            t, point.trainLoss(), point.trainAccuracy(), point.testLoss(), point.testAccuracy());
      }
    } finally {
      terminal.clear();
    }
  }

  /** Curves of the training and the test column, beside the CSV file. */
  private void draw(
      List<double[]> rows, Path csv, String what, int train, int test, boolean logarithmic) {
    new Chart("From " + from + " to " + to + ": " + what, "t", logarithmic)
        .curve("training", curve(rows, train))
        .curve("test", curve(rows, test))
        .write(picture(csv, what));
  }

  private static double[][] curve(List<double[]> rows, int column) {
    return rows.stream().map(row -> new double[] {row[0], row[column]}).toArray(double[][]::new);
  }

  private static Path picture(Path csv, String what) {
    return csv.resolveSibling(
        csv.getFileName().toString().replaceFirst("\\.csv$", "-" + what + ".svg"));
  }

  private JsonObject json(List<double[]> rows, Path csv) {
    return new JsonObject()
        .put("from", from.toString())
        .put("to", to.toString())
        .put("path", path)
        .put("file", csv.toString())
        .put(
            "points",
            rows.stream()
                .map(
                    row -> {
                      JsonObject point = new JsonObject();
                      for (int i = 0; i < COLUMNS.length; i++) {
                        point.put(COLUMNS[i], Json.finiteOrNull(row[i]));
                      }
                      return point;
                    })
                .toList());
  }

  private String text(List<double[]> rows, Path csv) {
    TextTable table = new TextTable("t", "train loss", "accuracy", "test loss", "accuracy");
    for (double[] row : rows) {
      table.row(
          String.format(Locale.ROOT, "%.3f", row[0]),
          Figures.number(row[1]),
          Figures.percent(row[2]),
          Figures.number(row[3]),
          Figures.percent(row[4]));
    }
    return table
        + String.format("%n%s, %s, %s%n", csv, picture(csv, "loss"), picture(csv, "accuracy"));
  }
}
