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
