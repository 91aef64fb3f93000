package org.ghostbatch.cli;

import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.stream.DoubleStream;
import org.ghostbatch.analysis.Asymmetry;
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

/** The loss along a path from one network to another, or through one. */
@Command(
    name = "slice",
    description = {
      "Follows the loss from one trained network to another and beyond, or through one to both sides.",
      "Loss and accuracy on training and test data at points of the line, or the arc, that joins two (Keskar et al. "
          + "2017), batch norm's running statistics recomputed at each; or of a line through one, along an eigenvector "
          + "of the Hessian, to where its sharpness is found, or in a random direction, and how unlike the two sides "
          + "are. A CSV file gets every point when it is known; the same command goes on behind the last, and draws "
          + "the curves beside it."
    },
    customSynopsis =
        "ghostbatch slice --from RUN --to RUN [--range -1,2] [--points 25] [--path line|arc]%n"
            + "       ghostbatch slice --run DIR --along eigenvector[:K]|sharpness|random [--range -1,1] [--points 25]%n"
            + "                        [--epsilon 1e-3] [--bn recomputed|running|batch] [--out FILE.csv] [--samples N]%n"
            + "                        [--ghost V] [--json] [--backend NAME] [--threads N]%n")
final class SliceCommand implements Callable<Integer> {
  private static final String[] COLUMNS = {
    "t", "train_loss", "train_accuracy", "test_loss", "test_accuracy"
  };
  private static final String ASYMMETRY = "asymmetry";

  @Option(names = "--from", paramLabel = "RUN", description = "The run at 0.")
  private Path from;

  @Option(names = "--to", paramLabel = "RUN", description = "The run at 1.")
  private Path to;

  @Option(names = "--run", paramLabel = "DIR", description = "The run at 0, of --along.")
  private Path run;

  @Option(
      names = "--along",
      paramLabel = "WHAT",
      completionCandidates = Candidates.Rays.class,
      description =
          "eigenvector: of the Hessian's largest eigenvalue, eigenvector:K: of the K-th; uphill, t = 1 is as far as a "
              + "corner of the box of --epsilon. sharpness: t = 1 is the point of that box where the strong search "
              + "finds the largest loss. random: t = 1 is a Gaussian direction with filters as long as those of the "
              + "weights (Li et al. 2018).")
  private String along;

  @Option(
      names = "--epsilon",
      paramLabel = "E",
      description = "Size of the box |z_i| <= E (|x_i| + 1), as in sharpness. Default: 1e-3.")
  private Double epsilon;

  @Option(
      names = "--range",
      paramLabel = "T,T",
      split = ",",
      description = "Where the path begins and ends. Default: -1,2; with --along -1,1.")
  private double[] range;

  @Option(
      names = "--points",
      paramLabel = "N",
      defaultValue = "25",
      description = "Points, equally spaced; with --along, t = 0 beside them. Default: 25.")
  private int points;

  @Option(
      names = "--path",
      paramLabel = "PATH",
      completionCandidates = Candidates.Paths.class,
      description = "line: (1 - t) a + t b; arc: cos(t pi/2) a + sin(t pi/2) b. Default: line.")
  private String path;

  @Option(
      names = "--bn",
      paramLabel = "MODE",
      completionCandidates = Candidates.PointNorms.class,
      description = PointLosses.HELP + " Default: recomputed; with --along running.")
  private String norm;

  @Option(
      names = "--out",
      paramLabel = "FILE.csv",
      description =
          "Where the points go; the curves lie beside them. Default: slice.csv in the run of --to, slice-WHAT.csv in "
              + "that of --along.")
  private Path out;

  @Mixin private AnalysisOptions options;

  @Override
  public Integer call() {
    boolean between = from != null && to != null && run == null && along == null;
    if (!between && (from != null || to != null || run == null || along == null)) {
      throw new UsageException("needs either --from and --to, or --run and --along");
    }
    if (!between && path != null) {
      throw new UsageException("--path needs --from and --to, got --along " + along);
    }
    return between ? between() : around();
  }

