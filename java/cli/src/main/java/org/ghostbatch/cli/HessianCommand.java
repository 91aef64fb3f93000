package org.ghostbatch.cli;

import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import org.ghostbatch.analysis.Density;
import org.ghostbatch.analysis.Eigenpair;
import org.ghostbatch.analysis.Eigenvalues;
import org.ghostbatch.analysis.Estimate;
import org.ghostbatch.analysis.Hessian;
import org.ghostbatch.analysis.NetworkLoss;
import org.ghostbatch.analysis.NetworkLossSpec;
import org.ghostbatch.analysis.Progress;
import org.ghostbatch.analysis.ResultFile;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.train.TrainedRun;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** The curvature of the training loss at a trained network. */
@Command(
    name = "hessian",
    description = {
      "Tells how the training loss curves around a trained network.",
      "Gradient norm, largest and smallest eigenvalues of the Hessian (Lanczos), its trace (Hutchinson) and the "
          + "density of its eigenvalues (stochastic Lanczos quadrature), from products with vectors alone, each two "
          + "gradients of the data."
    },
    customSynopsis =
        "ghostbatch hessian --run DIR [--top K] [--bottom K] [--trace] [--density] [--samples N]%n"
            + "                          [--bn running|batch] [--ghost V] [--steps N] [--probes N] [--tolerance X]%n"
            + "                          [--out FILE.csv] [--json] [--backend NAME] [--threads N]%n")
final class HessianCommand implements Callable<Integer> {
  private static final int CURVE = 1000;

  @Mixin private AnalysedRun run;

  @Option(
      names = "--top",
      paramLabel = "K",
      defaultValue = "1",
      description = "Largest eigenvalues. Default: 1.")
  private int top;

  @Option(
      names = "--bottom",
      paramLabel = "K",
      defaultValue = "1",
      description = "Smallest eigenvalues. Default: 1.")
  private int bottom;

  @Option(names = "--trace", description = "Estimate the trace.")
  private boolean trace;

  @Option(
      names = "--density",
      description = "Estimate the density of the eigenvalues, and how many are negative.")
  private boolean density;

  @Option(
      names = "--steps",
      paramLabel = "N",
      defaultValue = "60",
      description =
          "Lanczos steps at most, two gradients and a vector of memory each. Default: 60.")
  private int steps;

  @Option(
      names = "--probes",
      paramLabel = "N",
      defaultValue = "10",
      description = "Random vectors for the trace and the density. Default: 10.")
  private int probes;

  @Option(
      names = "--tolerance",
      paramLabel = "X",
      defaultValue = "0.001",
      description =
          "Residual of each eigenpair, in units of the largest eigenvalue, at which to end. Default: 0.001.")
  private double tolerance;

  @Option(
      names = "--out",
      paramLabel = "FILE.csv",
      description =
          "Where the nodes of the density go, the curve beside them. Default: density.csv in the run.")
  private Path out;

  @Mixin private AnalysisOptions options;

  @Override
  public Integer call() {
    if (top < 0 || bottom < 0 || top + bottom > steps) {
      throw new UsageException(
          "--top and --bottom need 0 or more, together at most --steps "
              + steps
              + ", got "
              + top
              + " and "
              + bottom);
    }
    if (steps < 1 || probes < 2 || !(tolerance > 0)) {
      throw new UsageException(
          "--steps, --probes and --tolerance need 1, 2 or more and above 0, got "
              + steps
              + ", "
              + probes
              + " and "
              + tolerance);
    }
    TrainedRun trained = options.open(run.folder);
    NetworkLossSpec spec = options.objective(trained, run.norm);
    JsonObject json =
        new JsonObject()
            .put("run", run.folder.toString())
            .put("bn", run.norm)
            .put("ghost", spec.ghost());
    StringBuilder text = new StringBuilder();
    Terminal terminal = Terminal.standardError();
    Progress progress = AnalysisOptions.shown(terminal);
    try (Device device = options.device.open();
        NetworkLoss f = NetworkLoss.of(device, trained.model(), trained.train(), spec)) {
      f.recomputeStatistics(f.start(), trained.train());
      json.put("parameters", f.dimension()).put("samples", f.samples());
      gradient(f, json, text);
      try (Hessian hessian = Hessian.at(f, f.start(), options.seed, progress)) {
        json.put("step", hessian.step()).put("error", Json.finiteOrNull(hessian.error()));
        text.append(
            String.format(
                Locale.ROOT,
                "products by differences over %s, known to %s%n",
                Figures.number(hessian.step()),
                Figures.percent(hessian.error())));
        if (top + bottom > 0) {
          eigenvalues(hessian, progress, json, text);
        }
        if (trace) {
          Estimate estimate = hessian.trace(probes, options.seed, progress);
          json.put("trace", estimate.mean()).put("trace_error", estimate.standardError());
          text.append(
              String.format(
                  Locale.ROOT,
                  "trace %s +- %s (standard error of %d probes)%n",
                  Figures.number(estimate.mean()),
                  Figures.number(estimate.standardError()),
                  estimate.draws()));
        }
        if (density) {
          density(hessian, trained, spec, progress, json, text);
        }
      }
      json.put("gradients", f.gradients());
      text.append(
          String.format(Locale.ROOT, "%d gradients of %,d samples%n", f.gradients(), f.samples()));
    } finally {
      terminal.clear();
    }
    System.out.print(options.json ? Json.write(json) + "\n" : text);
    return Main.DONE;
  }

