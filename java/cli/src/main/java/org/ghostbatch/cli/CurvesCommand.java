package org.ghostbatch.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import org.ghostbatch.analysis.Diffusion;
import org.ghostbatch.analysis.Overfitting;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.train.DistanceRow;
import org.ghostbatch.train.EpochRow;
import org.ghostbatch.train.RunFolder;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** What the curves of runs say. */
@Command(
    name = "curves",
    description = {
      "Tells what the curves of runs say.",
      "Which law the distance of the weights from their start follows, by Akaike's criterion: log t, as a random walk "
          + "in a random potential (Hoffer et al. 2017), sqrt t, or a power; distances against the first run's; and "
          + "whether test accuracy peaked and fell, beyond what noise explains."
    },
    customSynopsis = "ghostbatch curves RUN... [--json]%n")
final class CurvesCommand implements Callable<Integer> {
  @Parameters(paramLabel = "RUN", arity = "1..*", description = "Run folders, of 4 epochs or more.")
  private List<Path> runs;

  @Option(names = "--json", description = "One JSON object on standard output.")
  private boolean json;

  @Mixin private CommonOptions common;

  private record Curves(Path run, double distance, Diffusion diffusion, Overfitting overfitting) {}

  @Override
  public Integer call() {
    List<Curves> all = new ArrayList<>();
    for (Path run : runs) {
      all.add(read(run));
    }
    System.out.print(json ? Json.write(json(all)) + "\n" : text(all));
    return Main.DONE;
  }

  private static Curves read(Path run) {
    List<EpochRow> rows = RunFolder.metrics(run);
    List<DistanceRow> distances = RunFolder.distances(run);
    try {
      return new Curves(
          run,
          rows.isEmpty() ? Double.NaN : rows.get(rows.size() - 1).weightDistance(),
          Diffusion.fit(
              distances.stream().mapToDouble(DistanceRow::updates).toArray(),
              distances.stream().mapToDouble(DistanceRow::distance).toArray()),
          Overfitting.of(rows));
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException(e.getMessage() + ", in " + run, e);
    }
  }

  private static JsonObject json(List<Curves> all) {
    return new JsonObject()
        .put(
            "runs",
            all.stream()
                .map(
                    curves ->
                        new JsonObject()
                            .put("run", curves.run().toString())
                            .put("weight_distance", curves.distance())
                            .put("ratio_to_first", curves.distance() / all.get(0).distance())
                            .put("law", curves.diffusion().best())
                            .put("log", json(curves.diffusion().logarithm()))
                            .put("sqrt", json(curves.diffusion().root()))
                            .put("power", json(curves.diffusion().power()))
                            .put("peak_epoch", curves.overfitting().peakEpoch())
                            .put("peak_test_accuracy", curves.overfitting().peak())
                            .put("last_test_accuracy", curves.overfitting().last())
                            .put("noise", curves.overfitting().noise())
                            .put("train_minus_test", curves.overfitting().trainMinusTest())
                            .put("peak_then_decay", curves.overfitting().peakThenDecay()))
                .toList());
  }

  private static JsonObject json(Diffusion.Fit fit) {
    return new JsonObject()
        .put("offset", fit.offset())
        .put("factor", fit.factor())
        .put("exponent", Json.finiteOrNull(fit.exponent()))
        .put("aic", fit.aic())
        .put("r2", Json.finiteOrNull(fit.r2()));
  }

  private static String text(List<Curves> all) {
    TextTable distances =
        new TextTable("run", "distance", "of the first's", "<law", "AIC log", "sqrt", "power", "p");
    TextTable tests =
        new TextTable(
            "run", "best test", "in epoch", "last", "noise", "train - test", "<over-fitting");
    for (Curves curves : all) {
      Diffusion d = curves.diffusion();
      distances.row(
          curves.run().toString(),
          Figures.number(curves.distance()),
          Figures.number(curves.distance() / all.get(0).distance()),
          d.best(),
          Figures.number(d.logarithm().aic()),
          Figures.number(d.root().aic()),
          Figures.number(d.power().aic()),
          Figures.number(d.power().exponent()));
      Overfitting o = curves.overfitting();
      tests.row(
          curves.run().toString(),
          Figures.percent(o.peak()),
          Integer.toString(o.peakEpoch()),
          Figures.percent(o.last()),
          Figures.percent(o.noise()),
          Figures.percent(o.trainMinusTest()),
          o.peakThenDecay() ? "peak, then decay" : "none seen");
    }
    return distances + System.lineSeparator() + tests;
  }
}
