package org.ghostbatch.benchmarks;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.util.Statistics;

/** What a call costs: JMH's figures of {@link BindingBenchmark}, and beside libtorch's relu. */
final class Binding {
  private static final Case RELU = new Case("kernels", "relu", "16", "f32", "forward", 0, 1, "");

  private Binding() {}

  static List<Row> run(Path root, boolean libtorch, int rounds, double seconds) {
    List<Row> rows = new ArrayList<>();
    try {
      for (RunResult result :
          new Runner(
                  new OptionsBuilder()
                      .include(BindingBenchmark.class.getName())
                      .jvmArgsAppend("--enable-native-access=ALL-UNNAMED")
                      .build())
              .run()) {
        Statistics nanoseconds = result.getPrimaryResult().getStatistics();
        String method = result.getPrimaryResult().getLabel();
        rows.add(
            Row.ofCall(
                method,
                nanoseconds.getMean() / 1e6,
                nanoseconds.getMin() / 1e6,
                nanoseconds.getMax() / 1e6));
      }
    } catch (RunnerException e) {
      throw new IllegalStateException("[bench] JMH: " + e.getMessage(), e);
    }
    if (libtorch) {
      for (Comparison comparison : Suites.comparisons(RELU, true)) {
        rows.add(comparison.run(root, rounds, seconds));
      }
    }
    return rows;
  }
}
