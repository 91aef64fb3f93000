package org.ghostbatch.train;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Function;
import org.ghostbatch.device.Engine;
import org.ghostbatch.device.ProfileEntry;
import org.ghostbatch.nn.Network;

/**
 * Where the time of training goes.
 *
 * @param rows one an operation and direction, slowest first
 */
public record Profile(List<Row> rows) {
  private static final int LAYERS = 30;

  /**
   * Time of one operation in one direction.
   *
   * @param kind {@code convolution}, {@code batch norm}, ..., or {@code engine} for its own work
   * @param kernel the implementation that ran; empty for the engine's own work
   * @param seconds of lane time, summed over the lanes
   */
  public record Row(String kind, String kernel, ProfileEntry entry, double seconds) {
    /** The layer, or the engine's work. */
    String layer() {
      return kind.equals("engine") ? entry.name() : entry.name() + " " + kind;
    }

    String direction() {
      return direction(entry);
    }

    static String direction(ProfileEntry entry) {
      return entry.direction() == ProfileEntry.Direction.OTHER
          ? ""
          : entry.direction().name().toLowerCase(Locale.ROOT).replace('_', ' ');
    }
  }

  public Profile {
    rows = List.copyOf(rows);
  }

  static Profile of(Network network, Engine engine) {
    List<Row> rows = new ArrayList<>();
    for (ProfileEntry entry : engine.profile()) {
      if (entry.calls() > 0) {
        rows.add(new Row(kind(network, entry), kernel(engine, entry), entry, entry.seconds()));
      }
    }
    rows.sort((a, b) -> Double.compare(b.seconds, a.seconds));
    return new Profile(rows);
  }

  static String kind(Network network, ProfileEntry entry) {
    return entry.operation() < 0 ? "engine" : network.operationKind(entry.operation());
  }

  /** An operation with gradients of its own names forward | backward data | backward weights. */
  static String kernel(Engine engine, ProfileEntry entry) {
    if (entry.operation() < 0) {
      return "";
    }
    String[] kernels = engine.implementation(entry.operation()).split(" \\| ");
    return kernels[Math.min(entry.direction().ordinal(), kernels.length - 1)];
  }

  /** Lane time of all rows, in seconds. */
  public double seconds() {
    return rows.stream().mapToDouble(Row::seconds).sum();
  }

  /** Lane time of the rows of one kind, in seconds. */
  public double seconds(String kind) {
    return rows.stream().filter(row -> row.kind.equals(kind)).mapToDouble(Row::seconds).sum();
  }

  /**
   * Three tables, slowest first: by kind (convolutions, batch norm, the rest), by kernel, and the
   * slowest layers with their kernels.
   */
  public String table() {
    StringBuilder text = new StringBuilder();
    text.append(header("kind", "", ""));
    sums(row -> List.of(row.kind.equals("engine") ? row.entry.name() : row.kind, "", ""))
        .forEach((names, sum) -> text.append(line(names, sum)));
    text.append(line(List.of("all", "", ""), new double[] {seconds(), 0, 0}));

    text.append(System.lineSeparator()).append(header("kernel of", "direction", "kernel"));
    sums(row -> List.of(row.kind, row.direction(), row.kernel))
        .forEach(
            (names, sum) -> {
              if (!names.get(2).isEmpty()) {
                text.append(line(names, sum));
              }
            });

    text.append(System.lineSeparator()).append(header("layer", "direction", "kernel"));
    double[] others = new double[3];
    for (int i = 0; i < rows.size(); i++) {
      Row row = rows.get(i);
      if (i < LAYERS) {
        double[] sum = new double[3];
        add(row, sum);
        text.append(line(List.of(row.layer(), row.direction(), row.kernel), sum));
      } else {
        add(row, others);
      }
    }
    if (rows.size() > LAYERS) {
      text.append(line(List.of(rows.size() - LAYERS + " others", "", ""), others));
    }
    return text.toString();
  }

  /** Seconds, flops and bytes by names of the rows, slowest first. */
  private Map<List<String>, double[]> sums(Function<Row, List<String>> names) {
    Map<List<String>, double[]> sums = new LinkedHashMap<>();
    rows.forEach(row -> add(row, sums.computeIfAbsent(names.apply(row), key -> new double[3])));
    Map<List<String>, double[]> sorted = new LinkedHashMap<>();
    sums.entrySet().stream()
        .sorted((a, b) -> Double.compare(b.getValue()[0], a.getValue()[0]))
        .forEach(e -> sorted.put(e.getKey(), e.getValue()));
    return sorted;
  }

  private static void add(Row row, double[] sum) {
    sum[0] += row.seconds;
    sum[1] += row.entry.flops();
    sum[2] += row.entry.bytes();
  }

  private static String header(String name, String direction, String kernel) {
    return row(name, direction, "seconds", "share", "GFLOP/s", "GB/s", kernel);
  }

  private String line(List<String> names, double[] sum) {
    double all = seconds();
    return row(
        names.get(0),
        names.get(1),
        String.format(Locale.ROOT, "%.3f", sum[0]),
        String.format(Locale.ROOT, "%.1f%%", all == 0 ? 0 : 100 * sum[0] / all),
        giga(sum[1], sum[0]),
        giga(sum[2], sum[0]),
        names.get(2));
  }

  private static String giga(double amount, double seconds) {
    return amount == 0 || seconds == 0
        ? ""
        : String.format(Locale.ROOT, "%.1f", amount / seconds / 1e9);
  }

  private static String row(
      String name,
      String direction,
      String seconds,
      String share,
      String flops,
      String bytes,
      String kernel) {
    return String.format(
                Locale.ROOT,
                "%-32s %-16s %9s %6s %8s %7s  %s",
                name,
                direction,
                seconds,
                share,
                flops,
                bytes,
                kernel)
            .stripTrailing()
        + System.lineSeparator();
  }
}
