package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.IntStream;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.Device;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The trace of a run, held against the Trace Event format and against what the run did. */
class TraceTest {
  private static final Dataset TRAIN = TinyData.of(320, 1);

  @TempDir Path folder;

  /** A complete event, in nanoseconds. */
  private record Slice(String name, int thread, long begin, long end, JsonObject args) {}

  private List<Slice> slices(Trace trace) throws IOException {
    Path file = folder.resolve("trace.json");
    trace.write(file);
    JsonObject json = Json.parseObject(Files.readString(file));
    List<Slice> slices = new ArrayList<>();
    Map<Integer, String> threads = new TreeMap<>();
    Set<String> kinds = new TreeSet<>();
    for (Object item : json.getList("traceEvents")) {
      JsonObject event = (JsonObject) item;
      assertEquals(1, event.getInt("pid"));
      kinds.add(event.getString("ph"));
      if (event.getString("ph").equals("M")) {
        if (event.getString("name").equals("thread_name")) {
          threads.put(event.getInt("tid"), event.getObject("args").getString("name"));
        }
        continue;
      }
      assertEquals("X", event.getString("ph"));
      assertFalse(event.getString("name").isEmpty());
      assertFalse(event.getString("cat").isEmpty());
      double begin = event.getDouble("ts");
      double length = event.getDouble("dur");
      assertTrue(begin >= 0 && length >= 0, event::toString);
      slices.add(
          new Slice(
              event.getString("name"),
              event.getInt("tid"),
              Math.round(1000 * begin), // nanoseconds again, which are whole
              Math.round(1000 * (begin + length)),
              event.has("args") ? event.getObject("args") : new JsonObject()));
    }
    assertTrue(Set.of("M", "X").containsAll(kinds), kinds::toString);
    assertEquals(Map.of(1, "updates", 2, "lane 0", 3, "lane 1"), threads);
    assertFalse(Files.readString(file).contains("E7"), "an exponent");
    return slices;
  }

  /**
   * Slices of a thread lie beside or within one another, as the format wants it, and those that
   * begin together stand from the longest to the shortest, as Perfetto does.
   */
  private static void requireNested(List<Slice> slices) {
    Map<Integer, List<Slice>> threads = new HashMap<>();
    slices.forEach(s -> threads.computeIfAbsent(s.thread, key -> new ArrayList<>()).add(s));
    for (List<Slice> thread : threads.values()) {
      thread.sort(Comparator.comparingLong(Slice::begin)); // which keeps the file's order
      Deque<Slice> open = new ArrayDeque<>();
      for (Slice slice : thread) {
        while (!open.isEmpty() && open.peek().end <= slice.begin) {
          open.pop();
        }
        assertTrue(
            open.isEmpty() || slice.end <= open.peek().end, () -> slice + " and " + open.peek());
        open.push(slice);
      }
    }
  }

  @Test
  void tellsWhatTheLanesDidInSomeUpdates() throws IOException {
    Trace trace;
    Profile profile;
    try (Device device = Device.of("cpu", 2);
        Trainer trainer =
            Trainer.of(TinyData.convolutional())
                .batchSize(64)
                .ghostBatchSize(16)
                .microBatch(16)
                .epochs(4)
                .profile(true)
                .on(device)) {
      trainer.fit(TRAIN, TinyData.of(100, 2));
      trace = trainer.trace();
      profile = trainer.profile();
    }
    List<Slice> slices = slices(trace);
    requireNested(slices);
    assertEquals(0, slices.stream().mapToLong(Slice::begin).min().orElse(-1));
    List<Slice> updates = slices.stream().filter(s -> s.name.startsWith("update ")).toList();
    assertEquals(
        IntStream.rangeClosed(3, 12).mapToObj(i -> "update " + i).toList(),
        updates.stream().map(Slice::name).toList());
    for (Slice update : updates) {
      List<String> phases =
          slices.stream()
              .filter(s -> s.thread == 1 && s != update)
              .filter(s -> s.begin >= update.begin && s.end <= update.end)
              .map(Slice::name)
              .toList();
      assertEquals(
          List.of("load batch", "forward and backward", "gradient norm", "optimizer", "listeners"),
          phases);
    }
    // A call a micro-batch, of which an update has four, and none outside of the updates.
    List<Slice> forward =
        slices.stream().filter(s -> s.name.equals("0 convolution forward")).toList();
    assertEquals(40, forward.size());
    List<Slice> steps = slices.stream().filter(s -> s.name.equals("forward and backward")).toList();
    for (Slice call : slices.stream().filter(s -> s.thread > 1).toList()) {
      assertTrue(
          steps.stream().anyMatch(s -> s.begin <= call.begin && call.end <= s.end),
          () -> call + " in no update");
    }
    for (Slice step : steps) {
      assertEquals(
          Set.of(0L, 1L, 2L, 3L),
          Set.copyOf(
              forward.stream()
                  .filter(s -> s.begin >= step.begin && s.end <= step.end)
                  .map(s -> s.args.getLong("micro_batch"))
                  .toList()));
    }
    // Each call lies in the pass of its micro-batch.
    List<Slice> passes = slices.stream().filter(s -> s.name.startsWith("micro-batch ")).toList();
    assertEquals(80, passes.size(), "a forward and a backward pass a micro-batch");
    for (Slice call : slices.stream().filter(s -> s.args.has("micro_batch")).toList()) {
      Slice pass =
          passes.stream()
              .filter(p -> p.thread == call.thread)
              .filter(p -> p.begin <= call.begin && call.end <= p.end)
              .findFirst()
              .orElseThrow(() -> new AssertionError(call + " in no pass"));
      String direction =
          call.args.has("direction") ? call.args.getString("direction").split(" ")[0] : "";
      assertTrue(
          pass.name.startsWith("micro-batch " + call.args.getLong("micro_batch") + " ")
              && (!direction.equals("backward") || pass.name.endsWith(" backward"))
              && (!call.name.equals("0 convolution forward") || pass.name.endsWith(" forward")),
          () -> call + " in " + pass);
    }
    JsonObject convolution = forward.get(0).args;
    assertEquals("0", convolution.getString("layer"));
    assertEquals("forward", convolution.getString("direction"));
    // 16 rows of 8 x 8 places, 8 channels out, 3 x 3 x 1 in, a multiply and an add.
    assertEquals(16 * 64 * 8 * 9 * 2, convolution.getLong("flops"));
    assertEquals(16 * 64 * (1 + 8) * 4, convolution.getLong("bytes"));
    double nanos = forward.get(0).end - forward.get(0).begin;
    assertEquals(
        convolution.getLong("flops") / nanos,
        convolution.getDouble("gflops_per_second"),
        0.01 + 1e-3 * convolution.getDouble("gflops_per_second"));
    Set<String> kernels = new TreeSet<>();
    profile.rows().stream()
        .filter(row -> !row.kernel().isEmpty())
        .forEach(row -> kernels.add(row.layer().split(" ")[0] + row.kernel()));
    Set<String> traced = new TreeSet<>();
    slices.stream()
        .filter(s -> s.args.has("kernel"))
        .forEach(s -> traced.add(s.args.getString("layer") + s.args.getString("kernel")));
    assertEquals(kernels, traced);
  }

