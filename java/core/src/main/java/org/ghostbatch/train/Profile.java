package org.ghostbatch.train;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.ghostbatch.device.ProfileEntry;
import org.ghostbatch.nn.Network;

/**
 * Where the time of training goes.
 *
 * @param rows one an operation and direction, slowest first
 */
public record Profile(List<Row> rows) {
  /**
   * Time of one operation in one direction.
   *
   * @param kind {@code convolution}, {@code batch norm}, ..., or {@code engine} for its own work
   * @param seconds of lane time, summed over the lanes
   */
  public record Row(String kind, ProfileEntry entry, double seconds) {}

  public Profile {
    rows = List.copyOf(rows);
  }

  static Profile of(Network network, List<ProfileEntry> entries) {
    List<Row> rows = new ArrayList<>();
    for (ProfileEntry entry : entries) {
      if (entry.calls() > 0) {
        String kind = entry.operation() < 0 ? "engine" : network.operationKind(entry.operation());
        rows.add(new Row(kind, entry, entry.seconds()));
      }
    }
    rows.sort((a, b) -> Double.compare(b.seconds, a.seconds));
    return new Profile(rows);
  }

  /** Lane time of all rows, in seconds. */
  public double seconds() {
    return rows.stream().mapToDouble(Row::seconds).sum();
  }

  /** Lane time of the rows of one kind, in seconds. */
  public double seconds(String kind) {
    return rows.stream().filter(row -> row.kind.equals(kind)).mapToDouble(Row::seconds).sum();
  }

  /** The table by kind (convolutions, batch norm, the rest), then the slowest operations. */
  public String table() {
    Map<String, double[]> kinds = new LinkedHashMap<>();
    for (Row row : rows) {
      String name = row.kind.equals("engine") ? row.entry.name() : row.kind;
      double[] sums = kinds.computeIfAbsent(name, key -> new double[3]);
      sums[0] += row.seconds;
      sums[1] += row.entry.flops();
      sums[2] += row.entry.bytes();
    }
    double all = seconds();
    StringBuilder text = new StringBuilder();
    text.append(header("kind", ""));
    kinds.entrySet().stream()
        .sorted((a, b) -> Double.compare(b.getValue()[0], a.getValue()[0]))
        .forEach(
            e ->
                text.append(
                    line(e.getKey(), "", e.getValue()[0], all, e.getValue()[1], e.getValue()[2])));
    text.append(line("all", "", all, all, 0, 0)).append(System.lineSeparator());
    text.append(header("operation", "direction"));
    rows.stream()
        .limit(20)
        .forEach(
            row ->
                text.append(
                    line(
                        row.entry.name() + (row.kind.equals("engine") ? "" : " " + row.kind),
                        row.entry.direction().name().toLowerCase(Locale.ROOT).replace('_', ' '),
                        row.seconds,
                        all,
                        row.entry.flops(),
                        row.entry.bytes())));
    return text.toString();
  }

  private static String header(String name, String direction) {
    return String.format(
        Locale.ROOT,
        "%-36s %-17s %10s %7s %9s %8s%n",
        name,
        direction,
        "seconds",
        "share",
        "GFLOP/s",
        "GB/s");
  }

  private static String line(
      String name, String direction, double seconds, double all, double flops, double bytes) {
    return String.format(
        Locale.ROOT,
        "%-36s %-17s %10.3f %6.1f%% %9s %8s%n",
        name,
        direction,
        seconds,
        all == 0 ? 0 : 100 * seconds / all,
        flops == 0 || seconds == 0 ? "" : String.format(Locale.ROOT, "%.1f", flops / seconds / 1e9),
        bytes == 0 || seconds == 0
            ? ""
            : String.format(Locale.ROOT, "%.1f", bytes / seconds / 1e9));
  }
}
