package org.ghostbatch.benchmarks;

import java.util.ArrayList;
import java.util.List;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.VerboseMode;
import org.openjdk.jmh.util.Statistics;

/** What a call from Java costs: JMH's figures of {@link BindingBenchmark}. */
final class Binding {
  private Binding() {}

  static List<Row> calls() {
    List<Row> rows = new ArrayList<>();
    try {
      for (RunResult result :
          new Runner(
                  new OptionsBuilder()
                      .include(BindingBenchmark.class.getName())
                      .verbosity(VerboseMode.SILENT)
                      .build())
              .run()) {
        Statistics nanoseconds = result.getPrimaryResult().getStatistics();
        rows.add(
            Row.ofCall(
                result.getPrimaryResult().getLabel(),
                new Figure(nanoseconds.getMean(), nanoseconds.getMin(), nanoseconds.getMax())
                    .times(1e-6)));
      }
    } catch (RunnerException e) {
      throw new IllegalStateException("[bench] JMH: " + e.getMessage(), e);
    }
    return rows;
  }
}
