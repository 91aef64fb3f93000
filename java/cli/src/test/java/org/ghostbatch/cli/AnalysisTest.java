package org.ghostbatch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The commands that analyse runs, on two small ones. */
class AnalysisTest {
  @TempDir private static Path folder;
  private static Path small;
  private static Path large;

  @BeforeAll
  static void train() {
    small = folder.resolve("small");
    large = folder.resolve("large");
    String common =
        "train --model lenet-small --data strokes --train-samples 600 --epochs 4 --quiet ";
    assertEquals(0, Cli.line(common + "--batch 50 --lr 0.05 --out " + small).status());
    assertEquals(0, Cli.line(common + "--batch 100 --lr 0.1 --out " + large).status());
  }

  private static JsonObject json(String line) {
    Cli cli = Cli.line(line);
    assertEquals(0, cli.status(), cli.err());
    return Json.parseObject(cli.out());
  }

  @Test
  void sliceEndsAtTheTwoNetworksAndGoesOnWhereItStopped() throws IOException {
    Path csv = folder.resolve("line.csv");
    String line =
        "slice --from " + small + " --to " + large + " --range 0,1 --points 5 --json --out " + csv;
    JsonObject slice = json(line);
    List<?> points = slice.getList("points");
    assertEquals(5, points.size());
    for (Path run : List.of(small, large)) {
      JsonObject end = (JsonObject) points.get(run == small ? 0 : 4);
      JsonObject summary = Json.readObject(run.resolve("summary.json"));
      // Its running statistics are those of the last updates, these are recomputed.
      assertEquals(summary.getDouble("train_accuracy"), end.getDouble("train_accuracy"), 0.1);
      assertEquals(summary.getDouble("test_accuracy"), end.getDouble("test_accuracy"), 0.1);
    }
    List<String> lines = Files.readAllLines(csv);
    assertEquals(6, lines.size());
    Files.write(csv, lines.subList(0, 3));
    assertEquals(points, json(line).getList("points"));
    assertEquals(lines, Files.readAllLines(csv));
    assertTrue(Files.readString(folder.resolve("line-loss.svg")).contains("<path d=\"M"));
    Cli other = Cli.line(line + " --path arc");
    assertEquals(2, other.status());
    assertTrue(
        other.err().contains("[results] needs a new file, or one of the same analysis"),
        other.err());
  }

  @Test
  void arcAndLineShareTheirEnds() {
    JsonObject line =
        json(
            "slice --from "
                + small
                + " --to "
                + large
                + " --range 0,1 --points 3 --samples 200 --json --out "
                + folder.resolve("a.csv"));
    JsonObject arc =
        json(
            "slice --from "
                + small
                + " --to "
                + large
                + " --range 0,1 --points 3 --samples 200 --path arc --json --out "
                + folder.resolve("b.csv"));
    JsonObject middleOfLine = (JsonObject) line.getList("points").get(1);
    JsonObject middleOfArc = (JsonObject) arc.getList("points").get(1);
    assertEquals(line.getList("points").get(0), arc.getList("points").get(0));
    assertTrue(middleOfLine.getDouble("train_loss") != middleOfArc.getDouble("train_loss"));
  }

  private static double number(Object point, String name) {
    return ((JsonObject) point).getDouble(name);
  }

