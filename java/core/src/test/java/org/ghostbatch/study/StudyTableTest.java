package org.ghostbatch.study;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.ghostbatch.io.Json;
import org.ghostbatch.study.StudyTable.Row;
import org.ghostbatch.study.StudyTable.Verdict;
import org.junit.jupiter.api.Test;

class StudyTableTest {
  private static final Study STUDY =
      Study.parse(
          Json.parseObject(
              """
          {"name": "t", "about": "a test", "baseline": "SB", "first_seed": 7, "seeds": 3, "test_every_epoch": true, "spec": {},
           "arms": [{"name": "SB", "about": "", "spec": {}}, {"name": "LB", "about": "", "spec": {}}]}
          """));

  private static StudyResult result(String arm, long seed, double train, double test) {
    return new StudyResult(arm, seed, "start", 2, 10, 0.1, train, 0.2, test, 3, 1000, 4, Map.of());
  }

  private static List<StudyResult> results(double[] base, double[] other) {
    List<StudyResult> results = new ArrayList<>();
    for (int i = 0; i < base.length; i++) {
      results.add(result("SB", 7 + i, 1, base[i]));
      results.add(result("LB", 7 + i, 0.98, other[i]));
    }
    return results;
  }

  @Test
  void spreadIsThatOfASample() {
    Spread spread = Spread.of(List.of(1.0, 2.0, 3.0, 6.0));
    assertEquals(3, spread.mean());
    assertEquals(Math.sqrt(14.0 / 3), spread.std(), 1e-15);
    assertTrue(Double.isNaN(Spread.of(List.of(1.0)).std()));
    assertThrows(IllegalArgumentException.class, () -> Spread.of(List.of()));
  }

  @Test
  void differencesArePairedBySeed() {
    // The seeds vary by 0.1, the pairs by 0.01: only pairing sees that LB is lower.
    StudyTable table =
        StudyTable.of(
            STUDY, results(new double[] {0.7, 0.8, 0.9}, new double[] {0.65, 0.76, 0.84}));
    Row small = table.rows().get(0);
    Row large = table.rows().get(1);
    assertNull(small.difference());
    assertEquals(Verdict.BASELINE, small.verdict());
    assertEquals(-0.05, large.difference().mean(), 1e-12);
    assertEquals(0.01, large.difference().std(), 1e-12);
    assertEquals(Verdict.LOWER, large.verdict());
    assertEquals(0.98 - 0.75, large.gap().mean(), 1e-12);
    assertFalse(small.underFitted());
    assertTrue(large.underFitted());
  }

  @Test
  void whatLiesWithinTheSpreadIsNoDifference() {
    assertEquals(Verdict.NONE_SEEN, verdict(0.9, 0.8, 0.89, 0.83)); // -0.01 and 0.03
    assertEquals(Verdict.NONE_SEEN, verdict(0.9, 0.8, 0.9, 0.8)); // nothing at all
    assertEquals(Verdict.HIGHER, verdict(0.8, 0.8, 0.81, 0.82));
    assertEquals(Verdict.ONE_SEED, StudyTable.verdict(Spread.of(List.of(0.5))));
  }

  private static Verdict verdict(double base1, double base2, double other1, double other2) {
    double[] base = {base1, base2};
    double[] other = {other1, other2};
    return StudyTable.of(STUDY, results(base, other)).rows().get(1).verdict();
  }

  @Test
  void aSeedThatOnlyOneArmHasIsNotCompared() {
    List<StudyResult> results = results(new double[] {0.9}, new double[] {0.8});
    results.add(result("LB", 8, 1, 0.1));
    Row large = StudyTable.of(STUDY, results).rows().get(1);
    assertEquals(2, large.testAccuracy().count());
    assertEquals(1, large.difference().count());
    assertEquals(-0.1, large.difference().mean(), 1e-12);
  }

  @Test
  void armsThatDivergedAreUnderFittedAndLeaveTheirFieldsEmpty() {
    StudyTable table =
        StudyTable.of(
            STUDY, List.of(result("SB", 7, 1, 0.9), result("LB", 7, Double.NaN, Double.NaN)));
    assertTrue(table.rows().get(1).underFitted());
    String[] lines = table.csv().split("\n");
    assertEquals(3, lines.length);
    assertEquals(lines[0].split(",").length, lines[2].split(",", -1).length);
    assertTrue(lines[2].startsWith("LB,1,,,"), lines[2]);
  }

  @Test
  void fieldsWithCommasAreQuoted() {
    assertEquals("a,\"b,\"\"c\",,1.5", Csv.row("a", "b,\"c", Double.NaN, 1.5));
  }

  @Test
  void measuresAreComparedAsRatiosPairedBySeed() {
    List<StudyResult> results = new ArrayList<>();
    double[] base = {10, 1000};
    double[] other = {5, 600};
    for (int i = 0; i < base.length; i++) {
      results.add(measured("SB", 7 + i, base[i]));
      results.add(measured("LB", 7 + i, other[i]));
    }
    results.add(measured("LB", 9, Double.NaN)); // a measure that had no number
    StudyTable table = StudyTable.of(STUDY, results);
    StudyTable.Measured small = table.rows().get(0).measures().get(0);
    StudyTable.Measured large = table.rows().get(1).measures().get(0);
    assertEquals("sharpness", large.name());
    assertEquals(505, small.value().mean());
    assertNull(small.ratio());
    assertEquals(2, large.value().count());
    assertEquals(0.55, large.ratio().mean(), 1e-12);
    assertEquals(Math.sqrt(2) * 0.05, large.ratio().std(), 1e-12);
    String[] lines = table.csv().split("\n");
    assertTrue(
        lines[0].endsWith(
            ",sharpness_mean,sharpness_std,sharpness_ratio_mean,sharpness_ratio_std"));
    assertTrue(lines[1].endsWith(",,"), lines[1]);
    assertEquals(lines[0].split(",", -1).length, lines[2].split(",", -1).length);
  }

  private static StudyResult measured(String arm, long seed, double sharpness) {
    return new StudyResult(
        arm, seed, "start", 2, 10, 0.1, 1, 0.2, 0.9, 3, 1000, 4, Map.of("sharpness", sharpness));
  }
}
