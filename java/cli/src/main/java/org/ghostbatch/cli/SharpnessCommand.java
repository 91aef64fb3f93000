package org.ghostbatch.cli;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.ghostbatch.analysis.Box;
import org.ghostbatch.analysis.Maximum;
import org.ghostbatch.analysis.Neighbours;
import org.ghostbatch.analysis.NetworkLoss;
import org.ghostbatch.analysis.NetworkLossSpec;
import org.ghostbatch.analysis.Progress;
import org.ghostbatch.analysis.Rescaling;
import org.ghostbatch.analysis.Sharpness;
import org.ghostbatch.device.Device;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.nn.ModelFile;
import org.ghostbatch.train.TrainedRun;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** How much the training loss can rise close to a trained network. */
@Command(
    name = "sharpness",
    description = {
      "Tells how much the training loss can rise close to a trained network.",
      "phi = 100 (max f(x + A z) - f(x)) / (1 + f(x)) in the box |z_i| <= epsilon (|x_i| + 1) (Keskar et al. 2017, "
          + "Metric 2.1): by the paper's search, ten iterations of L-BFGS-B from z = 0; by a strong one, with steps "
          + "in units of the box; and, to hold them against, at random points and the corner that the gradient "
          + "points to."
    },
    customSynopsis =
        "ghostbatch sharpness --run DIR [--epsilon 1e-3,5e-4] [--subspace full|P] [--restarts R]%n"
            + "                            [--bn running|batch] [--ghost V] [--samples N] [--rescaled] [--relative]%n"
            + "                            [--json] [--backend NAME] [--threads N]%n")
final class SharpnessCommand implements Callable<Integer> {
  private static final int RANDOM_POINTS = 20;

  @Mixin private AnalysedRun run;

  @Option(
      names = "--epsilon",
      paramLabel = "E,E",
      split = ",",
      defaultValue = "1e-3,5e-4",
      description = "Sizes of the box. Default: 1e-3,5e-4.")
  private double[] epsilons;

  @Option(
      names = "--subspace",
      paramLabel = "full|P",
      defaultValue = "full",
      description =
          "full: A = I; or the number of random directions, 100 in the paper. Default: full.")
  private String subspace;

  @Option(
      names = "--restarts",
      paramLabel = "R",
      defaultValue = "1",
      description =
          "Strong searches from random points of the box, beside two from z = 0; 15 gradients each at most. "
              + "Default: 1.")
  private int restarts;

  @Option(
      names = "--rescaled",
      description =
          "Also with the layers before batch norm brought to equal norms, which changes the box but not the network.")
  private boolean rescaled;

  @Option(
      names = "--relative",
      description =
          "Also in the box |z_i| <= 10 epsilon |x_i|, the same for networks that differ in the scale of weights alone.")
  private boolean relative;

  @Mixin private AnalysisOptions options;

  /** What is searched: a network, a box, and how epsilon scales in it. */
  private record Place(String name, ModelFile model, Box box, double factor) {}

  /** What was found there with one epsilon. */
  private record Found(
      Place place,
      double epsilon,
      double loss,
      Maximum published,
      Maximum strong,
      Neighbours around) {
    boolean checked() {
      return strong.sharpness() >= Math.max(around.most(), around.corner());
    }
  }

  @Override
  public Integer call() {
    if (restarts < 0) {
      throw new UsageException("--restarts needs 0 or more, got " + restarts);
    }
    if (!Arrays.stream(epsilons).allMatch(e -> e > 0)) {
      throw new UsageException("--epsilon needs sizes above 0, got " + Arrays.toString(epsilons));
    }
    int columns = columns();
    TrainedRun trained = options.open(run.folder);
    NetworkLossSpec spec = options.objective(trained, run.norm);
    List<Place> places = new ArrayList<>();
    places.add(new Place("box", trained.model(), Box.ABSOLUTE, 1));
    if (rescaled) {
      ModelFile equal = Rescaling.toEqualNorms(trained.model());
      places.add(new Place("box at equal norms", equal, Box.ABSOLUTE, 1));
    }
    if (relative) {
      places.add(new Place("relative box", trained.model(), Box.RELATIVE, 10));
    }
    List<Found> found = new ArrayList<>();
    Terminal terminal = Terminal.standardError();
    try (Device device = options.device.open()) {
      for (Place place : places) {
        search(device, trained, spec, place, columns, AnalysisOptions.shown(terminal), found);
      }
    } finally {
      terminal.clear();
    }
    System.out.print(
        options.json
            ? Json.write(json(found, spec, columns, trained.train().count())) + "\n"
            : text(found, columns));
    return Main.DONE;
  }