  private static void gradient(NetworkLoss f, JsonObject json, StringBuilder text) {
    try (Tensor gradient = f.vector()) {
      double loss = f.gradient(f.start(), gradient);
      double norm = f.vectors().norm(gradient);
      json.put("train_loss", Json.finiteOrNull(loss)).put("gradient_norm", Json.finiteOrNull(norm));
      text.append(
          String.format(
              Locale.ROOT,
              "%,d parameters: training loss %s, gradient norm %s%n",
              f.dimension(),
              Figures.number(loss),
              Figures.number(norm)));
    }
  }

  private void eigenvalues(
      Hessian hessian, Progress progress, JsonObject json, StringBuilder text) {
    try (Eigenvalues found =
        hessian.eigenvalues(top, bottom, tolerance, steps, options.seed, progress)) {
      TextTable table = new TextTable("eigenvalue", "value", "residual");
      add(table, "largest", found.largest());
      add(table, "smallest", found.smallest());
      text.append(table);
      if (!found.converged()) {
        text.append(
            String.format(
                Locale.ROOT,
                "not known to %s of the largest after %d steps: --steps more, or a larger --tolerance%n",
                Figures.number(tolerance),
                found.steps()));
      }
      json.put("converged", found.converged())
          .put("steps", found.steps())
          .put("largest", json(found.largest()))
          .put("smallest", json(found.smallest()));
    }
  }

  private static void add(TextTable table, String name, List<Eigenpair> pairs) {
    for (int i = 0; i < pairs.size(); i++) {
      table.row(
          name + " " + (i + 1),
          Figures.number(pairs.get(i).value()),
          Figures.number(pairs.get(i).residual()));
    }
  }

  private static List<JsonObject> json(List<Eigenpair> pairs) {
    return pairs.stream()
        .map(pair -> new JsonObject().put("value", pair.value()).put("residual", pair.residual()))
        .toList();
  }

  private void density(
      Hessian hessian,
      TrainedRun trained,
      NetworkLossSpec spec,
      Progress progress,
      JsonObject json,
      StringBuilder text) {
    Path csv = out == null ? run.folder.resolve("density.csv") : out;
    JsonObject settings =
        new JsonObject()
            .put("model", trained.fingerprint())
            .put("bn", run.norm)
            .put("ghost", spec.ghost())
            .put("samples", spec.samples())
            .put("seed", spec.seed())
            .put("steps", steps)
            .put("probes", probes);
    ResultFile file =
        UsageException.check(() -> ResultFile.open(csv, settings, "probe", "eigenvalue", "weight"));
    int known = (int) file.rows().stream().mapToDouble(row -> row[0]).distinct().count();
    for (int probe = known; probe < probes; probe++) {
      double number = probe;
      file.addAll(
          hessian.densityProbe(probe, steps, options.seed, progress).stream()
              .map(node -> new double[] {number, node[0], node[1]})
              .toList());
    }
    Map<Double, List<double[]>> nodes =
        file.rows().stream()
            .collect(
                Collectors.groupingBy(
                    row -> row[0],
                    TreeMap::new,
                    Collectors.mapping(row -> new double[] {row[1], row[2]}, Collectors.toList())));
    Density found = new Density(json.getLong("parameters"), List.copyOf(nodes.values()));
    Path picture = csv.resolveSibling(csv.getFileName().toString().replaceFirst("\\.csv$", ".svg"));
    new Chart("Density of the Hessian's eigenvalues, " + run.folder, "eigenvalue", true)
        .curve("density", found.curve(CURVE))
        .write(picture);
    double negative = found.shareBelow(0);
    double large =
        found.countAbove(0.1 * found.nodes().stream().mapToDouble(n -> n[0]).max().orElse(0));
    json.put("negative_share", negative)
        .put("above_a_tenth_of_largest", large)
        .put("file", csv.toString());
    text.append(
        String.format(
            Locale.ROOT,
            "%s of the eigenvalues are negative, %.0f are above a tenth of the largest%n%s, %s%n",
            Figures.percent(negative),
            large,
            csv,
            picture));
  }
}
