package org.ghostbatch.cli;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import org.ghostbatch.analysis.Box;
import org.ghostbatch.analysis.Eigenpair;
import org.ghostbatch.analysis.Eigenvalues;
import org.ghostbatch.analysis.FilterNormalized;
import org.ghostbatch.analysis.Hessian;
import org.ghostbatch.analysis.Maximum;
import org.ghostbatch.analysis.NetworkLoss;
import org.ghostbatch.analysis.Progress;
import org.ghostbatch.analysis.Sharpness;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.io.SafeTensors;
import org.ghostbatch.train.TrainedRun;

/**
 * A direction from a network in which a slice follows the loss, and what is known of it.
 *
 * @param direction the step from t = 0 to t = 1
 * @param about what the answer says of it
 */
record Ray(double[] direction, JsonObject about) {
  static final String EIGENVECTOR = "eigenvector";
  static final String SHARPNESS = "sharpness";
  static final String RANDOM = "random";
  static final List<String> NAMES = List.of(EIGENVECTOR, SHARPNESS, RANDOM);

  /** Lanczos steps at most, and its tolerance: those that the hessian command has by default. */
  private static final int STEPS = 60;

  private static final double TOLERANCE = 1e-3;
  private static final int RESTARTS = 1;

  /**
   * What {@code --along} asks for.
   *
   * @param number of the eigenvector, from 1 for that of the largest eigenvalue
   */
  record Kind(String name, int number) {
    static Kind of(String text) {
      try {
        int colon = text.indexOf(':');
        String name = colon < 0 ? text : text.substring(0, colon);
        int number = colon < 0 ? 1 : Integer.parseInt(text.substring(colon + 1));
        if (NAMES.contains(name)
            && (colon < 0 || name.equals(EIGENVECTOR))
            && number >= 1
            && number < STEPS) {
          return new Kind(name, number);
        }
      } catch (NumberFormatException e) {
        // Said below.
      }
      throw new UsageException(
          "--along needs eigenvector, eigenvector:2 to eigenvector:"
              + (STEPS - 1)
              + ", sharpness or random, got "
              + text);
    }

    /** Whether the length of a step comes from epsilon. */
    boolean hasBox() {
      return !name.equals(RANDOM);
    }

    String text() {
      return number == 1 ? name : name + ":" + number;
    }
  }

  /** The ray that {@link #write} left in a file with these settings; null where there is none. */
  static Ray read(Path file, JsonObject settings) {
    if (!Files.exists(file)) {
      return null;
    }
    try (SafeTensors in = SafeTensors.open(file)) {
      return Json.write(settings).equals(in.metadata().get("settings"))
          ? new Ray(in.doubles("direction"), Json.parseObject(in.metadata().get("about")))
          : null;
    }
  }

  /** Leaves it in a file, so that a slice that was stopped need not search again. */
  void write(Path file, JsonObject settings) {
    SafeTensors.writer()
        .metadata("settings", Json.write(settings))
        .metadata("about", Json.write(about))
        .doubles("direction", direction, direction.length)
        .write(file);
  }

  /**
   * Finds one.
   *
   * @param f the loss of the run
   * @param epsilon size of the box that a step is measured by
   */
  static Ray find(
      Kind kind, NetworkLoss f, TrainedRun run, double epsilon, long seed, Progress progress) {
    Ray ray =
        switch (kind.name()) {
          case EIGENVECTOR -> eigenvector(kind.number(), f, run, epsilon, seed, progress);
          case SHARPNESS -> maximizer(f, run, epsilon, seed, progress);
          default -> new Ray(FilterNormalized.draw(run.model(), seed, 0), new JsonObject());
        };
    try (Tensor d = f.vector()) {
      d.copyFrom(ray.direction());
      double length = f.vectors().norm(d);
      if (!(length > 0 && length < Double.POSITIVE_INFINITY)) {
        throw new IllegalArgumentException(
            "[slice] needs a direction other than 0, got " + kind.text() + " of " + run.folder());
      }
      ray.about().put("step", length).put("weights", f.vectors().norm(f.start()));
    }
    return ray;
  }

  /** Uphill, as long as from the network to a corner of the box. */
  private static Ray eigenvector(
      int number, NetworkLoss f, TrainedRun run, double epsilon, long seed, Progress progress) {
    f.recomputeStatistics(f.start(), run.train());
    try (Hessian hessian = Hessian.at(f, f.start(), seed, progress);
        Eigenvalues found = hessian.eigenvalues(number, 0, TOLERANCE, STEPS, seed, progress);
        Tensor gradient = f.vector()) {
      if (found.largest().size() < number) {
        throw new IllegalArgumentException(
            "[slice] needs an eigenvector that the Hessian has, one of "
                + found.largest().size()
                + ", got "
                + number);
      }
      Eigenpair pair = found.largest().get(number - 1);
      f.gradient(f.start(), gradient);
      double slope = f.vectors().dot(gradient, pair.vector());
      double step = Box.ABSOLUTE.reach(epsilon, f.start().toDoubles());
      f.vectors().scale(slope < 0 ? -step : step, pair.vector());
      return new Ray(
          pair.vector().toDoubles(),
          new JsonObject()
              .put("eigenvalue", pair.value())
              .put("residual", pair.residual())
              .put("converged", found.converged()));
    }
  }

  /** To the point where the strong search finds the largest loss in the box. */
  private static Ray maximizer(
      NetworkLoss f, TrainedRun run, double epsilon, long seed, Progress progress) {
    f.recomputeStatistics(f.start(), run.train());
    try (Sharpness sharpness = Sharpness.full(f, Box.ABSOLUTE, seed, progress);
        Tensor point = f.vector()) {
      Maximum maximum = sharpness.strong(epsilon, RESTARTS, point);
      f.vectors().axpy(-1, f.start(), point);
      return new Ray(
          point.toDoubles(),
          new JsonObject()
              .put("sharpness", Json.finiteOrNull(maximum.sharpness()))
              .put("reason", maximum.reason()));
    }
  }

  /** In a sentence. */
  String text(Kind kind, double epsilon) {
    String what =
        switch (kind.name()) {
          case EIGENVECTOR ->
              String.format(
                  Locale.ROOT,
                  "eigenvector %d of the Hessian, eigenvalue %s +- %s; t = 1 is as far as a corner of the box of "
                      + "epsilon %s, uphill",
                  kind.number(),
                  Figures.number(about.getDouble("eigenvalue")),
                  Figures.number(about.getDouble("residual")),
                  Figures.number(epsilon));
          case SHARPNESS ->
              String.format(
                  Locale.ROOT,
                  "where the box of epsilon %s has its largest loss, at t = 1; sharpness %s",
                  Figures.number(epsilon),
                  about.isNull("sharpness")
                      ? "not finite"
                      : Figures.number(about.getDouble("sharpness")));
          default -> "a random direction, filters normalized to those of the weights at t = 1";
        };
    double step = about.getDouble("step");
    return String.format(
        Locale.ROOT,
        "%s; a step of %s, %s of the weights' norm",
        what,
        Figures.number(step),
        Figures.percent(step / about.getDouble("weights")));
  }
}
