package org.ghostbatch.benchmarks;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import org.ghostbatch.device.Device;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.nn.Network;

/** Rows for people and for programs, and what changed since a baseline. */
final class Report {
  private static final List<String> COLUMNS =
      List.of(
          "what",
          "ours",
          "peer",
          "peer's",
          "ratio",
          "least",
          "most",
          "limit",
          "of it",
          "outside",
          "MiB",
          "peer's MiB",
          "kernel");

  /** Of a GPU: nobody is beside. */
  private static final List<String> GPU_COLUMNS =
      List.of("what", "ms", "least", "most", "rate", "copy", "of it", "MiB", "kernel");

  private static final String WORDS =
      "Milliseconds of one run, median of the turns; ratio: the peer's time over ours, pair by"
          + " pair, median, least and most (of GhostBatch beside itself: what one reaches of its"
          + " limit over what the other reaches of its own). Limit: the FMA peak or the copy"
          + " bandwidth of the same threads, measured in the same turns, and the share of it that"
          + " is reached. Outside: lane time of a step that no kernel ran in. MiB: the most that"
          + " the process held.\n\n";

  private static final String GPU_WORDS =
      "Milliseconds of one run, median, least and most of the turns; of kernels many calls are"
          + " begun and then waited for, a step is a whole update from Java. Rate: of the bytes"
          + " that must move, or the flops of the textbook. Copy: the device's own copy of as many"
          + " bytes, measured in the same turns, and the share of it that is reached. MiB: what a"
          + " step takes of the GPU's memory. How long the GPU idles cannot be seen from here;"
          + " ci/gpu-verify asks the driver.\n\n";

  /** Of memory, written down by sellers: bytes a second. */
  private static final double SOCKET = 12 * 38.4e9;

  /** Of one core that adds vectors which lie in caches, in part: bytes a second. */
  private static final double COPY = 20e9;

  /**
   * A value that backward needs is written once, which reads its line first, and read by normalize,
   * recompute and both passes of backward; its gradient is written and read twice.
   */
  private static final int MEMORY_PASSES = 9;

  /** Of a parameter: two read, one written. */
  private static final double COMMIT_BYTES = 12;

  /** Likewise, with velocity, norm and packing. */
  private static final double UPDATE_BYTES = 32;

  private final List<Row> rows;
  private final List<Row> baseline;
  private final Machine machine;

  Report(List<Row> rows, List<Row> baseline, Machine machine) {
    this.rows = List.copyOf(rows);
    this.baseline = List.copyOf(baseline);
    this.machine = machine;
  }

  /**
   * Where rows were measured.
   *
   * @param device name of the backend
   * @param text processor, threads, instruction set or GPU, versions
   */
  record Machine(String device, String text) {
    static Machine of(String name) {
      try (Device device = Device.of(name, 1)) {
        return new Machine(
            name,
            String.join(
                ", ",
                device.description().lines().map(String::strip).collect(Collectors.joining("; ")),
                Runtime.getRuntime().availableProcessors() + " processors",
                "Java " + System.getProperty("java.version"),
                System.getProperty("os.name") + " " + System.getProperty("os.version")));
      }
    }

    boolean gpu() {
      return device.startsWith("cuda");
    }
  }

  /** Times of one run in ms; ratios are the peer's time over ours. */
  String text() {
    List<List<String>> cells = new ArrayList<>();
    cells.add(columns());
    rows.forEach(row -> cells.add(cells(row)));
    StringBuilder text = new StringBuilder(aligned(cells));
    if (!baseline.isEmpty()) {
      text.append('\n').append(aligned(changes()));
    }
    return text.toString();
  }

  String json() {
    return Json.writeIndented(
            new JsonObject()
                .put("version", version())
                .put("device", machine.device())
                .put("machine", machine.text())
                .put("processors", Runtime.getRuntime().availableProcessors())
                .put("rows", rows.stream().map(Row::json).toList()))
        + "\n";
  }

  /** A page with the table. */
  String markdown(String command) {
    StringBuilder page = new StringBuilder("# Measured\n\n");
    page.append("`").append(command).append("`\n\n");
    page.append(machine.gpu() ? GPU_WORDS : WORDS);
    page.append(machine.text()).append(".\n\n");
    page.append("| ").append(String.join(" | ", columns())).append(" |\n");
    page.append(
        machine.gpu()
            ? "|---|--:|--:|--:|--:|--:|--:|--:|---|\n"
            : "|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n");
    for (Row row : rows) {
      page.append("| ").append(String.join(" | ", cells(row))).append(" |\n");
    }
    rows.stream().filter(Report::scales).forEach(row -> page.append(moreCores(row)));
    return page.toString();
  }

  /** Whether a row says what one thread takes for a step. */
  private static boolean scales(Row row) {
    return row.what().suite().equals("step")
        && row.what().ghost() > 0
        && row.peer() != null
        && row.peer().name().endsWith(" on 1");
  }

