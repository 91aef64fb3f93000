package org.ghostbatch.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.ghostbatch.analysis.FilterNormalized;
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

/** The loss on a plane, or a line, of random directions around a trained network. */
@Command(
    name = "surface",
    description = {
      "Draws the loss around a trained network.",
      "Loss and accuracy at x + a d1 + b d2 for two random directions, independent Gaussian ones whose filters are as "
          + "long as those of the weights (Li et al. 2018), batch norm's running statistics recomputed at each point. "
          + "A CSV file gets every point when it is known; the same command goes on behind the last, and draws the "
          + "surface beside it."
    },
    customSynopsis =
        "ghostbatch surface --run DIR [--points 21] [--range -1,1] [--dimensions 1|2] [--seed N] [--test]%n"
            + "                          [--samples N] [--bn recomputed|running|batch] [--ghost V] [--out FILE.csv]%n"
            + "                          [--json] [--backend NAME] [--threads N]%n")
final class SurfaceCommand implements Callable<Integer> {
  private static final int MOST_POINTS = 10_000;
  private static final String[] COORDINATES = {"a", "b"};
  private static final String[] TRAIN = {"train_loss", "train_accuracy"};
  private static final String[] TEST = {"test_loss", "test_accuracy"};

  @Option(names = "--run", paramLabel = "DIR", required = true, description = "A run folder.")
  private Path run;

  @Option(
      names = "--points",
      paramLabel = "N",
      defaultValue = "21",
      description = "Points in each direction, equally spaced. Default: 21.")
  private int points;

  @Option(
      names = "--range",
      paramLabel = "A,A",
      split = ",",
      defaultValue = "-1,1",
      description = "Where they begin and end in each direction. Default: -1,1.")
  private double[] range;

  @Option(
      names = "--dimensions",
      paramLabel = "1|2",
      defaultValue = "2",
      description = "1: along d1 alone. Default: 2.")
  private int dimensions;

  @Option(names = "--test", description = "On test data too.")
  private boolean tested;

  @Option(
      names = "--bn",
      paramLabel = "MODE",
      defaultValue = PointLosses.RECOMPUTED,
      completionCandidates = Candidates.PointNorms.class,
      description = PointLosses.HELP + " Default: recomputed.")
  private String norm;

  @Option(
      names = "--out",
      paramLabel = "FILE.csv",
      description =
          "Where the points go; pictures lie beside them. Default: surface.csv in the run.")
  private Path out;

  @Mixin private AnalysisOptions options;

  @Override
  public Integer call() {
    if (dimensions != 1 && dimensions != 2) {
      throw new UsageException("--dimensions needs 1 or 2, got " + dimensions);
    }
    if (points > MOST_POINTS) {
      throw new UsageException("--points needs at most " + MOST_POINTS + ", got " + points);
    }
    double[] grid = Grid.of(range, points);
    TrainedRun trained = options.open(run);
    NetworkLossSpec spec = PointLosses.spec(options, trained, norm);
    Path csv = out == null ? run.resolve("surface.csv") : out;
    JsonObject settings =
        new JsonObject()
            .put("run", trained.fingerprint())
            .put("dimensions", dimensions)
            .put("range", List.of(range[0], range[1]))
            .put("points", points)
            .put("test", tested)
            .put("bn", norm)
            .put("samples", spec.samples())
            .put("ghost", spec.ghost())
            .put("seed", spec.seed());
    ResultFile file = UsageException.check(() -> ResultFile.open(csv, settings, columns()));
    List<double[]> directions = new ArrayList<>();
    for (int k = 0; k < dimensions; k++) {
      directions.add(FilterNormalized.draw(trained.model(), options.seed, k));
    }
    if (file.rows().size() < all()) {
      follow(trained, spec, directions, grid, file);
    }
    List<double[]> rows = file.rows();
    List<Path> pictures = dimensions == 1 ? curves(rows, csv) : surfaces(rows, grid, csv);
    Double cosine =
        dimensions == 1 ? null : FilterNormalized.cosine(directions.get(0), directions.get(1));
    Comparator<double[]> byLoss = Comparator.comparingDouble(row -> row[dimensions]);
    double[] least = rows.stream().min(byLoss).orElseThrow();
    double[] most = rows.stream().max(byLoss).orElseThrow();
    System.out.print(
        options.json
            ? Json.write(
                    new JsonObject()
                        .put("run", run.toString())
                        .put("dimensions", dimensions)
                        .put("range", List.of(range[0], range[1]))
                        .put("points", points)
                        .put("bn", norm)
                        .put("ghost", spec.ghost())
                        .put(
                            "samples",
                            spec.samples() == 0 ? trained.train().count() : spec.samples())
                        .put("seed", spec.seed())
                        .put("cosine", cosine)
                        .put("least", json(least))
                        .put("most", json(most))
                        .put("file", csv.toString())
                        .put("pictures", pictures.stream().map(Path::toString).toList()))
                + "\n"
            : text(cosine, least, most, csv, pictures));
    return Main.DONE;
  }