  @Test
  void anEigenvectorsSliceHasTheHessiansFigures() throws IOException {
    Path csv = folder.resolve("eigenvector.csv");
    String common = " --run " + large + " --samples 300 --seed 3 --json";
    JsonObject hessian = json("hessian --top 2 --bottom 0 --steps 60" + common);
    String line = "slice --along eigenvector:2 --epsilon 3e-4 --points 4 --out " + csv + common;
    JsonObject slice = json(line);
    JsonObject direction = slice.getObject("direction");
    double value = number(hessian.getList("largest").get(1), "value");
    assertEquals(value, direction.getDouble("eigenvalue"), 1e-2 * value);
    // Four points have none at 0, which comes to them.
    List<?> points = slice.getList("points");
    assertEquals(5, points.size());
    assertEquals(0, number(points.get(2), "t"));
    assertEquals(hessian.getDouble("train_loss"), number(points.get(2), "train_loss"), 1e-12);
    double step = direction.getDouble("step");
    double even =
        number(points.get(0), "train_loss")
            + number(points.get(4), "train_loss")
            - 2 * number(points.get(2), "train_loss");
    assertEquals(value, even / step / step, 0.3 * value);
    double odd = number(points.get(4), "train_loss") - number(points.get(0), "train_loss");
    assertTrue(odd > 0, "uphill");
    JsonObject asymmetry = slice.getObject("asymmetry");
    assertEquals(1, asymmetry.getDouble("reach"));
    assertEquals(odd / even, asymmetry.getDouble("at_reach"), 1e-12);
    assertEquals(odd / even, number(points.get(4), "asymmetry"), 1e-12);
    assertTrue(((JsonObject) points.get(2)).isNull("asymmetry"));
    assertEquals("running", slice.getString("bn"));
    List<String> lines = Files.readAllLines(csv);
    Path kept = folder.resolve("eigenvector-direction.safetensors");
    for (boolean again : new boolean[] {false, true}) {
      Files.write(csv, lines.subList(0, 3));
      if (again) {
        Files.delete(kept);
      }
      assertEquals(slice, json(line), "found again: " + again);
      assertEquals(lines, Files.readAllLines(csv));
    }
    Cli text = Cli.line(line.replace(" --json", ""));
    assertTrue(text.out().contains("eigenvector 2 of the Hessian, eigenvalue"), text.out());
    assertTrue(text.out().contains("asymmetry") && text.out().contains("doubled"), text.out());
  }

  @Test
  void towardsTheSharpestPointTheLossIsThatOfTheSearch() {
    String common = " --run " + large + " --samples 300 --epsilon 2e-3 --json";
    JsonObject slice =
        json("slice --along sharpness --points 3 --out " + folder.resolve("s.csv") + common);
    JsonObject found =
        (JsonObject) json("sharpness --restarts 1" + common).getList("sharpness").get(0);
    double sharpness = found.getObject("strong").getDouble("sharpness");
    assertEquals(sharpness, slice.getObject("direction").getDouble("sharpness"));
    double at = number(slice.getList("points").get(1), "train_loss");
    double top = number(slice.getList("points").get(2), "train_loss");
    assertEquals(sharpness, 100 * (top - at) / (1 + at), 1e-4 * sharpness);
    // One side of it alone has no asymmetry.
    JsonObject side =
        json(
            "slice --along sharpness --range 0,1 --points 2 --out "
                + folder.resolve("side.csv")
                + common);
    assertTrue(side.isNull("asymmetry"));
    assertEquals(top, number(side.getList("points").get(1), "train_loss"));
  }

  @Test
  void aRandomSliceIsTheFirstLineOfASurface() throws IOException {
    String common = " --run " + large + " --samples 200 --range -0.5,0.5 --seed 5 --json --out ";
    JsonObject slice =
        json("slice --along random --bn recomputed --points 3" + common + folder.resolve("r.csv"));
    Path csv = folder.resolve("one.csv");
    JsonObject line = json("surface --dimensions 1 --test --points 3" + common + csv);
    List<String> rows = Files.readAllLines(csv);
    assertEquals("a,train_loss,train_accuracy,test_loss,test_accuracy", rows.get(0));
    for (int i = 0; i < 3; i++) {
      Object point = slice.getList("points").get(i);
      assertEquals(
          List.of(number(point, "train_loss"), number(point, "test_loss")),
          List.of(
              Double.parseDouble(rows.get(1 + i).split(",")[1]),
              Double.parseDouble(rows.get(1 + i).split(",")[3])));
    }
    assertTrue(line.isNull("cosine"));
    assertEquals(2, line.getList("pictures").size());
    assertEquals(0, number(line.get("least"), "a"));
    JsonObject frozen =
        json("slice --along random --points 3" + common + folder.resolve("frozen.csv"));
    assertTrue(
        number(frozen.getList("points").get(0), "train_loss")
            != number(slice.getList("points").get(0), "train_loss"));
  }

