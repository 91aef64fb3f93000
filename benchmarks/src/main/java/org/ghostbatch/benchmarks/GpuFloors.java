package org.ghostbatch.benchmarks;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Function;
import org.ghostbatch.benchmarks.GpuStep.Entry;
import org.ghostbatch.benchmarks.GpuStep.Part;
import org.ghostbatch.device.DataType;
import org.ghostbatch.nn.Models;
import org.ghostbatch.nn.Network;

/**
 * The least time that an update can take on a GPU, by kind of layer, from the bytes and flops of
 * {@link GpuStep}: on paper, for what is measured to be held against. See benchmarks/gpu-floors.
 */
public final class GpuFloors {
  /** Of an H200, as kernels reach it. */
  static final double BYTES_PER_SECOND = 4.3e12;

  private static final double BF16_FLOPS = 790e12;
  private static final double F32_FLOPS = 60e12;

  // Assumed, for what a first run may reach.
  static final double OF_BANDWIDTH = 0.8;
  static final double OF_FLOPS = 0.5;
  static final double CAPTURED_SECONDS = 2e-6; // the least that a launch of a graph takes
  static final double ALONE_SECONDS = 2.5e-6; // and one that the host enqueues by itself

  static final double GAP_SECONDS = 3e-6; // of a multiprocessor with nothing on the way to it

  private static final int CLASSES = 10;
  private static final int GHOST = 128;

  /** What is listed: a network, its batch, its ghosts. */
  private record Listed(String model, int batch, int ghost) {
    String title() {
      return String.format(
          Locale.ROOT, "%s, batch %,d%s", model, batch, ghost == 0 ? "" : ", ghost " + ghost);
    }
  }

  /** Sums over entries. */
  static final class Sum {
    int calls;
    int launches;
    int alone;
    double bytes;
    double flops;
    double floor; // seconds
    double byFlops; // of the floor, where flops take longer
    double estimate; // seconds
    double starting; // of the estimate, beyond the work of kernels

    void add(Entry entry, double peak) {
      calls++;
      launches += entry.launches();
      alone += entry.captured() ? 0 : entry.launches();
      bytes += entry.bytes();
      flops += entry.flops();
      double memory = entry.bytes() / BYTES_PER_SECOND;
      double arithmetic = entry.flops() / peak;
      floor += Math.max(memory, arithmetic);
      byFlops += arithmetic > memory ? arithmetic : 0;
      double each = entry.captured() ? CAPTURED_SECONDS : ALONE_SECONDS;
      double work = Math.max(memory / OF_BANDWIDTH, arithmetic / OF_FLOPS);
      double all = Math.max(work, entry.launches() * each);
      estimate += all;
      starting += all - work;
    }
  }

  private GpuFloors() {}

  /**
   * Prints the tables, in Markdown.
   *
   * @param args none
   */
  public static void main(String[] args) {
    List<Listed> all =
        List.of(
            new Listed("resnet44", 4096, 128),
            new Listed("wrn-16-4", 1024, 128),
            new Listed("f1", 6000, 0));
    StringBuilder details = new StringBuilder();
    Map<String, GpuStep> steps = new LinkedHashMap<>();
    for (Listed of : all) {
      Network network = Network.of(Models.byName(of.model, CLASSES), Steps.images(of.model));
      GpuStep step = GpuStep.of(network, of.batch, of.ghost, DataType.BF16, GpuNorm.Limits.H200);
      steps.put(of.title(), step);
      details.append("\n### ").append(of.title()).append("\n\n");
      details.append(table(step, DataType.BF16));
    }
    System.out.print(summary(steps, DataType.BF16) + details + norms());
  }

  /** A norm of a batch in whole ghosts. */
  private record ListedNorm(int batch, int size, int channels, DataType type) {
    GpuNorm cut(GpuNorm.Limits limits) {
      int ghosts = batch / GHOST;
      return GpuNorm.of(size * size, channels, type.bytes(), ghosts, ghosts, GHOST, limits);
    }

