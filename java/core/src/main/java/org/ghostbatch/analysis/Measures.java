package org.ghostbatch.analysis;

import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.BiFunction;
import org.ghostbatch.train.Measure;
import org.ghostbatch.train.MeasurePlan;
import org.ghostbatch.train.NoiseScale;
import org.ghostbatch.train.Trainer;

/**
 * What a run can measure of its network while it trains, with figures that are those of the
 * analyses of a finished run: the loss of {@code measureSamples} of its training set by the
 * parameters as they are, not by an average of them, with running statistics recomputed over the
 * whole set, in f32 (f64 on the reference backend).
 *
 * <pre>{@code
 * Trainer.of(Models.lenet(10)).measure("sharpness", 5, Measures::sharpness)
 * }</pre>
 *
 * <p>Same network and data, same bits, on any number of threads. Memory, beside the trainer's: an
 * engine, the samples, and vectors; it is freed at the end.
 */
public final class Measures {
  /** The seed of all that is drawn: figures of runs of several seeds are of the same samples. */
  private static final long SEED = 1;

  private static final double EPSILON = 1e-3;
  private static final int RESTARTS = 1;
  private static final int STEPS = 60;
  private static final double TOLERANCE = 1e-3;
  private static final int PROBES = 10;

  private static final Map<String, Measure> ALL =
      new TreeMap<>(
          Map.of(
              "sharpness",
              Measures::sharpness,
              "hessian",
              Measures::hessian,
              "noise",
              Measures::noise));

  /** Names of all measures. */
  public static final List<String> NAMES = List.copyOf(ALL.keySet());

  private Measures() {}

  /**
   * {@link Sharpness} in all directions in the box of epsilon 1e-3: {@code 1e-3_published}, {@code
   * 1e-3_strong}, with one start from a random point. Costs at most 60 gradients of the samples.
   */
  public static Map<String, Double> sharpness(Trainer trainer, Measure.Progress progress) {
    return of(
        trainer,
        progress,
        (f, heard) -> {
          try (Sharpness sharpness = Sharpness.full(f, Box.ABSOLUTE, SEED, heard)) {
            Maximum published = sharpness.published(EPSILON);
            Maximum strong = sharpness.strong(EPSILON, RESTARTS).orPublished(published);
            return Map.of(
                "1e-3_published", published.sharpness(), "1e-3_strong", strong.sharpness());
          }
        });
  }

  /**
   * The largest and the smallest eigenvalue of the {@link Hessian} and the larger of their
   * residuals, after at most 60 Lanczos steps: {@code largest}, {@code smallest}, {@code residual};
   * the trace by ten probes, and its standard error: {@code trace}, {@code trace_error}; and how
   * well products with the Hessian are known, relatively: {@code error}. Costs at most 160
   * gradients of the samples in f32, and the memory of a vector a step.
   */
  public static Map<String, Double> hessian(Trainer trainer, Measure.Progress progress) {
    return of(
        trainer,
        progress,
        (f, heard) -> {
          try (Hessian hessian = Hessian.at(f, f.start(), SEED, heard);
              Eigenvalues ends = hessian.eigenvalues(1, 1, TOLERANCE, STEPS, SEED, heard)) {
            Eigenpair largest = ends.largest().get(0);
            Eigenpair smallest = ends.smallest().get(0);
            Estimate trace = hessian.trace(PROBES, SEED, heard);
            return Map.of(
                "largest",
                largest.value(),
                "smallest",
                smallest.value(),
                "residual",
                Math.max(largest.residual(), smallest.residual()),
                "trace",
                trace.mean(),
                "trace_error",
                trace.standardError(),
                "error",
                hessian.error());
          }
        });
  }

  /**
   * The gradient noise scale as it has been of late, from the updates themselves: {@code scale},
   * {@code low} and {@code high}, the ends of its interval. Costs nothing but what {@link
   * Trainer.Builder#measureNoise} does.
   */
  public static Map<String, Double> noise(Trainer trainer, Measure.Progress progress) {
    NoiseScale noise = Check.present("measures", "a trainer", trainer).noiseScale();
    return Map.of("scale", noise.scale(), "low", noise.low(), "high", noise.high());
  }

  private static Map<String, Double> of(
      Trainer trainer,
      Measure.Progress progress,
      BiFunction<NetworkLoss, Progress, Map<String, Double>> analysis) {
    Check.present("measures", "a trainer", trainer);
    Check.present("measures", "a progress", progress);
    progress.at("running statistics", 0, 1);
    NetworkLossSpec spec =
        NetworkLossSpec.running(trainer.ghost())
            .withSamples(trainer.spec().measureSamples())
            .withSeed(SEED)
            .withThreads(trainer.threads());
    try (NetworkLoss f = NetworkLoss.of(trainer.device(), trainer.model(), trainer.data(), spec)) {
      f.recomputeStatistics(f.start(), trainer.data());
      return analysis.apply(f, progress::at);
    }
  }

  /**
   * The plan, whose names are all known.
   *
   * @throws IllegalArgumentException naming those that there are
   */
  public static MeasurePlan check(MeasurePlan plan) {
    for (MeasurePlan.Entry entry : Check.present("measures", "a plan", plan).entries()) {
      if (!ALL.containsKey(entry.name())) {
        throw Check.bad("measures", "one of " + NAMES, entry.name());
      }
    }
    return plan;
  }

  /**
   * Gives a trainer the measures that a spec's plan names.
   *
   * @throws IllegalArgumentException where one is not known
   */
  public static Trainer.Builder addTo(Trainer.Builder trainer, MeasurePlan plan) {
    check(plan)
        .entries()
        .forEach(entry -> trainer.measure(entry.name(), entry.every(), ALL.get(entry.name())));
    boolean noise = plan.entries().stream().anyMatch(entry -> entry.name().equals("noise"));
    return noise ? trainer.measureNoise(true) : trainer;
  }
}