  @Test
  void aSurfaceThatWasKilledGoesOnToTheSameFile() throws Exception {
    String line = "surface --run " + small + " --samples 100 --points 9 --json --out ";
    Path whole = folder.resolve("whole.csv");
    JsonObject surface = json(line + whole);
    Path killed = folder.resolve("killed.csv");
    try (Fork fork = Fork.ghostbatch(folder, List.of((line + killed).split(" ")))) {
      while (fork.running() && (Files.notExists(killed) || Files.size(killed) < 400)) {
        Thread.sleep(2);
      }
    }
    int done = Files.readAllLines(killed).size();
    assertTrue(done > 2 && done < 82, () -> done + " lines when it was killed");
    JsonObject again = json(line + killed);
    assertEquals(Files.readString(whole), Files.readString(killed));
    assertEquals(surface.getObject("least"), again.getObject("least"));
    assertEquals(
        Files.readString(folder.resolve("whole-loss.svg")),
        Files.readString(folder.resolve("killed-loss.svg")));
    assertTrue(Math.abs(surface.getDouble("cosine")) < 0.1 && surface.getDouble("cosine") != 0);
    List<String> rows = Files.readAllLines(whole);
    assertEquals("a,b,train_loss,train_accuracy", rows.get(0));
    assertTrue(rows.get(1).startsWith("-1.0,-1.0,") && rows.get(2).startsWith("-0.75,-1.0,"));
    Cli threads = Cli.line(line + folder.resolve("one-thread.csv") + " --threads 1");
    assertEquals(0, threads.status(), threads.err());
    assertEquals(rows, Files.readAllLines(folder.resolve("one-thread.csv")));
    Cli text = Cli.line((line + killed).replace(" --json", ""));
    assertTrue(text.out().contains("9 x 9 points"), text.out());
    assertTrue(text.out().contains("cosine of the two directions"), text.out());
    Cli other = Cli.line(line + killed + " --seed 2");
    assertEquals(2, other.status(), other.err());
  }

  @Test
  void hessianTellsGradientEigenvaluesTraceAndDensity() throws IOException {
    Path csv = folder.resolve("density.csv");
    String line =
        "hessian --run "
            + large
            + " --top 2 --bottom 1 --trace --density --probes 2 --steps 12 --tolerance 0.05"
            + " --samples 200 --json --out "
            + csv;
    JsonObject first = json(line);
    List<?> largest = first.getList("largest");
    double top = ((JsonObject) largest.get(0)).getDouble("value");
    assertTrue(top > ((JsonObject) largest.get(1)).getDouble("value"));
    assertTrue(((JsonObject) first.getList("smallest").get(0)).getDouble("value") < top);
    assertTrue(first.getDouble("gradient_norm") > 0 && first.getDouble("error") < 0.5);
    assertEquals(200, first.getLong("samples"));
    double share = first.getDouble("negative_share");
    assertTrue(share > 0 && share < 1);
    List<String> lines = Files.readAllLines(csv);
    assertEquals(25, lines.size());
    Files.write(csv, lines.subList(0, 13)); // of the first probe
    assertEquals(share, json(line).getDouble("negative_share"));
    assertEquals(lines, Files.readAllLines(csv));
    Cli text = Cli.line(line.replace(" --json", ""));
    assertTrue(
        text.out().contains("largest 2") && text.out().contains("of the eigenvalues are negative"),
        text.out());
  }