    /** Its lines: forward reads x and writes y, backward reads x and dy and writes dx. */
    String lines() {
      GpuNorm waves = cut(GpuNorm.Limits.H200.withoutClusters());
      GpuNorm clusters = cut(GpuNorm.Limits.H200);
      return line("forward", 2, waves.forward(), clusters.forward())
          + line("backward", 3, waves.backward(), clusters.backward());
    }

    private String line(String direction, int tensors, GpuNorm.Plan waves, GpuNorm.Plan clusters) {
      double bytes = (double) tensors * batch * size * size * channels * type.bytes();
      double floor = bytes / BYTES_PER_SECOND;
      boolean none = clusters.pieces() < 2;
      return String.format(
          Locale.ROOT,
          "| [%d,%d,%d,%d] %s | %s | %s | %d | %s | %s | %s | %s | %s | %s |%n",
          batch,
          size,
          size,
          channels,
          type.name().toLowerCase(Locale.ROOT),
          direction,
          number(floor * 1e6),
          waves.launches(),
          number(inWaves(floor, waves) * 1e6),
          none ? "" : clusters.pieces(),
          none ? "" : clusters.sharing() ? 2 : 1,
          none ? "" : Math.round(100 * clusters.held()),
          none ? "" : clusters.launches(),
          none ? "none" : number(inClusters(floor, clusters, batch / GHOST) * 1e6));
    }
  }

  /** Waves follow one another, with a gap between what they move. */
  static double inWaves(double floor, GpuNorm.Plan plan) {
    return floor / OF_BANDWIDTH + plan.launches() * GAP_SECONDS;
  }

  /** Blocks that are alone on a multiprocessor leave gaps between them; two leave one in all. */
  static double inClusters(double floor, GpuNorm.Plan plan, int ghosts) {
    long atOnce = GpuNorm.MULTIPROCESSORS / plan.pieces();
    long rounds = ((long) plan.groups() * ghosts + atOnce - 1) / atOnce;
    double gaps = GAP_SECONDS * (plan.sharing() ? 1 : rounds);
    return floor / OF_BANDWIDTH + gaps + (plan.launches() - 1) * CAPTURED_SECONDS;
  }

  /** What norms take in waves and in clusters. */
  private static String norms() {
    StringBuilder text =
        new StringBuilder(
            """

            ### batch norm, ghost 128, in waves and in clusters

            | norm | direction | floor, us | waves: launches | us \
            | clusters: blocks of one | on a multiprocessor | kept, % | launches | us |
            |---|---|--:|--:|--:|--:|--:|--:|--:|--:|
            """);
    for (ListedNorm norm :
        List.of(
            new ListedNorm(4096, 32, 16, DataType.BF16),
            new ListedNorm(4096, 32, 16, DataType.F32),
            new ListedNorm(4096, 16, 32, DataType.BF16),
            new ListedNorm(4096, 16, 32, DataType.F32),
            new ListedNorm(4096, 8, 64, DataType.BF16),
            new ListedNorm(4096, 8, 64, DataType.F32),
            new ListedNorm(1024, 32, 64, DataType.BF16),
            new ListedNorm(1024, 16, 128, DataType.BF16),
            new ListedNorm(1024, 8, 256, DataType.BF16))) {
      text.append(norm.lines());
    }
    return text.toString();
  }

  /** Sums of one update by some name of its entries, in order of the parts. */
  static <K> Map<K, Sum> sums(GpuStep step, DataType type, Function<Entry, K> name) {
    Map<K, Sum> sums = new LinkedHashMap<>();
    for (Part part : Part.values()) {
      for (Entry entry : step.entries()) {
        if (entry.part() == part) {
          sums.computeIfAbsent(name.apply(entry), key -> new Sum()).add(entry, peak(type));
        }
      }
    }
    return sums;
  }

  static Sum total(GpuStep step, DataType type) {
    return sums(step, type, entry -> "").get("");
  }

  private static double peak(DataType type) {
    return type == DataType.BF16 ? BF16_FLOPS : F32_FLOPS;
  }

