package org.ghostbatch.train;

import java.io.BufferedWriter;
import java.io.IOException;
import java.io.OutputStreamWriter;
import java.io.Writer;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.LongStream;
import org.ghostbatch.device.TraceEvent;
import org.ghostbatch.io.AtomicFiles;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;

/**
 * Some updates of a run, call by call: what each lane did when, and what the thread that drives
 * them waited for. {@link #write} makes a file that Perfetto (ui.perfetto.dev) and chrome://tracing
 * open.
 *
 * @param lanes number of them
 * @param kinds what calls can be, by {@link TraceEvent#entry}
 * @param calls of the lanes
 * @param phases of the thread that drives them
 */
public record Trace(int lanes, List<Kind> kinds, List<TraceEvent> calls, List<Slice> phases) {
  /** Number of the process and of its main thread, which viewers show first; 0 is none. */
  private static final int PROCESS = 1;

  private static final int UPDATES = PROCESS;

  /**
   * What a call does.
   *
   * @param name of the layer, or of the engine's work
   * @param kind {@code convolution}, {@code batch norm}, ..., or {@code engine}
   * @param direction forward, backward data, backward weights, or empty
   * @param kernel the implementation that runs
   * @param flops of one call
   * @param bytes of one call, touched at least
   */
  public record Kind(
      String name, String kind, String direction, String kernel, double flops, double bytes) {}

  /**
   * A stretch of time, in nanoseconds of one clock.
   *
   * @param begin as {@link TraceEvent#begin}
   */
  public record Slice(String name, long begin, long end) {}

  public Trace {
    kinds = List.copyOf(kinds);
    calls = List.copyOf(calls);
    phases = List.copyOf(phases);
  }

  /**
   * Writes the trace in Chrome's Trace Event format (JSON): a thread for each lane with a complete
   * event ({@code "ph": "X"}) for each call, within one for the forward or backward pass of its
   * micro-batch; times in microseconds since the first. What encloses others stands before them, as
   * Perfetto takes events that begin together in the order of the file.
   */
  public void write(Path file) {
    AtomicFiles.write(
        file,
        out -> {
          Writer writer =
              new BufferedWriter(new OutputStreamWriter(out, StandardCharsets.UTF_8), 1 << 16);
          writeTo(writer);
          writer.flush();
        });
  }

  private void writeTo(Writer out) throws IOException {
    long start =
        LongStream.concat(
                calls.stream().mapToLong(TraceEvent::begin),
                phases.stream().mapToLong(Slice::begin))
            .min()
            .orElse(0);
    out.write("{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n");
    out.write(Json.write(name("process_name", UPDATES, "ghostbatch")));
    thread(out, UPDATES, "updates");
    for (int lane = 0; lane < lanes; lane++) {
      thread(out, thread(lane), "lane " + lane);
    }
    write(out, "update", UPDATES, phases, start);
    for (int lane = 0; lane < lanes; lane++) {
      write(out, "pass", thread(lane), passes(lane), start);
    }
    for (TraceEvent call : calls) {
      Kind kind = kinds.get(call.entry());
      long nanos = call.end() - call.begin();
      String name =
          kind.kernel.isEmpty() ? kind.name : kind.name + " " + kind.kind + " " + kind.direction;
      JsonObject arguments = new JsonObject();
      if (!kind.kernel.isEmpty()) {
        arguments.put("layer", kind.name).put("direction", kind.direction);
        arguments.put("kernel", kind.kernel);
      }
      if (call.microBatch() >= 0) {
        arguments.put("micro_batch", call.microBatch());
      }
      if (kind.flops > 0) {
        arguments.put("flops", (long) kind.flops);
        arguments.put("gflops_per_second", rate(kind.flops, nanos));
      }
      if (kind.bytes > 0) {
        arguments.put("bytes", (long) kind.bytes);
        arguments.put("gbytes_per_second", rate(kind.bytes, nanos));
      }
      event(
          out,
          slice(name, kind.kind, thread(call.lane()), call.begin() - start, nanos)
              .put("args", arguments));
    }
    out.write("\n]}\n");
  }

  private static void write(Writer out, String category, int thread, List<Slice> slices, long start)
      throws IOException {
    List<Slice> ordered = new ArrayList<>(slices);
    ordered.sort(
        Comparator.comparingLong(Slice::begin)
            .thenComparing(Comparator.comparingLong(Slice::end).reversed()));
    for (Slice slice : ordered) {
      event(out, slice(slice.name, category, thread, slice.begin - start, slice.end - slice.begin));
    }
  }

  /** Calls of a lane that follow one another within one direction of one micro-batch. */
  private List<Slice> passes(int lane) {
    int backward = 0; // the first kind of the backward pass
    while (backward < kinds.size() && !kinds.get(backward).direction.startsWith("backward")) {
      backward++;
    }
    List<Slice> passes = new ArrayList<>();
    String open = "";
    long openMicroBatch = -1;
    long begin = 0;
    long end = 0;
    for (TraceEvent call : calls) {
      if (call.lane() != lane || call.microBatch() < 0) {
        continue;
      }
      String direction = call.entry() < backward ? "forward" : "backward";
      if (call.microBatch() == openMicroBatch
          && call.entry() >= backward
          && kinds.get(call.entry()).kernel.isEmpty()) {
        direction = open; // sums are committed in both
      }
      if (call.microBatch() != openMicroBatch || !direction.equals(open)) {
        if (!open.isEmpty()) {
          passes.add(new Slice("micro-batch " + openMicroBatch + " " + open, begin, end));
        }
        open = direction;
        openMicroBatch = call.microBatch();
        begin = call.begin();
      }
      end = call.end();
    }
    if (!open.isEmpty()) {
      passes.add(new Slice("micro-batch " + openMicroBatch + " " + open, begin, end));
    }
    return passes;
  }

  private static int thread(int lane) {
    return UPDATES + 1 + lane;
  }

  private static double rate(double amount, long nanos) {
    return Math.round(100 * amount / Math.max(1, nanos)) / 100.0;
  }

  private static void thread(Writer out, int number, String name) throws IOException {
    event(out, name("thread_name", number, name));
    event(
        out,
        meta("thread_sort_index", number).put("args", new JsonObject().put("sort_index", number)));
  }

  private static JsonObject name(String what, int thread, String name) {
    return meta(what, thread).put("args", new JsonObject().put("name", name));
  }

  private static JsonObject meta(String what, int thread) {
    return new JsonObject().put("name", what).put("ph", "M").put("pid", PROCESS).put("tid", thread);
  }

  private static JsonObject slice(
      String name, String category, int thread, long begin, long nanos) {
    return new JsonObject()
        .put("name", name)
        .put("cat", category)
        .put("ph", "X")
        .put("ts", BigDecimal.valueOf(begin, 3)) // microseconds, without an exponent
        .put("dur", BigDecimal.valueOf(nanos, 3))
        .put("pid", PROCESS)
        .put("tid", thread);
  }

  private static void event(Writer out, JsonObject event) throws IOException {
    out.write(",\n");
    out.write(Json.write(event));
  }
}
