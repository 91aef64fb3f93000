package org.ghostbatch.benchmarks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.ghostbatch.benchmarks.Worker.Measurement;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.junit.jupiter.api.Test;

class RowTest {
  private static final Case GBN =
      new Case("kernels", "gbn", "256,8,8,64", "bf16", "both", 128, 2, "");

  private static Turns turns(double... milliseconds) {
    Turns turns = new Turns();
    for (double value : milliseconds) {
      turns.add(new Measurement(value / 1e3, (long) (1000 * value)));
    }
    return turns;
  }

  private static Row row(double factor) {
    Turns ours = turns(1 * factor, 4 * factor, 2 * factor);
    Turns theirs = turns(3 * factor, 8 * factor, 8 * factor);
    return new Row(
        GBN,
        ours.figure().times(1e3),
        ours.peakBytes(),
        new Row.Peer("libtorch, fold", 8 * factor, 1 << 20, theirs.ratio(ours).figure()),
        new Row.Limit("copy", "x read", 30e9, 0.5),
        0.012,
        "simd");
  }

  private static Row alone() {
    return Row.ofCall("relu", new Figure(3, 2, 4));
  }

  @Test
  void ratiosAreTakenTurnByTurn() {
    // Of 3/1, 8/4, 8/2, not 8/2 of the medians.
    assertEquals(new Figure(3, 2, 4), row(1).peer().ratio());
    assertEquals(new Figure(2, 1, 4), row(1).ms());
    assertEquals(4000, row(1).peakBytes());
    assertEquals(2.5, turns(1, 2, 3, 4).figure().median() * 1e3);
  }

  @Test
  void aRowSurvivesItsFile() {
    for (Row row : List.of(row(1), alone())) {
      JsonObject json = Json.parseObject(Json.write(row.json()));
      assertEquals(row, Row.of(json));
    }
    assertTrue(
        row(1)
            .json()
            .names()
            .containsAll(
                List.of(
                    "suite",
                    "name",
                    "shape",
                    "precision",
                    "direction",
                    "ours_ms",
                    "peer",
                    "peer_ms",
                    "ratio",
                    "ratio_min",
                    "ratio_max",
                    "limit",
                    "of_limit",
                    "kernel")));
  }

  @Test
  void theReportSaysWhatChanged() {
    var machine = Report.Machine.of("cpu");
    String text = new Report(List.of(row(0.5)), List.of(row(1)), machine).text();
    assertTrue(
        text.contains("gbn 256,8,8,64 bf16 both ghost 128  1.00  libtorch, fold  4.00"), text);
    assertTrue(
        text.contains("3.00   2.00   4.00  30 GB/s  0.50   1.2 %                     simd"), text);
    // Halved; least and most are those that the turns allow.
    assertTrue(text.contains("libtorch, fold  0.50      0.13   2.00"), text);
    String other = new Report(List.of(alone()), List.of(), machine).text();
    assertEquals(2, other.lines().count(), other);
    String page = new Report(List.of(row(1)), List.of(), machine).markdown("./ghostbatch bench");
    assertTrue(
        page.contains("| gbn 256,8,8,64 bf16 both ghost 128 | 2.00 | libtorch, fold |"), page);
    assertTrue(page.contains("processors, Java "), page);
  }

  @Test
  void theCommandOfAPageIsOneThatIsTaken() {
    JsonObject request =
        new JsonObject()
            .put("suite", "step,binding")
            .put("name", null)
            .put("shape", null)
            .put("precision", "f32")
            .put("direction", "forward")
            .put("ghost", 128)
            .put("micro_batch", null)
            .put("device", "cpu")
            .put("threads", 2)
            .put("compare", "none")
            .put("rounds", 3)
            .put("seconds", 0.5)
            .put("baseline", null);
    assertEquals(
        "./ghostbatch bench --suite step,binding --threads 2 --rounds 3 --seconds 0.5",
        Bench.command(request));
    request.put("suite", "step").put("name", "f1").put("shape", "60").put("direction", "train");
    request.put("ghost", 0).put("compare", "libtorch");
    assertEquals(
        "./ghostbatch bench --suite step --model f1 --batch 60 --precision f32 --direction train"
            + " --ghost none --compare libtorch --threads 2 --rounds 3 --seconds 0.5",
        Bench.command(request));
    request.put("compare", "none").put("device", "cuda:1,tf32,autotune");
    assertEquals(
        "./ghostbatch bench --suite step --model f1 --batch 60 --precision f32 --direction train"
            + " --ghost none --backend cuda:1 --tf32 --autotune --rounds 3 --seconds 0.5",
        Bench.command(request));
  }

  @Test
  void aCaseSurvivesItsLine() {
    assertEquals(GBN, Case.of(GBN.line()));
    Case spelled = GBN.withSpelling("fold");
    assertEquals(spelled, Case.of(spelled.line()));
  }
}