  @Test
  void endsEarlyWhereCallsAreManyOrUpdatesFew() throws IOException {
    try (Device device = Device.of("cpu", 2);
        Trainer trainer =
            Trainer.of(TinyData.convolutional())
                .batchSize(320)
                .ghostBatchSize(2)
                .microBatch(2)
                .epochs(12)
                .profile(true)
                .on(device)) {
      trainer.fit(TRAIN, null);
      List<Slice> slices = slices(trainer.trace());
      requireNested(slices);
      long updates = slices.stream().filter(s -> s.name.startsWith("update ")).count();
      // What two lanes can keep, and around it the two passes of each micro-batch.
      long calls = 2 * (1 << 15);
      assertTrue(slices.size() <= calls + 2 * 160 * updates + 100, "slices " + slices.size());
      // All of each: 160 micro-batches an update.
      assertEquals(
          160 * updates,
          slices.stream().filter(s -> s.name.equals("0 convolution forward")).count());
      assertTrue(updates >= 1 && updates < 10, "updates " + updates);
    }
    try (Device device = Device.of("cpu", 2);
        Trainer trainer =
            Trainer.of(TinyData.withoutNorm()).batchSize(320).epochs(2).profile(true).on(device)) {
      trainer.fit(TRAIN, null);
      assertEquals(List.of(), slices(trainer.trace()), "only the two that warm up");
    }
    try (Device device = Device.of("cpu", 2);
        Trainer trainer = Trainer.of(TinyData.withoutNorm()).batchSize(320).epochs(1).on(device)) {
      trainer.fit(TRAIN, null);
      assertThrows(IllegalStateException.class, trainer::trace);
    }
  }

  @Test
  void theTableNamesLayersAndKernels() {
    try (Device device = Device.of("cpu", 2);
        Trainer trainer =
            Trainer.of(TinyData.convolutional())
                .batchSize(64)
                .ghostBatchSize(16)
                .epochs(1)
                .profile(true)
                .on(device)) {
      trainer.fit(TRAIN, null);
      String table = trainer.profile().table();
      Profile.Row slowest =
          trainer.profile().rows().stream()
              .filter(r -> !r.kernel().isEmpty())
              .findFirst()
              .orElseThrow();
      assertTrue(
          table
              .lines()
              .anyMatch(
                  line ->
                      line.startsWith(slowest.layer() + " ") && line.endsWith(slowest.kernel())),
          table);
      assertTrue(table.lines().allMatch(line -> line.equals(line.stripTrailing())), table);
      Profile.Row weights = row(trainer.profile(), "0", "backward weights");
      Profile.Row forward = row(trainer.profile(), "0", "forward");
      assertEquals(
          trainer.engine().implementation(0),
          forward.kernel() + " | " + kernelOf(trainer, 1) + " | " + weights.kernel());
    }
  }

  private static String kernelOf(Trainer trainer, int direction) {
    return trainer.engine().implementation(0).split(" \\| ")[direction];
  }

  private static Profile.Row row(Profile profile, String layer, String direction) {
    return profile.rows().stream()
        .filter(r -> r.entry().name().equals(layer) && r.direction().equals(direction))
        .findFirst()
        .orElseThrow();
  }
}
