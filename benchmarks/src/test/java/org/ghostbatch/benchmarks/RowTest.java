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
    return Row.of(GBN, ours, "simd", "x read", "copy")
        .withLimit(30e9, 0.5)
        .withPeer("libtorch, fold", turns(3 * factor, 8 * factor, 8 * factor), ours);
  }

  @Test
  void ratiosAreTakenTurnByTurn() {
    Row row = row(1);
    assertEquals(3, row.ratio()); // of 3/1, 8/4, 8/2, not 8/2 of the medians
    assertEquals(2, row.ratioMin());
    assertEquals(4, row.ratioMax());
    assertEquals(2, row.oursMs());
    assertEquals(8, row.peerMs());
    assertEquals(4000, row.oursPeakBytes());
    assertEquals(8000, row.peerPeakBytes());
    assertEquals(2.5, turns(1, 2, 3, 4).median() * 1e3);
  }

  @Test
  void aRowSurvivesItsFile() {
    for (Row row : List.of(row(1), Row.of(GBN, turns(3), "simd", "f", "fma").withLimit(1e9, 0.1))) {
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
    String text = new Report(List.of(row(0.5)), List.of(row(1))).text();
    assertTrue(
        text.contains("gbn 256,8,8,64 bf16 both ghost 128  1.00  libtorch, fold  4.00"), text);
    assertTrue(text.contains("3.00   2.00   4.00  30 GB/s  0.50                    simd"), text);
    // Halved; least and most are those that the turns allow.
    assertTrue(text.contains("libtorch, fold  0.50      0.13   2.00"), text);
    String other = new Report(List.of(row(0.5).withLimit(1, 1)), List.of()).text();
    assertEquals(2, other.lines().count(), other);
    String page = new Report(List.of(row(1)), List.of()).markdown("./ghostbatch bench");
    assertTrue(
        page.contains("| gbn 256,8,8,64 bf16 both ghost 128 | 2.00 | libtorch, fold |"), page);
    assertTrue(page.contains("processors, Java "), page);
  }

  @Test
  void aCaseSurvivesItsLine() {
    assertEquals(GBN, Case.of(GBN.line()));
    Case spelled = GBN.withSpelling("fold");
    assertEquals(spelled, Case.of(spelled.line()));
  }
}
