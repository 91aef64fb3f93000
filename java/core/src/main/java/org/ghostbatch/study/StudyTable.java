package org.ghostbatch.study;

import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.ToDoubleFunction;
import java.util.stream.Collectors;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;

/**
 * The outcome of a study: for each arm its mean and spread over the seeds, and its difference to
 * the baseline, paired by seed.
 *
 * @param baseline name of the arm that the others are compared with
 * @param rows one an arm, in the study's order
 */
public record StudyTable(String baseline, List<Row> rows) {
  /**
   * Arms whose mean training accuracy stays below this have not fitted their data: their gap says
   * little.
   */
  public static final double FITTED = 0.99;

  /** What a paired difference says. */
  public enum Verdict {
    BASELINE("baseline"),
    /** One seed in common with the baseline: no spread to hold the difference against. */
    ONE_SEED("one seed: no spread known"),
    /** The mean difference lies within its spread over the seeds, |mean| <= std. */
    NONE_SEEN("no difference seen"),
    LOWER("lower"),
    HIGHER("higher");

    private final String text;

    Verdict(String text) {
      this.text = text;
    }

    @Override
    public String toString() {
      return text;
    }
  }

  /**
   * An arm.
   *
   * @param testAccuracy over the arm's seeds, as are the figures that follow it
   * @param gap train minus test accuracy
   * @param difference test accuracy minus that of the baseline with the same seed; null for the
   *     baseline itself
   * @param measures what the runs measured, in the order in which a run of the study has them
   */
  public record Row(
      String arm,
      Spread testAccuracy,
      Spread trainAccuracy,
      Spread gap,
      Spread seconds,
      long updates,
      Spread difference,
      Verdict verdict,
      List<Measured> measures) {
    public Row {
      measures = List.copyOf(measures);
    }

    /** Whether the mean training accuracy is below {@link #FITTED} (or no number). */
    public boolean underFitted() {
      return !(trainAccuracy.mean() >= FITTED);
    }
  }

  /**
   * A measure of an arm's runs.
   *
   * @param value over the arm's seeds; null where it has no number
   * @param ratio to the baseline with the same seed; null likewise, and for the baseline itself
   */
  public record Measured(String name, Spread value, Spread ratio) {}

  public StudyTable {
    rows = List.copyOf(rows);
  }

  /** The table of these results; arms without results have no row. */
  static StudyTable of(Study study, List<StudyResult> results) {
    Map<Long, StudyResult> base =
        results.stream()
            .filter(result -> result.arm().equals(study.baseline()))
            .collect(Collectors.toMap(StudyResult::seed, result -> result));
    Set<String> measures = new LinkedHashSet<>();
    results.forEach(result -> measures.addAll(result.measures().keySet()));
    List<Row> rows = new ArrayList<>();
    for (Study.Arm arm : study.arms()) {
      List<StudyResult> own =
          results.stream().filter(result -> result.arm().equals(arm.name())).toList();
      if (!own.isEmpty()) {
        rows.add(row(own, base, measures, arm.name().equals(study.baseline())));
      }
    }
    return new StudyTable(study.baseline(), rows);
  }

  private static Row row(
      List<StudyResult> own,
      Map<Long, StudyResult> base,
      Set<String> measures,
      boolean isBaseline) {
    List<StudyResult> paired =
        isBaseline
            ? List.of()
            : own.stream().filter(result -> base.containsKey(result.seed())).toList();
    Spread difference =
        spread(paired, r -> r.testAccuracy() - base.get(r.seed()).testAccuracy()).orElse(null);
    List<Measured> measured =
        measures.stream()
            .map(
                name ->
                    new Measured(
                        name,
                        known(own, r -> measure(r, name)),
                        known(paired, r -> measure(r, name) / measure(base.get(r.seed()), name))))
            .toList();
    return new Row(
        own.get(0).arm(),
        spread(own, StudyResult::testAccuracy).orElseThrow(),
        spread(own, StudyResult::trainAccuracy).orElseThrow(),
        spread(own, StudyResult::generalizationGap).orElseThrow(),
        spread(own, StudyResult::seconds).orElseThrow(),
        own.get(0).updates(),
        difference,
        isBaseline ? Verdict.BASELINE : verdict(difference),
        measured);
  }