  /** p, or 0 for all directions. */
  private int columns() {
    try {
      int columns = subspace.equals("full") ? 0 : Integer.parseInt(subspace);
      if (columns > 0 && columns <= 1024 || subspace.equals("full")) {
        return columns;
      }
    } catch (NumberFormatException e) {
      // Said below.
    }
    throw new UsageException("--subspace needs full, or 1 to 1024 directions, got " + subspace);
  }

  private void search(
      Device device,
      TrainedRun trained,
      NetworkLossSpec spec,
      Place place,
      int columns,
      Progress progress,
      List<Found> found) {
    try (NetworkLoss f = NetworkLoss.of(device, place.model(), trained.train(), spec)) {
      f.recomputeStatistics(f.start(), trained.train());
      try (Sharpness sharpness =
          columns == 0
              ? Sharpness.full(f, place.box(), options.seed, progress)
              : Sharpness.subspace(f, place.box(), columns, options.seed, progress)) {
        for (double epsilon : epsilons) {
          double scaled = epsilon * place.factor();
          Maximum published = sharpness.published(scaled);
          found.add(
              new Found(
                  place,
                  scaled,
                  sharpness.loss(),
                  published,
                  sharpness.strong(scaled, restarts).orPublished(published),
                  sharpness.around(scaled, RANDOM_POINTS)));
        }
      }
    }
  }

  private JsonObject json(List<Found> found, NetworkLossSpec spec, int columns, int all) {
    return new JsonObject()
        .put("run", run.folder.toString())
        .put("bn", run.norm)
        .put("ghost", spec.ghost())
        .put("samples", spec.samples() == 0 ? all : spec.samples())
        .put("subspace", columns)
        .put("train_loss", Json.finiteOrNull(found.get(0).loss()))
        .put("sharpness", found.stream().map(SharpnessCommand::json).toList());
  }

  private static JsonObject json(Found found) {
    return new JsonObject()
        .put("box", found.place().name())
        .put("epsilon", found.epsilon())
        .put("published", json(found.published()))
        .put("strong", json(found.strong()))
        .put("random_mean", Json.finiteOrNull(found.around().mean()))
        .put("random_most", Json.finiteOrNull(found.around().most()))
        .put("corner", Json.finiteOrNull(found.around().corner()))
        .put("checked", found.checked());
  }

  private static JsonObject json(Maximum maximum) {
    return new JsonObject()
        .put("sharpness", Json.finiteOrNull(maximum.sharpness()))
        .put("loss", Json.finiteOrNull(maximum.loss()))
        .put("reason", maximum.reason())
        .put("search", maximum.search())
        .put("gradients", maximum.gradients());
  }

  private String text(List<Found> found, int columns) {
    StringBuilder text = new StringBuilder();
    text.append(
        String.format(
            Locale.ROOT,
            "%s: training loss %s, %s, batch norm by %s statistics%n%n",
            run.folder,
            Figures.number(found.get(0).loss()),
            columns == 0 ? "all directions" : columns + " random directions",
            run.norm));
    TextTable table =
        new TextTable(
            "sharpness in the",
            "epsilon",
            "published search",
            "strong search",
            "random mean",
            "random most",
            "corner");
    for (Found one : found) {
      table.row(
          one.place().name(),
          Figures.number(one.epsilon()),
          Figures.number(one.published().sharpness()),
          Figures.number(one.strong().sharpness()),
          Figures.number(one.around().mean()),
          Figures.number(one.around().most()),
          Figures.number(one.around().corner()));
    }
    text.append(table).append(System.lineSeparator());
    for (Found one : found) {
      text.append(
          String.format(
              Locale.ROOT,
              "%s, %s: published ended with %s after %d gradients, strong with %s after %d%s%n",
              one.place().name(),
              Figures.number(one.epsilon()),
              one.published().reason(),
              one.published().gradients(),
              one.strong().reason(),
              one.strong().gradients(),
              one.checked() ? "" : "; a random point or the corner is above it: more --restarts"));
    }
    return text.toString();
  }
}
