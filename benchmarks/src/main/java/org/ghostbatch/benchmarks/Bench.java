package org.ghostbatch.benchmarks;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.ghostbatch.io.AtomicFiles;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;

/**
 * {@code ghostbatch bench} for kernels, steps and calls: measures, prints a table, and writes what
 * is asked for. The one argument is a JSON object with the command's flags.
 */
final class Bench {
  private final Path root;
  private final JsonObject request;
  private final List<Row> rows = new ArrayList<>();
  private int failures;

  private Bench(Path root, JsonObject request) {
    this.root = root;
    this.request = request;
  }

  public static void main(String[] arguments) {
    Path root = Path.of(System.getProperty("ghostbatch.root"));
    Bench bench = new Bench(root, Json.parseObject(arguments[0]));
    try {
      bench.run();
    } catch (IllegalArgumentException e) {
      System.err.println(e.getMessage());
      System.exit(2);
    }
    System.exit(bench.failures > 0 ? 1 : 0);
  }

  private void run() {
    for (String suite : request.getString("suite").split(",")) {
      if (suite.equals("binding")) {
        add(Binding.calls());
      }
      for (Comparison comparison : comparisons(suite)) {
        System.err.println(comparison);
        try {
          add(List.of(comparison.run(root, rounds(), request.getDouble("seconds"))));
        } catch (IllegalStateException e) {
          // The others still count.
          System.err.println(e.getMessage());
          failures++;
        }
      }
    }
    Report report = new Report(rows, baseline());
    System.out.print(report.text());
    write("docs", report.markdown(command(request)));
  }

  /** Nothing that was measured is lost, whatever comes after. */
  private void add(List<Row> measured) {
    rows.addAll(measured);
    write("out", new Report(rows, List.of()).json());
  }

  private boolean libtorch() {
    return request.getString("compare").equals("libtorch");
  }

  private int rounds() {
    return request.getInt("rounds");
  }

  /** What the flags name, or the whole suite. */
  private List<Comparison> comparisons(String suite) {
    int threads = request.getInt("threads");
    if (request.isNull("name")) {
      return Suites.of(suite, threads, libtorch());
    }
    Case what =
        new Case(
            suite,
            request.getString("name"),
            request.getString("shape"),
            request.getString("precision"),
            request.getString("direction"),
            request.getInt("ghost"),
            threads,
            "");
    if (suite.equals("kernels")) {
      Kernels.check(what);
    } else {
      Steps.check(what);
    }
    List<Comparison> comparisons = Suites.comparisons(what, libtorch());
    if (request.isNull("micro_batch")) {
      return comparisons;
    }
    Case ours = what.withSpelling("micro-batch-" + request.getInt("micro_batch"));
    return comparisons.stream().map(each -> new Comparison(ours, each.peer())).toList();
  }

  private List<Row> baseline() {
    if (request.isNull("baseline")) {
      return List.of();
    }
    return Json.readObject(Path.of(request.getString("baseline"))).getList("rows").stream()
        .map(row -> Row.of((JsonObject) row))
        .toList();
  }

  private void write(String flag, String text) {
    if (!request.isNull(flag)) {
      AtomicFiles.write(Path.of(request.getString(flag)), text.getBytes(StandardCharsets.UTF_8));
    }
  }

  /** The command that does the same again. */
  static String command(JsonObject request) {
    boolean network = request.getString("suite").equals("step");
    Map<String, String> flags = new LinkedHashMap<>();
    flags.put("suite", "suite");
    if (!request.isNull("name")) {
      flags.put("name", network ? "model" : "kernel");
      flags.put("shape", network ? "batch" : "shape");
      for (String flag : List.of("precision", "direction", "ghost", "micro_batch")) {
        flags.put(flag, flag.replace('_', '-'));
      }
    }
    for (String flag : List.of("compare", "threads", "rounds", "seconds", "baseline")) {
      flags.put(flag, flag);
    }
    StringBuilder command = new StringBuilder("./ghostbatch bench");
    flags.forEach(
        (name, flag) -> {
          if (!request.isNull(name) && !request.get(name).equals("none")) {
            String value = request.get(name).toString();
            boolean none = flag.equals("ghost") && value.equals("0");
            command.append(" --").append(flag).append(' ').append(none ? "none" : value);
          }
        });
    return command.toString();
  }
}
