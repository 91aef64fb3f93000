package org.ghostbatch.benchmarks.peers;

import java.util.List;
import java.util.Locale;
import java.util.TreeSet;

/** The runs of both engines as text: a row for each precision and seed. */
final class AccuracyTable {
  private AccuracyTable() {}

  static String of(List<RunRecord> runs) {
    StringBuilder text =
        new StringBuilder(
            "Test accuracy in % after each epoch; difference: GhostBatch minus libtorch, in points"
                + " after the last.\n\n"
                + "| precision | seed | GhostBatch | libtorch | difference | images/s | libtorch's |\n"
                + "|---|---|---|---|---|---|---|\n");
    double largest = 0;
    int pairs = 0;
    for (String precision : List.of("f32", "bf16")) {
      var seeds = new TreeSet<Long>();
      runs.stream().filter(r -> r.precision().equals(precision)).forEach(r -> seeds.add(r.seed()));
      for (long seed : seeds) {
        RunRecord ours = find(runs, "ghostbatch", precision, seed);
        RunRecord theirs = find(runs, "libtorch", precision, seed);
        String difference = "";
        if (ours != null && theirs != null) {
          double points = 100 * (ours.finalAccuracy() - theirs.finalAccuracy());
          difference = String.format(Locale.ROOT, "%+.2f", points);
          largest = Math.max(largest, Math.abs(points));
          pairs++;
        }
        text.append(
            String.format(
                Locale.ROOT,
                "| %s | %d | %s | %s | %s | %s | %s |%n",
                precision,
                seed,
                accuracies(ours),
                accuracies(theirs),
                difference,
                speed(ours),
                speed(theirs)));
      }
    }
    if (pairs > 0) {
      text.append(
          String.format(
              Locale.ROOT,
              "%nLargest difference of %d pair%s: %.2f points.%n",
              pairs,
              pairs == 1 ? "" : "s",
              largest));
    }
    return text.toString();
  }

  private static RunRecord find(List<RunRecord> runs, String engine, String precision, long seed) {
    return runs.stream()
        .filter(r -> r.engine().equals(engine) && r.precision().equals(precision))
        .filter(r -> r.seed() == seed)
        .findFirst()
        .orElse(null);
  }

  private static String accuracies(RunRecord run) {
    StringBuilder text = new StringBuilder();
    if (run != null) {
      for (double accuracy : run.testAccuracies()) {
        text.append(text.isEmpty() ? "" : ", ");
        text.append(String.format(Locale.ROOT, "%.2f", 100 * accuracy));
      }
    }
    return text.toString();
  }

  private static String speed(RunRecord run) {
    return run == null || Double.isNaN(run.imagesPerSecond())
        ? ""
        : String.format(Locale.ROOT, "%.0f", run.imagesPerSecond());
  }
}