  /** What a step would gain from more cores than there are, from this machine's figures. */
  private static String moreCores(Row row) {
    Case what = row.what();
    int ghosts = what.sizes("BATCH")[0] / what.ghost();
    double ghostSeconds = row.peer().ms() / 1e3 / ghosts;
    Network network = Steps.network(what);
    int bytes = what.precision().equals("bf16") ? 2 : 4;
    // Of what lies before a norm and behind it, one is kept and the other computed again.
    double ghostBytes = MEMORY_PASSES * bytes * network.values() / 2.0 * what.ghost();
    double parameters = network.parameterCount();
    Simulation simulation =
        new Simulation(
            ghostSeconds,
            ghostBytes,
            network.parameters().size(),
            COMMIT_BYTES * parameters / COPY,
            UPDATE_BYTES * parameters / COPY);
    return String.format(
        Locale.ROOT,
        """

        ## %s on more cores

        Simulated from one thread's time: times as fast as one core, and what holds it back. A ghost of %d rows is
        one lane's work, %.0f ms here; it moves at most %,.0f MB between memory and caches (%d passes over the
        activations that backward needs), %.1f GB/s a core; its gradients are added in order, layer by layer, %.2f ms
        in all. Memory: %.0f GB/s, of twelve channels DDR5-4800.

        %s
        The number of ghosts limits first: a batch has work for batch / %d lanes, and takes as many rounds as that
        needs. Then memory: %.0f cores ask for all that it gives. For the order of the commits 128 lanes wait %.1f %%
        of their time.
        """,
        what,
        what.ghost(),
        1e3 * ghostSeconds,
        ghostBytes / 1e6,
        MEMORY_PASSES,
        ghostBytes / ghostSeconds / 1e9,
        1e3 * simulation.commitSeconds(),
        SOCKET / 1e9,
        simulation.table(List.of(1024, 8192, 65536), what.ghost(), SOCKET),
        what.ghost(),
        SOCKET / (ghostBytes / ghostSeconds),
        100 * simulation.step(512, 128, SOCKET).waiting());
  }

  private List<String> columns() {
    return machine.gpu() ? GPU_COLUMNS : COLUMNS;
  }

  private List<String> cells(Row row) {
    Row.Peer peer = row.peer();
    Row.Limit limit = row.limit();
    if (machine.gpu()) {
      Row.Amount amount = row.amount();
      return List.of(
          row.what().toString(),
          milliseconds(row.ms().median()),
          milliseconds(row.ms().least()),
          milliseconds(row.ms().most()),
          amount.rate(row.ms().median()),
          limit == null ? "" : limit.toString(),
          limit == null ? "" : ratio(limit.share()),
          mebibytes(row.what(), row.peakBytes()),
          row.kernel().replace(" | ", ", "));
    }
    return List.of(
        row.what().toString(),
        milliseconds(row.ms().median()),
        peer == null ? "" : peer.name(),
        peer == null ? "" : milliseconds(peer.ms()),
        peer == null ? "" : ratio(peer.ratio().median()),
        peer == null ? "" : ratio(peer.ratio().least()),
        peer == null ? "" : ratio(peer.ratio().most()),
        limit == null ? "" : limit.toString(),
        limit == null ? "" : ratio(limit.share()),
        row.outside() < 0 ? "" : String.format(Locale.ROOT, "%.1f %%", 100 * row.outside()),
        mebibytes(row.what(), row.peakBytes()),
        peer == null ? "" : mebibytes(row.what(), peer.peakBytes()),
        row.kernel().replace(" | ", ", "));
  }

  /** Now over then of the rows that both have: below 1 is faster. */
  private List<List<String>> changes() {
    List<List<String>> cells = new ArrayList<>();
    cells.add(List.of("what", "peer", "now/then", "least", "most", "of limit", "was"));
    for (Row row : rows) {
      baseline.stream()
          .filter(row::matches)
          .findFirst()
          .ifPresent(
              then ->
                  cells.add(
                      List.of(
                          row.what().toString(),
                          row.peer() == null ? "" : row.peer().name(),
                          ratio(row.ms().median() / then.ms().median()),
                          ratio(row.ms().least() / then.ms().most()),
                          ratio(row.ms().most() / then.ms().least()),
                          row.limit() == null ? "" : ratio(row.limit().share()),
                          then.limit() == null ? "" : ratio(then.limit().share()))));
    }
    return cells;
  }

  /** Of whole passes: a kernel's process is mostly its operands. */
  private static String mebibytes(Case what, long bytes) {
    return what.suite().equals("step") ? String.format(Locale.ROOT, "%,d", bytes >> 20) : "";
  }

  private static String milliseconds(double value) {
    return String.format(
        Locale.ROOT,
        value < 0.01 ? "%.3g" : value < 1 ? "%.4f" : value < 100 ? "%.2f" : "%.0f",
        value);
  }

  private static String ratio(double value) {
    return String.format(Locale.ROOT, "%.2f", value);
  }

  private static String aligned(List<List<String>> cells) {
    int[] widths = new int[cells.get(0).size()];
    for (List<String> row : cells) {
      for (int i = 0; i < widths.length; i++) {
        widths[i] = Math.max(widths[i], row.get(i).length());
      }
    }
    StringBuilder text = new StringBuilder();
    for (List<String> row : cells) {
      StringBuilder line = new StringBuilder();
      for (int i = 0; i < widths.length; i++) {
        line.append(String.format(Locale.ROOT, "%-" + Math.max(1, widths[i]) + "s  ", row.get(i)));
      }
      text.append(line.toString().stripTrailing()).append('\n');
    }
    return text.toString();
  }

  private static String version() {
    String version = Device.class.getPackage().getImplementationVersion();
    return version == null ? "development" : version;
  }
}