  /** Names of what runs measured; every row has them all. */
  public List<String> measures() {
    return rows.isEmpty()
        ? List.of()
        : rows.get(0).measures().stream().map(Measured::name).toList();
  }

  private static double measure(StudyResult result, String name) {
    return result.measures().getOrDefault(name, Double.NaN);
  }

  /** Over the results that have a number; null where none has. */
  private static Spread known(List<StudyResult> results, ToDoubleFunction<StudyResult> figure) {
    return spread(
            results.stream().filter(r -> Double.isFinite(figure.applyAsDouble(r))).toList(), figure)
        .orElse(null);
  }

  private static Optional<Spread> spread(
      List<StudyResult> results, ToDoubleFunction<StudyResult> figure) {
    return results.isEmpty()
        ? Optional.empty()
        : Optional.of(Spread.of(results.stream().map(figure::applyAsDouble).toList()));
  }

  static Verdict verdict(Spread difference) {
    if (difference == null || difference.count() == 1) {
      return Verdict.ONE_SEED;
    }
    if (Math.abs(difference.mean()) <= difference.std()) {
      return Verdict.NONE_SEEN;
    }
    return difference.mean() < 0 ? Verdict.LOWER : Verdict.HIGHER;
  }

  /** The table as comma-separated values, a row an arm. */
  public String csv() {
    StringBuilder out =
        new StringBuilder(
            "arm,seeds,test_accuracy_mean,test_accuracy_std,difference_mean,difference_std,verdict,"
                + "train_accuracy_mean,train_accuracy_std,gap_mean,gap_std,under_fitted,updates,seconds_mean,"
                + "seconds_std");
    for (String name : measures()) {
      out.append(",%1$s_mean,%1$s_std,%1$s_ratio_mean,%1$s_ratio_std".formatted(name));
    }
    out.append('\n');
    for (Row row : rows) {
      Spread difference = row.difference();
      out.append(
          Csv.row(
              row.arm(),
              row.testAccuracy().count(),
              row.testAccuracy().mean(),
              row.testAccuracy().std(),
              mean(difference),
              std(difference),
              row.verdict(),
              row.trainAccuracy().mean(),
              row.trainAccuracy().std(),
              row.gap().mean(),
              row.gap().std(),
              row.underFitted(),
              row.updates(),
              row.seconds().mean(),
              row.seconds().std()));
      for (Measured m : row.measures()) {
        out.append(',')
            .append(Csv.row(mean(m.value()), std(m.value()), mean(m.ratio()), std(m.ratio())));
      }
      out.append('\n');
    }
    return out.toString();
  }

  private static Double mean(Spread spread) {
    return spread == null ? null : spread.mean();
  }

  private static Double std(Spread spread) {
    return spread == null ? null : spread.std();
  }

  /** The rows as JSON objects. */
  List<JsonObject> json() {
    return rows.stream()
        .map(
            row ->
                new JsonObject()
                    .put("arm", row.arm())
                    .put("test_accuracy", json(row.testAccuracy()))
                    .put("difference", json(row.difference()))
                    .put("verdict", row.verdict().toString())
                    .put("train_accuracy", json(row.trainAccuracy()))
                    .put("gap", json(row.gap()))
                    .put("under_fitted", row.underFitted())
                    .put("updates", row.updates())
                    .put("seconds", json(row.seconds()))
                    .put("measures", json(row.measures())))
        .toList();
  }

  private static JsonObject json(List<Measured> measures) {
    JsonObject json = new JsonObject();
    measures.forEach(
        m ->
            json.put(
                m.name(),
                new JsonObject().put("value", json(m.value())).put("ratio", json(m.ratio()))));
    return json;
  }

  private static JsonObject json(Spread spread) {
    if (spread == null) {
      return null;
    }
    return new JsonObject()
        .put("seeds", spread.count())
        .put("mean", Json.finiteOrNull(spread.mean()))
        .put("std", Json.finiteOrNull(spread.std()));
  }
}