  private int between() {
    if (epsilon != null || PointLosses.RUNNING.equals(norm)) {
      throw new UsageException(
          "--epsilon, and --bn running, need --along: no network's statistics are those of a path");
    }
    path = path == null ? "line" : path;
    Slice.Path kind =
        switch (path) {
          case "line" -> Slice.Path.LINE;
          case "arc" -> Slice.Path.ARC;
          default -> throw new UsageException("--path needs line or arc, got " + path);
        };
    range = range == null ? new double[] {-1, 2} : range;
    double[] t = Grid.of(range, points);
    norm = norm == null ? PointLosses.RECOMPUTED : norm;
    TrainedRun a = options.open(from);
    TrainedRun b = options.open(to);
    if (!a.model().network().layers().equals(b.model().network().layers())
        || !a.spec().data().equals(b.spec().data())) {
      throw new UsageException("--from and --to need runs of one network on the same data");
    }
    Path csv = out == null ? to.resolve("slice.csv") : out;
    NetworkLossSpec spec = PointLosses.spec(options, b, norm);
    JsonObject settings =
        new JsonObject()
            .put("from", a.fingerprint())
            .put("to", b.fingerprint())
            .put("path", path)
            .put("range", List.of(range[0], range[1]))
            .put("points", points)
            .put("bn", norm)
            .put("samples", spec.samples())
            .put("ghost", spec.ghost())
            .put("seed", spec.seed());
    ResultFile file = UsageException.check(() -> ResultFile.open(csv, settings, COLUMNS));
    if (file.rows().size() < points) {
      Terminal terminal = Terminal.standardError();
      try (Device device = options.device.open();
          PointLosses losses = PointLosses.of(device, b, spec, norm, true);
          Tensor start = losses.train.vector();
          Tensor x = losses.train.vector()) {
        start.copyFrom(a.model().parameters());
        Countdown countdown = new Countdown(terminal, file.rows().size(), points, System::nanoTime);
        for (int i = file.rows().size(); i < points; i++) {
          countdown.at(i);
          Slice.point(losses.train.vectors(), kind, t[i], start, losses.train.start(), x);
          file.add(row(losses.slice.at(t[i], x)));
        }
      } finally {
        terminal.clear();
      }
    }
    draw(file.rows(), csv, "From " + from + " to " + to);
    answer(
        new JsonObject()
            .put("from", from.toString())
            .put("to", to.toString())
            .put("path", path)
            .put("bn", norm)
            .put("file", csv.toString())
            .put("points", points(file.rows())),
        table(file.rows()) + files(csv));
    return Main.DONE;
  }

  private int around() {
    Ray.Kind kind = Ray.Kind.of(along);
    if (epsilon != null && (!kind.hasBox() || !(epsilon > 0) || epsilon.isInfinite())) {
      throw new UsageException(
          "--epsilon needs a size above 0, and --along eigenvector or sharpness, got "
              + epsilon
              + " and "
              + along);
    }
    double box = epsilon == null ? 1e-3 : epsilon;
    range = range == null ? new double[] {-1, 1} : range;
    double[] t = withZero(Grid.of(range, points));
    norm = norm == null ? PointLosses.RUNNING : norm;
    TrainedRun trained = options.open(run);
    NetworkLossSpec spec = PointLosses.spec(options, trained, norm);
    Path csv = out == null ? run.resolve("slice-" + kind.text().replace(':', '-') + ".csv") : out;
    JsonObject settings =
        new JsonObject()
            .put("run", trained.fingerprint())
            .put("along", kind.text())
            .put("epsilon", kind.hasBox() ? box : null)
            .put("range", List.of(range[0], range[1]))
            .put("points", points)
            .put("bn", norm)
            .put("samples", spec.samples())
            .put("ghost", spec.ghost())
            .put("seed", spec.seed());
    String[] columns = Arrays.copyOf(COLUMNS, COLUMNS.length + 1);
    columns[COLUMNS.length] = ASYMMETRY;
    ResultFile file = UsageException.check(() -> ResultFile.open(csv, settings, columns));
    Path kept = Grid.beside(csv, "-direction.safetensors");
    Ray ray = Ray.read(kept, settings);
    if (ray == null || file.rows().size() < t.length) {
      Terminal terminal = Terminal.standardError();
      try (Device device = options.device.open();
          PointLosses losses = PointLosses.of(device, trained, spec, norm, true)) {
        if (ray == null) {
          ray =
              Ray.find(
                  kind, losses.train, trained, box, options.seed, AnalysisOptions.shown(terminal));
          ray.write(kept, settings);
        }
        follow(ray, losses, t, file, terminal);
      } finally {
        terminal.clear();
      }
    }
    List<double[]> rows = file.rows();
    Asymmetry asymmetry =
        range[0] < 0 && range[1] > 0 ? Asymmetry.of(column(rows, 0), column(rows, 1)) : null;
    draw(rows, csv, run + " along " + kind.text());
    answer(
        new JsonObject()
            .put("run", run.toString())
            .put("along", kind.text())
            .put("epsilon", kind.hasBox() ? box : null)
            .put("bn", norm)
            .put("ghost", spec.ghost())
            .put("samples", spec.samples() == 0 ? trained.train().count() : spec.samples())
            .put("direction", ray.about())
            .put(ASYMMETRY, asymmetry == null ? null : json(asymmetry))
            .put("file", csv.toString())
            .put("points", points(rows)),
        String.format(
            "%s: %s%nbatch norm by %s statistics%n%n%s%n%s%s",
            run,
            ray.text(kind, box),
            norm,
            table(rows),
            asymmetry == null ? "" : text(asymmetry),
            files(csv)));
    return Main.DONE;
  }

