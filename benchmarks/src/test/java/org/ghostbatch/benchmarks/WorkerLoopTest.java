package org.ghostbatch.benchmarks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Cases are put to GhostBatch as a worker gets them. */
class WorkerLoopTest {
  private static List<String> answers(String... requests) throws IOException {
    PrintStream standard = System.out;
    var out = new ByteArrayOutputStream();
    try {
      WorkerLoop.serve(
          what -> GhostBatchWorker.prepare(what, "cpu"),
          new ByteArrayInputStream(String.join("\n", requests).getBytes(StandardCharsets.UTF_8)),
          new PrintStream(out, true, StandardCharsets.UTF_8));
    } finally {
      System.setOut(standard);
    }
    return List.of(out.toString(StandardCharsets.UTF_8).split("\n"));
  }

  private static String prepare(
      String suite, String name, String shape, String precision, String direction, int ghost) {
    return "prepare " + new Case(suite, name, shape, precision, direction, ghost, 2, "").line();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = ' ',
      value = {
        "gbn 12,5,5,7 forward 3 0 3.0",
        "gbn 12,5,5,7 backward 3 0 5.0",
        "gbn 12,5,5,7 both 6 0 8.0",
        "conv 4,8,8,16,16,3,2 forward 0 294912 0",
        "conv 4,8,8,16,16,3,1 backward-data 0 1179648 0",
        "conv 4,8,8,3,16,3,1 backward-weights 0 221184 0",
        "linear 6,20,30 forward 0 7200 0",
        "linear 6,20,30 backward-data 0 7200 0",
        "linear 6,20,30 backward-weights 0 7200 0",
        "relu 100 forward 0 0 2.0",
        "copy 100 forward 0 0 2.0"
      })
  void kernelsAreCheckedAndMeasured(
      String name, String shape, String direction, int ghost, double flops, double passes)
      throws IOException {
    for (String precision : name.equals("copy") ? List.of("f32") : List.of("f32", "bf16")) {
      List<String> answers =
          answers(prepare("kernels", name, shape, precision, direction, ghost), "measure 0.001");
      Map<String, String> prepared = Case.words(answers.get(0));
      assertEquals(flops, Double.parseDouble(prepared.get("flops")), answers.get(0));
      int elements = shape.equals("100") ? 100 : 12 * 5 * 5 * 7;
      assertEquals(
          passes * elements * (precision.equals("f32") ? 4 : 2),
          Double.parseDouble(prepared.get("bytes")));
      Map<String, String> measured = Case.words(answers.get(1));
      assertTrue(Double.parseDouble(measured.get("seconds")) > 0, answers.get(1));
      assertTrue(Long.parseLong(measured.get("calls")) > 0, answers.get(1));
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = ' ',
      value = {
        "lenet-small 32 f32 train 8",
        "lenet-small 32 bf16 train 0",
        "lenet-small 3 f32 evaluate 0",
        "lenet-small 1 f32 evaluate 0"
      })
  void stepsAreMeasured(String model, String batch, String precision, String direction, int ghost)
      throws IOException {
    List<String> answers =
        answers(
            prepare("step", model, batch, precision, direction, ghost), "measure 0.001", "outside");
    assertTrue(Double.parseDouble(Case.words(answers.get(0)).get("flops")) > 1e3, answers.get(0));
    assertTrue(Double.parseDouble(Case.words(answers.get(1)).get("seconds")) > 0, answers.get(1));
    double outside = Double.parseDouble(Case.words(answers.get(2)).get("share"));
    assertTrue(
        direction.equals("train") ? outside > 0 && outside < 1 : outside < 0, answers.get(2));
  }

  @Test
  void whatCannotBeMeasuredIsSaidAndTheWorkerGoesOn() throws IOException {
    List<String> requests = new ArrayList<>();
    requests.add("measure 1");
    requests.add(prepare("kernels", "gbn", "4,5", "f32", "forward", 0));
    requests.add(prepare("kernels", "gbn", "4,5,5,3", "f32", "sideways", 2));
    requests.add(prepare("kernels", "gbn", "4,5,5,3", "f32", "forward", 3));
    requests.add(prepare("kernels", "gbn", "4,5,5,3", "f32", "forward", 0));
    requests.add(prepare("kernels", "fft", "4", "f32", "forward", 0));
    requests.add(prepare("step", "lenet-small", "many", "f32", "train", 0));
    requests.add(prepare("step", "lenet-small", "2", "bf16", "evaluate", 0));
    requests.add(prepare("kernels", "copy", "8", "bf16", "forward", 0));
    requests.add(prepare("kernels", "relu", "8", "f32", "forward", 0));
    List<String> answers = answers(requests.toArray(new String[0]));
    assertEquals(
        List.of(
            "error=needs a case to be prepared",
            "error=[bench] needs --shape N,H,W,C for gbn, got 4,5",
            "error=[bench] needs --direction forward or backward or both for gbn, got sideways",
            "error=[bench] needs whole ghosts of 3 rows, at least one for each of 2 threads, got 4"
                + " rows",
            "error=[bench] needs --ghost or one thread: a batch norm is one thread's work",
            "error=[bench] needs --kernel gbn, conv, linear, relu or copy, got fft",
            "error=[bench] needs whole numbers from 1 as --shape BATCH, got many",
            "error=[bench] needs precision f32 to evaluate, got bf16",
            "error=[bench] needs precision f32 for copy, got bf16"),
        answers.subList(0, 9));
    assertTrue(answers.get(9).startsWith("flops=0.0 bytes=64.0 kernel="), answers.get(9));
  }

  /** As on a GPU, where a run may only have begun: all that a turn counts has ended. */
  @Test
  void runsAreWaitedForBeforeTheClockIsRead() throws IOException {
    var work =
        new Work() {
          private int begun;
          private int done;

          @Override
          public String kernel() {
            return "late";
          }

          @Override
          public double flops() {
            return 0;
          }

          @Override
          public double bytes() {
            return 1;
          }

          @Override
          public long deviceBytes() {
            return 123;
          }

          @Override
          public void run() {
            begun++;
          }

          @Override
          public void finish() { // 100 us a run, whenever it is waited for
            for (long end = System.nanoTime() + (begun - done) * 100_000L; done < begun; ) {
              if (System.nanoTime() >= end) {
                done = begun;
              }
            }
          }

          @Override
          public void close() {}
        };
    var out = new ByteArrayOutputStream();
    PrintStream standard = System.out;
    try {
      String requests = prepare("kernels", "relu", "8", "f32", "forward", 0) + "\nmeasure 0.05";
      WorkerLoop.serve(
          what -> work,
          new ByteArrayInputStream(requests.getBytes(StandardCharsets.UTF_8)),
          new PrintStream(out, true, StandardCharsets.UTF_8));
    } finally {
      System.setOut(standard);
    }
    Map<String, String> measured = Case.words(out.toString(StandardCharsets.UTF_8).split("\n")[1]);
    assertTrue(Double.parseDouble(measured.get("seconds")) >= 1e-4, measured::toString);
    assertEquals(work.done, Integer.parseInt(measured.get("calls")) + 1); // one to warm up
    assertEquals("123", measured.get("peak_bytes"));
  }
}