  /** A table of what each kind of call takes, and of what its part does. */
  static String table(GpuStep step, DataType type) {
    StringBuilder text =
        new StringBuilder(
            """
            | what | calls | launches | MB | GFLOP | floor, us | bound by |
            |---|--:|--:|--:|--:|--:|---|
            """);
    Map<Part, Sum> parts = sums(step, type, Entry::part);
    record Row(Part part, String what) {}
    Part now = null;
    for (var row : sums(step, type, entry -> new Row(entry.part(), entry.what())).entrySet()) {
      if (row.getKey().part != now) {
        now = row.getKey().part;
        text.append(line("**" + now.text + "**", parts.get(now)));
      }
      text.append(line(row.getKey().what, row.getValue()));
    }
    return text.append(line("**all**", total(step, type))).toString();
  }

  private static String line(String what, Sum sum) {
    String bound = sum.byFlops == 0 ? "memory" : sum.byFlops == sum.floor ? "flops" : "both";
    return String.format(
        Locale.ROOT,
        "| %s | %,d | %,d | %s | %s | %s | %s |%n",
        what,
        sum.calls,
        sum.launches,
        number(sum.bytes / 1e6),
        sum.flops == 0 ? "" : number(sum.flops / 1e9),
        number(sum.floor * 1e6),
        sum.bytes < 1e6 && sum.flops == 0 ? "launches" : bound);
  }

  /** A table with a column for each update. */
  static String summary(Map<String, GpuStep> steps, DataType type) {
    List<Sum> totals = steps.values().stream().map(step -> total(step, type)).toList();
    StringBuilder text = new StringBuilder("| |");
    steps.keySet().forEach(title -> text.append(' ').append(title).append(" |"));
    text.append("\n|---|").append("--:|".repeat(steps.size())).append('\n');
    List<GpuStep> all = new ArrayList<>(steps.values());
    row(text, "micro-batch", all, step -> String.format(Locale.ROOT, "%,d", step.microBatch()));
    row(
        text,
        "rows that the libraries compute",
        all,
        step -> String.format(Locale.ROOT, "%,d", step.computedRows()));
    for (Part part : Part.values()) {
      if (all.stream().allMatch(step -> sums(step, type, Entry::part).get(part) == null)) {
        continue;
      }
      row(
          text,
          "floor of " + part.text + ", us",
          all,
          step -> {
            Sum sum = sums(step, type, Entry::part).get(part);
            return sum == null ? "" : number(sum.floor * 1e6);
          });
    }
    row(text, "GB moved", totals, sum -> number(sum.bytes / 1e9));
    row(text, "TFLOP", totals, sum -> number(sum.flops / 1e12));
    row(text, "**floor, us**", totals, sum -> number(sum.floor * 1e6));
    row(text, "of it bound by flops, us", totals, sum -> number(sum.byFlops * 1e6));
    row(text, "launches", totals, sum -> String.format(Locale.ROOT, "%,d", sum.launches));
    row(text, "of them outside the graph", totals, sum -> Integer.toString(sum.alone));
    row(
        text,
        "launches x 2.5 us, uncaptured",
        totals,
        sum -> number(sum.launches * ALONE_SECONDS * 1e6));
    row(text, "**estimate, us**", totals, sum -> number(sum.estimate * 1e6));
    row(text, "of it for launches, us", totals, sum -> number(sum.starting * 1e6));
    text.append("| **images/s at the floor** |");
    all.forEach(step -> text.append(rate(step, total(step, type).floor)));
    text.append("\n| **images/s at the estimate** |");
    all.forEach(step -> text.append(rate(step, total(step, type).estimate)));
    return text.append('\n').toString();
  }

  private static String rate(GpuStep step, double seconds) {
    return String.format(Locale.ROOT, " %,.0f |", step.batch() / seconds);
  }

  private static <T> void row(
      StringBuilder text, String what, List<T> of, Function<T, String> cell) {
    text.append("| ").append(what).append(" |");
    of.forEach(one -> text.append(' ').append(cell.apply(one)).append(" |"));
    text.append('\n');
  }

  /** Three digits, or all before the point. */
  private static String number(double value) {
    if (value < 0.001) {
      return value == 0 ? "0" : "<0.001";
    }
    int digits = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3;
    return String.format(Locale.ROOT, "%,." + digits + "f", value);
  }
}
