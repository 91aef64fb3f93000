package org.ghostbatch.benchmarks;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.ghostbatch.device.NativeException;
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
  private final Report.Machine machine;
  private final List<Row> rows = new ArrayList<>();
  private int failures;

  private Bench(Path root, JsonObject request) {
    this.root = root;
    this.request = request;
    this.machine = Report.Machine.of(request.getString("device"));
  }

  public static void main(String[] arguments) {
    Path root = Path.of(System.getProperty("ghostbatch.root"));
    int failures = 0;
    try {
      Bench bench = new Bench(root, Json.parseObject(arguments[0]));
      bench.run();
      failures = bench.failures;
    } catch (IllegalArgumentException e) {
      System.err.println(e.getMessage());
      System.exit(2);
    } catch (NativeException e) { // there is no such device
      System.err.println(e.getMessage());
      System.exit(1);
    }
    System.exit(failures > 0 ? 1 : 0);
  }

  private void run() {
    try (DeviceWorkers workers = new DeviceWorkers(machine.device())) {
      for (String suite : request.getString("suite").split(",")) {
        if (suite.equals("binding")) {
          add(Binding.calls());
        }
        for (Comparison comparison : comparisons(suite)) {
          System.err.println(comparison);
          try {
            add(
                List.of(
                    machine.gpu()
                        ? workers.run(comparison, rounds(), seconds())
                        : comparison.run(root, rounds(), seconds())));
          } catch (IllegalStateException e) {
            // The others still count.
            System.err.println(e.getMessage());
            failures++;
          }
        }
      }
    }
    Report report = new Report(rows, baseline(), machine);
    System.out.print(report.text());
    write("docs", report.markdown(command(request)));
  }

  /** Nothing that was measured is lost, whatever comes after. */
  private void add(List<Row> measured) {
    rows.addAll(measured);
    write("out", new Report(rows, List.of(), machine).json());
  }

  private boolean libtorch() {
    return request.getString("compare").equals("libtorch");
  }

  private int rounds() {
    return request.getInt("rounds");
  }

  private double seconds() {
    return request.getDouble("seconds");
  }

  /** What the flags name, or the whole suite. */
  private List<Comparison> comparisons(String suite) {
    int threads = request.getInt("threads");
    if (request.isNull("name")) {
      return machine.gpu()
          ? Suites.onGpu(suite).stream().map(what -> new Comparison(what, null)).toList()
          : Suites.of(suite, threads, libtorch());
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
    List<Comparison> comparisons =
        machine.gpu() ? List.of(new Comparison(what, null)) : Suites.comparisons(what, libtorch());
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
    boolean cpu = request.getString("device").equals("cpu");
    if (!cpu) {
      flags.put("device", "backend");
    }
    for (String flag : List.of("compare", "threads", "rounds", "seconds", "baseline")) {
      if (cpu || !flag.equals("threads")) { // a GPU is asked by one
        flags.put(flag, flag);
      }
    }
    StringBuilder command = new StringBuilder("./ghostbatch bench");
    flags.forEach(
        (name, flag) -> {
          if (!request.isNull(name) && !request.get(name).equals("none")) {
            String value = request.get(name).toString();
            boolean none = flag.equals("ghost") && value.equals("0");
            command.append(" --").append(flag).append(' ');
            command.append(none ? "none" : value.replaceAll(",(tf32|autotune)", " --$1"));
          }
        });
    return command.toString();
  }
}