  private String[] columns() {
    List<String> columns = new ArrayList<>(List.of(COORDINATES).subList(0, dimensions));
    columns.addAll(List.of(TRAIN));
    columns.addAll(tested ? List.of(TEST) : List.of());
    return columns.toArray(String[]::new);
  }

  /** The points that are not in the file yet, a before b. */
  private void follow(
      TrainedRun trained,
      NetworkLossSpec spec,
      List<double[]> directions,
      double[] grid,
      ResultFile file) {
    Terminal terminal = Terminal.standardError();
    int all = all();
    try (Device device = options.device.open();
        PointLosses losses = PointLosses.of(device, trained, spec, norm, tested);
        Tensor x = losses.train.vector();
        Tensor first = losses.train.vector();
        Tensor second = dimensions == 1 ? null : losses.train.vector()) {
      List<Tensor> along = dimensions == 1 ? List.of(first) : List.of(first, second);
      for (int k = 0; k < dimensions; k++) {
        along.get(k).copyFrom(directions.get(k));
      }
      Countdown countdown = new Countdown(terminal, file.rows().size(), all, System::nanoTime);
      for (int i = file.rows().size(); i < all; i++) {
        countdown.at(i);
        double[] c = Arrays.copyOf(new double[] {grid[i % points], grid[i / points]}, dimensions);
        Slice.point(losses.train.vectors(), losses.train.start(), c, along, x);
        file.add(row(c, losses.slice.at(c[0], x)));
      }
    } finally {
      terminal.clear();
    }
  }

  private int all() {
    return dimensions == 1 ? points : points * points;
  }

  private double[] row(double[] c, SlicePoint point) {
    double[] figures = {
      point.trainLoss(), point.trainAccuracy(), point.testLoss(), point.testAccuracy()
    };
    double[] row = Arrays.copyOf(c, dimensions + (tested ? 4 : 2));
    System.arraycopy(figures, 0, row, dimensions, row.length - dimensions);
    return row;
  }

  private List<Path> curves(List<double[]> rows, Path csv) {
    List<Path> pictures = new ArrayList<>();
    for (int i = 0; i < 2; i++) {
      String what = i == 0 ? "loss" : "accuracy";
      Chart chart = new Chart("Around " + run + ": " + what, "a", i == 0);
      chart.curve("training", Grid.curve(rows, 0, 1 + i));
      if (tested) {
        chart.curve("test", Grid.curve(rows, 0, 3 + i));
      }
      pictures.add(Grid.beside(csv, "-" + what + ".svg"));
      chart.write(pictures.get(i));
    }
    return pictures;
  }

  private List<Path> surfaces(List<double[]> rows, double[] grid, Path csv) {
    List<Path> pictures = new ArrayList<>();
    for (int i = 0; i < (tested ? 2 : 1); i++) {
      double[][] values = new double[points][points];
      for (int k = 0; k < rows.size(); k++) {
        values[k / points][k % points] = rows.get(k)[2 + 2 * i];
      }
      pictures.add(Grid.beside(csv, i == 0 ? "-loss.svg" : "-test-loss.svg"));
      new ContourChart(
              "Around " + run + ": " + (i == 0 ? "training" : "test") + " loss",
              COORDINATES,
              grid,
              values)
          .write(pictures.get(i));
    }
    return pictures;
  }

  private JsonObject json(double[] row) {
    JsonObject json = new JsonObject();
    String[] columns = columns();
    for (int i = 0; i < columns.length; i++) {
      json.put(columns[i], Json.finiteOrNull(row[i]));
    }
    return json;
  }

  private String text(Double cosine, double[] least, double[] most, Path csv, List<Path> pictures) {
    StringBuilder text = new StringBuilder();
    text.append(
        String.format(
            Locale.ROOT,
            "%s: %s points, batch norm by %s statistics%n",
            run,
            dimensions == 1 ? points : points + " x " + points,
            norm));
    if (cosine != null) {
      text.append(
          String.format(Locale.ROOT, "cosine of the two directions %s%n", Figures.number(cosine)));
    }
    text.append(
        String.format(
            "training loss from %s %s to %s %s%n",
            Figures.number(least[dimensions]),
            at(least),
            Figures.number(most[dimensions]),
            at(most)));
    text.append(csv);
    pictures.forEach(picture -> text.append(", ").append(picture));
    return text.append(System.lineSeparator()).toString();
  }

  private String at(double[] row) {
    StringBuilder text = new StringBuilder("at");
    for (int k = 0; k < dimensions; k++) {
      text.append(k == 0 ? " " : ", ")
          .append(COORDINATES[k])
          .append(" = ")
          .append(Figures.number(row[k]));
    }
    return text.toString();
  }
}
