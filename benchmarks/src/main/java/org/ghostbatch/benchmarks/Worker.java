package org.ghostbatch.benchmarks;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.lang.ProcessBuilder.Redirect;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** A process that measures, asked from here: see {@link WorkerLoop}. */
final class Worker implements AutoCloseable {
  private final String name;
  private final Process process;
  private final PrintWriter requests;
  private final BufferedReader answers;

  Worker(String name, List<String> command) {
    this.name = name;
    try {
      process = new ProcessBuilder(command).redirectError(Redirect.INHERIT).start();
    } catch (IOException e) {
      throw new UncheckedIOException("[bench] cannot start " + name, e);
    }
    requests =
        new PrintWriter(
            new OutputStreamWriter(process.getOutputStream(), StandardCharsets.UTF_8), true);
    answers =
        new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
  }

  /**
   * What a case costs and which kernel runs.
   *
   * @param flops of one run; 0: not what limits it
   * @param bytes of one run; 0: not what limits it
   */
  record Prepared(double flops, double bytes, String kernel) {}

  /**
   * @param seconds mean of one run
   * @param peakBytes the most memory that the process has held, or what the case takes of a GPU's;
   *     0: unknown
   */
  record Measurement(double seconds, long peakBytes) {}

  Prepared prepare(Case what) {
    Map<String, String> answer = ask("prepare " + what.line());
    return new Prepared(
        Double.parseDouble(answer.get("flops")),
        Double.parseDouble(answer.get("bytes")),
        answer.get("kernel").replace('_', ' '));
  }

  /** Runs for at least so long. */
  Measurement measure(double seconds) {
    Map<String, String> answer = ask("measure " + seconds);
    return new Measurement(
        Double.parseDouble(answer.get("seconds")), Long.parseLong(answer.get("peak_bytes")));
  }

  /** Share of one run's lane time that no kernel ran in; negative where that cannot be told. */
  double outside() {
    return Double.parseDouble(ask("outside").get("share"));
  }

  private Map<String, String> ask(String request) {
    requests.println(request);
    String answer;
    try {
      answer = answers.readLine();
    } catch (IOException e) {
      throw new UncheckedIOException("[bench] lost " + name, e);
    }
    if (answer == null) {
      throw new IllegalStateException("[bench] " + name + " ended at: " + request);
    }
    if (answer.startsWith("error=")) {
      throw new IllegalStateException(
          "[bench] " + name + ": " + answer.substring("error=".length()));
    }
    return Case.words(answer);
  }

  @Override
  public void close() {
    requests.close(); // the end of its input ends it
    try {
      if (!process.waitFor(30, TimeUnit.SECONDS)) {
        process.destroyForcibly();
      }
    } catch (InterruptedException e) {
      process.destroyForcibly();
      Thread.currentThread().interrupt();
    }
  }
}