  @Test
  void sharpnessTellsBothSearchesAndWhatIsAround() {
    JsonObject found =
        json(
            "sharpness --run "
                + large
                + " --epsilon 1e-3,5e-4 --restarts 0 --samples 200 --rescaled --relative --json");
    List<?> rows = found.getList("sharpness");
    assertEquals(6, rows.size());
    for (int i = 0; i < 6; i += 2) {
      JsonObject large = (JsonObject) rows.get(i);
      JsonObject half = (JsonObject) rows.get(i + 1);
      double strong = large.getObject("strong").getDouble("sharpness");
      assertTrue(strong > half.getObject("strong").getDouble("sharpness"));
      assertTrue(strong >= large.getDouble("corner") && large.getBoolean("checked"));
      assertTrue(strong >= 0.8 * large.getObject("published").getDouble("sharpness"));
      assertTrue(large.getObject("published").getLong("gradients") <= 15);
    }
    assertEquals("relative box", ((JsonObject) rows.get(4)).getString("box"));
    JsonObject random =
        json(
            "sharpness --run "
                + large
                + " --epsilon 1e-3 --subspace 20 --restarts 0 --samples 200 --bn batch --json");
    assertEquals(20, random.getLong("subspace"));
    double inSubspace =
        ((JsonObject) random.getList("sharpness").get(0))
            .getObject("strong")
            .getDouble("sharpness");
    double inAll = ((JsonObject) rows.get(0)).getObject("strong").getDouble("sharpness");
    assertTrue(inSubspace > 0 && inSubspace < inAll);
    Cli text = Cli.line("sharpness --run " + large + " --epsilon 1e-3 --restarts 0 --samples 100");
    assertTrue(text.out().contains("strong search") && text.out().contains("after"), text.out());
  }

  @Test
  void curvesCompareRunsWithTheFirst() {
    JsonObject found = json("curves " + small + " " + large + " --json");
    JsonObject first = (JsonObject) found.getList("runs").get(0);
    JsonObject second = (JsonObject) found.getList("runs").get(1);
    assertEquals(1, first.getDouble("ratio_to_first"));
    double distance = Json.readObject(large.resolve("summary.json")).getDouble("weight_distance");
    assertEquals(distance, second.getDouble("weight_distance"), 1e-6);
    assertEquals(
        distance / first.getDouble("weight_distance"), second.getDouble("ratio_to_first"), 1e-6);
    assertTrue(List.of("log", "sqrt", "power").contains(second.getString("law")));
    Cli text = Cli.line("curves " + small + " " + large);
    assertTrue(text.out().contains("over-fitting") && text.out().contains("AIC"), text.out());
  }

  @Test
  void badFlagsAreBadUsage() {
    for (String flags :
        List.of(
            "slice --from " + small + " --to " + large + " --path curve",
            "slice --from " + small + " --to " + large + " --range 2,1",
            "slice --from " + small,
            "slice --run " + small,
            "slice --along random",
            "slice --run " + small + " --along random --from " + small + " --to " + large,
            "slice --run " + small + " --along random --path line",
            "slice --run " + small + " --along random --epsilon 1e-3",
            "slice --run " + small + " --along eigenvector --epsilon 0",
            "slice --run " + small + " --along eigenvector:0",
            "slice --run " + small + " --along eigenvector:60",
            "slice --run " + small + " --along eigenvector:one",
            "slice --run " + small + " --along sharpness:2",
            "slice --run " + small + " --along gradient",
            "slice --run " + small + " --along random --bn moving",
            "slice --from " + small + " --to " + large + " --bn running",
            "slice --from " + small + " --to " + large + " --epsilon 1e-3",
            "surface --run " + small + " --points 1",
            "surface --run " + small + " --points 100000",
            "surface --run " + small + " --range 1,1",
            "surface --run " + small + " --range 0,Infinity",
            "surface --run " + small + " --dimensions 3",
            "surface --run " + small + " --bn none",
            "surface",
            "sharpness --run " + small + " --subspace none",
            "sharpness --run " + small + " --subspace 2000",
            "sharpness --run " + small + " --epsilon 0",
            "sharpness --run " + small + " --restarts -1",
            "hessian --run " + small + " --bn moving",
            "hessian --run " + small + " --top 70",
            "hessian --run " + small + " --samples -1",
            "curves",
            "hessian")) {
      Cli cli = Cli.line(flags);
      assertEquals(2, cli.status(), flags + ": " + cli.err());
    }
    Cli none = Cli.line("hessian --run " + folder.resolve("none"));
    assertEquals(1, none.status());
    assertTrue(none.err().contains("none"), none.err());
  }
}
