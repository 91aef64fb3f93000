package org.ghostbatch.train;

import java.io.BufferedWriter;
import java.io.IOException;
import java.io.OutputStreamWriter;
import java.io.Writer;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
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
   * event ({@code "ph": "X"}) for each call, times in microseconds since the first.
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
    out.write(Json.write(name("process_name", 0, "ghostbatch")));
    thread(out, 0, "updates");
    for (int lane = 0; lane < lanes; lane++) {
      thread(out, lane + 1, "lane " + lane);
    }
    for (Slice phase : phases) {
      event(out, slice(phase.name, "update", 0, phase.begin - start, phase.end - phase.begin));
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
          slice(name, kind.kind, call.lane() + 1, call.begin() - start, nanos)
              .put("args", arguments));
    }
    out.write("\n]}\n");
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
    return new JsonObject().put("name", what).put("ph", "M").put("pid", 1).put("tid", thread);
  }

  private static JsonObject slice(
      String name, String category, int thread, long begin, long nanos) {
    return new JsonObject()
        .put("name", name)
        .put("cat", category)
        .put("ph", "X")
        .put("ts", BigDecimal.valueOf(begin, 3)) // microseconds, without an exponent
        .put("dur", BigDecimal.valueOf(nanos, 3))
        .put("pid", 1)
        .put("tid", thread);
  }

  private static void event(Writer out, JsonObject event) throws IOException {
    out.write(",\n");
    out.write(Json.write(event));
  }
}
