package org.ghostbatch.benchmarks;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.function.Function;

/**
 * A process that measures: lines of requests on standard input, a line each of answers on standard
 * output.
 *
 * <pre>
 * prepare suite=kernels name=gbn ...   flops=... bytes=... kernel=NAME
 * measure SECONDS                      seconds=... calls=... peak_bytes=...
 * outside                              share=...
 * </pre>
 *
 * An answer may be {@code error=TEXT}. {@code seconds} is the mean of {@code calls} runs: on a GPU
 * of many that are begun one behind another, and then waited for. Ends with its input.
 */
public final class WorkerLoop {
  private static final long BLOCK_NANOS = 10_000_000;

  private WorkerLoop() {}

  /** Serves until the input ends. */
  public static void serve(Function<Case, Work> maker) throws IOException {
    serve(maker, System.in, System.out);
  }

  public static void serve(Function<Case, Work> maker, InputStream in, PrintStream answers)
      throws IOException {
    System.setOut(System.err); // what libraries print
    Work work = null;
    var requests = new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8));
    for (String line = requests.readLine(); line != null; line = requests.readLine()) {
      String answer;
      try {
        String[] words = line.split(" ", 2);
        if (words[0].equals("prepare")) {
          if (work != null) {
            work.close();
            work = null;
          }
          work = maker.apply(Case.of(words[1]));
          answer =
              String.format(
                  Locale.ROOT,
                  "flops=%s bytes=%s kernel=%s",
                  work.flops(),
                  work.bytes(),
                  work.kernel().replace(' ', '_'));
        } else if (work == null) {
          answer = "error=needs a case to be prepared";
        } else if (words[0].equals("outside")) {
          answer = "share=" + work.outsideKernels();
        } else {
          answer = measure(work, Double.parseDouble(words[1]));
        }
      } catch (RuntimeException e) {
        answer = "error=" + String.valueOf(e.getMessage()).replace('\n', ' ');
      }
      answers.println(answer);
      answers.flush();
    }
    if (work != null) {
      work.close();
    }
  }

  private static String measure(Work work, double seconds) {
    work.run(); // what others ran meanwhile has left the caches cold
    work.finish();
    long calls = 0;
    long block = 1; // runs between two looks at the clock, which cost more than the smallest
    long begin = System.nanoTime();
    long now = begin;
    do {
      for (long i = 0; i < block; i++) {
        work.run();
      }
      work.finish();
      calls += block;
      long before = now;
      now = System.nanoTime();
      if (now - before < BLOCK_NANOS) {
        block *= 2;
      }
    } while (now - begin < seconds * 1e9);
    return String.format(
        Locale.ROOT,
        "seconds=%s calls=%d peak_bytes=%d",
        (now - begin) / 1e9 / calls,
        calls,
        work.deviceBytes() > 0 ? work.deviceBytes() : peakBytes());
  }

  /** The most memory that this process has held; 0 where the system does not tell. */
  public static long peakBytes() {
    Path status = Path.of("/proc/self/status");
    if (!Files.exists(status)) {
      return 0;
    }
    try {
      for (String line : Files.readAllLines(status)) {
        if (line.startsWith("VmHWM:")) {
          return Long.parseLong(line.replaceAll("[^0-9]", "")) * 1024;
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException("[bench] cannot read " + status, e);
    }
    return 0;
  }
}
