package org.ghostbatch.study;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
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
   */
  public record Row(
      String arm,
      Spread testAccuracy,
      Spread trainAccuracy,
      Spread gap,
      Spread seconds,
      long updates,
      Spread difference,
      Verdict verdict) {
    /** Whether the mean training accuracy is below {@link #FITTED} (or no number). */
    public boolean underFitted() {
      return !(trainAccuracy.mean() >= FITTED);
    }
  }

  public StudyTable {
    rows = List.copyOf(rows);
  }

  /** The table of these results; arms without results have no row. */
  static StudyTable of(Study study, List<StudyResult> results) {
    Map<Long, Double> base =
        results.stream()
            .filter(result -> result.arm().equals(study.baseline()))
            .collect(Collectors.toMap(StudyResult::seed, StudyResult::testAccuracy));
    List<Row> rows = new ArrayList<>();
    for (Study.Arm arm : study.arms()) {
      List<StudyResult> own =
          results.stream().filter(result -> result.arm().equals(arm.name())).toList();
      if (!own.isEmpty()) {
        rows.add(row(own, base, arm.name().equals(study.baseline())));
      }
    }
    return new StudyTable(study.baseline(), rows);
  }

  private static Row row(List<StudyResult> own, Map<Long, Double> base, boolean isBaseline) {
    List<Double> differences =
        own.stream()
            .filter(result -> base.containsKey(result.seed()))
            .map(result -> result.testAccuracy() - base.get(result.seed()))
            .toList();
    Spread difference = isBaseline || differences.isEmpty() ? null : Spread.of(differences);
    return new Row(
        own.get(0).arm(),
        spread(own, StudyResult::testAccuracy),
        spread(own, StudyResult::trainAccuracy),
        spread(own, StudyResult::generalizationGap),
        spread(own, StudyResult::seconds),
        own.get(0).updates(),
        difference,
        isBaseline ? Verdict.BASELINE : verdict(difference));
  }

  private static Spread spread(List<StudyResult> results, ToDoubleFunction<StudyResult> figure) {
    return Spread.of(results.stream().map(figure::applyAsDouble).toList());
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
                + "seconds_std\n");
    for (Row row : rows) {
      Spread difference = row.difference();
      out.append(
              Csv.row(
                  row.arm(),
                  row.testAccuracy().count(),
                  row.testAccuracy().mean(),
                  row.testAccuracy().std(),
                  difference == null ? null : difference.mean(),
                  difference == null ? null : difference.std(),
                  row.verdict(),
                  row.trainAccuracy().mean(),
                  row.trainAccuracy().std(),
                  row.gap().mean(),
                  row.gap().std(),
                  row.underFitted(),
                  row.updates(),
                  row.seconds().mean(),
                  row.seconds().std()))
          .append('\n');
    }
    return out.toString();
  }

  /** The rows as JSON objects. */
  List<JsonObject> json() {
    return rows.stream()
        .map(
            row ->
                new JsonObject()
                    .put("arm", row.arm())
                    .put("test_accuracy", json(row.testAccuracy()))
                    .put("difference", row.difference() == null ? null : json(row.difference()))
                    .put("verdict", row.verdict().toString())
                    .put("train_accuracy", json(row.trainAccuracy()))
                    .put("gap", json(row.gap()))
                    .put("under_fitted", row.underFitted())
                    .put("updates", row.updates())
                    .put("seconds", json(row.seconds())))
        .toList();
  }

  private static JsonObject json(Spread spread) {
    return new JsonObject()
        .put("seeds", spread.count())
        .put("mean", Json.finiteOrNull(spread.mean()))
        .put("std", Json.finiteOrNull(spread.std()));
  }
}
