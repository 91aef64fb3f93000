package org.ghostbatch.benchmarks.peers;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.ghostbatch.benchmarks.Case;
import org.ghostbatch.benchmarks.WorkerLoop;
import org.junit.jupiter.api.Test;

/** That the worker measures each kind of case, and refuses others. */
class LibtorchWorkerTest {
  @Test
  void kernels() throws Exception {
    List<Case> cases = new ArrayList<>();
    for (String precision : List.of("f32", "bf16")) {
      for (String direction : List.of("forward", "backward", "both")) {
        for (String spelling : List.of("accumulate", "chunk", "fold")) {
          cases.add(new Case("kernels", "gbn", "24,3,5,16", precision, direction, 8, 1, spelling));
        }
        cases.add(new Case("kernels", "gbn", "7,3,5,16", precision, direction, 0, 2, "plain"));
      }
      for (String direction : List.of("forward", "backward-data", "backward-weights")) {
        cases.add(
            new Case("kernels", "conv", "4,9,9,3,16,3,2", precision, direction, 0, 1, "plain"));
        cases.add(new Case("kernels", "linear", "4,12,5", precision, direction, 0, 1, "plain"));
      }
      cases.add(new Case("kernels", "relu", "16", precision, "forward", 0, 1, "plain"));
    }
    measure(cases);
  }

  @Test
  void steps() throws Exception {
    List<Case> cases = new ArrayList<>();
    for (String precision : List.of("f32", "bf16")) {
      for (String spelling : List.of("accumulate", "chunk", "fold")) {
        cases.add(new Case("step", "lenet-small", "24", precision, "train", 8, 2, spelling));
        cases.add(new Case("step", "resnet20", "4", precision, "train", 2, 1, spelling));
      }
      cases.add(new Case("step", "f1", "7", precision, "train", 0, 1, "plain"));
      cases.add(new Case("step", "resnet20", "1", precision, "evaluate", 0, 1, "plain"));
      cases.add(new Case("step", "lenet", "5", precision, "evaluate", 0, 1, "plain"));
    }
    measure(cases);
  }

  @Test
  void refusals() throws Exception {
    var fold = new Case("step", "lenet", "25", "f32", "train", 8, 1, "fold");
    List<String> answers =
        ask(
            List.of(
                "measure 0.001",
                "prepare " + new Case("step", "lenet", "24", "f32", "train", 8, 1, "cut").line(),
                "prepare " + new Case("kernels", "pool", "24", "f32", "both", 8, 1, "").line(),
                "prepare "
                    + new Case("kernels", "gbn", "7,2,2,8", "f32", "both", 2, 1, "chunk").line(),
                "prepare " + fold.line(),
                "measure 0.001"));
    assertEquals("error=needs a case to be prepared", answers.get(0));
    String spelling = "error=[libtorch] needs spelling plain, accumulate, chunk or fold, got cut";
    assertEquals(spelling, answers.get(1));
    assertEquals("error=[libtorch] needs gbn, conv, linear or relu, got pool", answers.get(2));
    assertEquals("error=[libtorch] needs whole ghosts of 2 rows, got 7 rows", answers.get(3));
    assertEquals("error=[libtorch] needs rows that fold into 4 ghosts, got 25", answers.get(4));
    assertEquals("error=needs a case to be prepared", answers.get(5));
  }

  private static void measure(List<Case> cases) throws Exception {
    List<String> requests = new ArrayList<>();
    for (Case what : cases) {
      requests.add("prepare " + what.line());
      requests.add("measure 0.001");
    }
    List<String> answers = ask(requests);
    for (int i = 0; i < cases.size(); i++) {
      Case what = cases.get(i);
      assertEquals(
          "flops=0.0 bytes=0.0 kernel=libtorch_2.10_" + what.spelling(),
          answers.get(2 * i),
          what::line);
      String measured = answers.get(2 * i + 1);
      assertTrue(
          measured.matches("seconds=[0-9.E-]+ calls=[1-9][0-9]* peak_bytes=[0-9]+"),
          what.line() + ": " + measured);
    }
  }

  private static List<String> ask(List<String> requests) throws Exception {
    var in = new ByteArrayInputStream(String.join("\n", requests).getBytes(StandardCharsets.UTF_8));
    var out = new ByteArrayOutputStream();
    PrintStream standard = System.out;
    try (var answers = new PrintStream(out, true, StandardCharsets.UTF_8)) {
      WorkerLoop.serve(LibtorchWorker::prepare, in, answers);
    } finally {
      System.setOut(standard);
    }
    List<String> lines = out.toString(StandardCharsets.UTF_8).lines().toList();
    assertEquals(requests.size(), lines.size(), lines::toString);
    return lines;
  }
}