  /**
   * With 0 among them where they lie on both sides of it, as that is what rises are counted from.
   */
  private static double[] withZero(double[] t) {
    if (t[0] > 0 || t[t.length - 1] < 0) {
      return t;
    }
    return DoubleStream.concat(DoubleStream.of(t), DoubleStream.of(0))
        .distinct()
        .sorted()
        .toArray();
  }

  private static void follow(
      Ray ray, PointLosses losses, double[] t, ResultFile file, Terminal terminal) {
    try (Tensor direction = losses.train.vector();
        Tensor x = losses.train.vector()) {
      direction.copyFrom(ray.direction());
      Countdown countdown = new Countdown(terminal, file.rows().size(), t.length, System::nanoTime);
      for (int i = file.rows().size(); i < t.length; i++) {
        countdown.at(i);
        Slice.point(
            losses.train.vectors(),
            losses.train.start(),
            new double[] {t[i]},
            List.of(direction),
            x);
        double[] row = row(losses.slice.at(t[i], x));
        file.add(with(row, asymmetry(file.rows(), row)));
      }
    }
  }

  /** Of a point behind all others, with the point as far on the other side; NaN without one. */
  private static double asymmetry(List<double[]> before, double[] row) {
    if (!(row[0] > 0) || before.isEmpty() || -before.get(0)[0] < row[0]) {
      return Double.NaN;
    }
    return Asymmetry.at(with(column(before, 0), row[0]), with(column(before, 1), row[1]), row[0]);
  }

  private static double[] with(double[] values, double last) {
    double[] longer = Arrays.copyOf(values, values.length + 1);
    longer[values.length] = last;
    return longer;
  }

  private static double[] row(SlicePoint point) {
    return new double[] {
      point.t(), point.trainLoss(), point.trainAccuracy(), point.testLoss(), point.testAccuracy()
    };
  }

  private static double[] column(List<double[]> rows, int column) {
    return rows.stream().mapToDouble(row -> row[column]).toArray();
  }

  private void answer(JsonObject json, String text) {
    System.out.print(options.json ? Json.write(json) + "\n" : text);
  }

  /** Curves of training and test data, beside the CSV file. */
  private static void draw(List<double[]> rows, Path csv, String title) {
    new Chart(title + ": loss", "t", true)
        .curve("training", Grid.curve(rows, 0, 1))
        .curve("test", Grid.curve(rows, 0, 3))
        .write(Grid.beside(csv, "-loss.svg"));
    new Chart(title + ": accuracy", "t", false)
        .curve("training", Grid.curve(rows, 0, 2))
        .curve("test", Grid.curve(rows, 0, 4))
        .write(Grid.beside(csv, "-accuracy.svg"));
  }

  private static List<JsonObject> points(List<double[]> rows) {
    return rows.stream()
        .map(
            row -> {
              JsonObject point = new JsonObject();
              for (int i = 0; i < row.length; i++) {
                point.put(i < COLUMNS.length ? COLUMNS[i] : ASYMMETRY, Json.finiteOrNull(row[i]));
              }
              return point;
            })
        .toList();
  }

  private static JsonObject json(Asymmetry asymmetry) {
    return new JsonObject()
        .put("reach", asymmetry.reach())
        .put("at_reach", Json.finiteOrNull(asymmetry.atReach()))
        .put("mean", Json.finiteOrNull(asymmetry.mean()))
        .put("right_width", Json.finiteOrNull(asymmetry.right()))
        .put("left_width", Json.finiteOrNull(asymmetry.left()))
        .put("width_ratio", Json.finiteOrNull(asymmetry.widthRatio()));
  }

  private static String text(Asymmetry asymmetry) {
    return String.format(
        Locale.ROOT,
        "asymmetry (r(t) - r(-t)) / (r(t) + r(-t)) of the rises r: %s at t = %s, %s of their means%n"
            + "training loss doubled %s to the right, %s to the left, ratio %s%n",
        Figures.number(asymmetry.atReach()),
        Figures.number(asymmetry.reach()),
        Figures.number(asymmetry.mean()),
        width(asymmetry.right()),
        width(asymmetry.left()),
        Figures.number(asymmetry.widthRatio()));
  }

  private static String width(double t) {
    return Double.isNaN(t) ? "beyond the range" : "at " + Figures.number(t);
  }

  private static String table(List<double[]> rows) {
    TextTable table = new TextTable("t", "train loss", "accuracy", "test loss", "accuracy");
    for (double[] row : rows) {
      table.row(
          String.format(Locale.ROOT, "%.3f", row[0]),
          Figures.number(row[1]),
          Figures.percent(row[2]),
          Figures.number(row[3]),
          Figures.percent(row[4]));
    }
    return table.toString();
  }

  private static String files(Path csv) {
    return String.format(
        "%n%s, %s, %s%n", csv, Grid.beside(csv, "-loss.svg"), Grid.beside(csv, "-accuracy.svg"));
  }
}
