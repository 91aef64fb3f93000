package org.ghostbatch.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.train.MeasureRow;
import org.ghostbatch.train.RunFolder;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code train --measure}: its figures are those of the commands on the finished run. */
class MeasureTest {
  private static final String TRAIN =
      "train --model lenet-small --data strokes --train-samples 400 --batch 100 --seed 3 --threads 2 ";
  private static final String MEASURE = "--measure sharpness@2,hessian@3 --measure-samples 60 ";

  @TempDir private static Path folder;
  private static Path run;
  private static Cli trained;

  @BeforeAll
  static void train() {
    run = folder.resolve("run");
    trained = Cli.line(TRAIN + "--epochs 3 " + MEASURE + "--out " + run);
    assertEquals(0, trained.status(), trained::err);
  }

  private static JsonObject json(String line) {
    Cli cli = Cli.line(line + " --run " + run + " --samples 60 --json");
    assertEquals(0, cli.status(), cli::err);
    return Json.parseObject(cli.out());
  }

  private static double last(String name) {
    List<MeasureRow> rows =
        RunFolder.measures(run).stream().filter(row -> row.name().equals(name)).toList();
    return rows.get(rows.size() - 1).value();
  }

  @Test
  void figuresAreThoseOfTheCommands() {
    JsonObject sharpness =
        (JsonObject) json("sharpness --epsilon 1e-3").getList("sharpness").get(0);
    for (String search : List.of("published", "strong")) {
      assertEquals(
          sharpness.getObject(search).getDouble("sharpness"), last("sharpness_1e-3_" + search));
    }
    JsonObject hessian = json("hessian --trace");
    for (String end : List.of("largest", "smallest")) {
      JsonObject pair = (JsonObject) hessian.getList(end).get(0);
      assertEquals(pair.getDouble("value"), last("hessian_" + end));
      assertTrue(pair.getDouble("residual") <= last("hessian_residual"));
    }
    for (String name : List.of("trace", "trace_error", "error")) {
      assertEquals(hessian.getDouble(name), last("hessian_" + name));
    }
  }

  @Test
  void figuresAreInTheFolderAndOnTheScreen() throws IOException {
    List<String> rows = Files.readAllLines(run.resolve("measures.csv"));
    assertEquals("epoch,updates,name,value", rows.get(0));
    assertEquals(
        List.of(
            "2,8,sharpness_1e-3_published",
            "2,8,sharpness_1e-3_strong",
            "3,12,hessian_error",
            "3,12,hessian_largest",
            "3,12,hessian_residual",
            "3,12,hessian_smallest",
            "3,12,hessian_trace",
            "3,12,hessian_trace_error",
            "3,12,sharpness_1e-3_published",
            "3,12,sharpness_1e-3_strong"),
        rows.stream().skip(1).map(row -> row.replaceFirst(",[^,]*$", "")).toList());
    JsonObject summary = Json.readObject(run.resolve("summary.json")).getObject("measures");
    assertEquals(last("hessian_largest"), summary.getDouble("hessian_largest"));
    assertEquals(8, summary.names().size());
    assertTrue(
        trained
            .err()
            .lines()
            .anyMatch(
                line ->
                    line.matches(
                        "epoch 2/3: sharpness_1e-3_published [0-9.e-]+, sharpness_1e-3_strong [0-9.e-]+")),
        trained.err());
    try (var files = Files.newDirectoryStream(run, "events.out.tfevents.*")) {
      String events =
          new String(Files.readAllBytes(files.iterator().next()), StandardCharsets.ISO_8859_1);
      assertEquals(3, events.split("measure/sharpness_1e-3_strong", -1).length);
    }
    JsonObject config = Json.readObject(run.resolve("config.json"));
    assertEquals("sharpness@2,hessian@3", config.getString("measure"));
    assertEquals(60, config.getInt("measure_samples"));
  }

  @Test
  void configRepeatsItAndMeasuringChangesNothingElse() throws IOException {
    Path again = folder.resolve("again");
    String config = "train --config " + run.resolve("config.json") + " --quiet --out ";
    Cli repeated = Cli.line(config + again + " --threads 1");
    assertEquals(0, repeated.status(), repeated::err);
    Path plain = folder.resolve("plain");
    Cli without = Cli.line(config + plain + " --measure none");
    assertEquals(0, without.status(), without::err);
    assertFalse(Files.exists(plain.resolve("measures.csv")));
    assertEquals(
        Files.readString(run.resolve("measures.csv")),
        Files.readString(again.resolve("measures.csv")));
    for (Path other : List.of(again, plain)) {
      assertArrayEquals(
          Files.readAllBytes(run.resolve("model.safetensors")),
          Files.readAllBytes(other.resolve("model.safetensors")));
      assertEquals(ConfigTest.withoutTimes(run), ConfigTest.withoutTimes(other));
    }
  }

  @Test
  void resumeGoesOnMeasuring() throws IOException {
    Path shorter = folder.resolve("shorter");
    assertEquals(
        0, Cli.line(TRAIN + "--epochs 1 " + MEASURE + "--quiet --out " + shorter).status());
    Cli resumed = Cli.line("train --resume " + shorter + " --epochs 3");
    assertEquals(0, resumed.status(), resumed::err);
    assertEquals(
        Files.readString(run.resolve("measures.csv")),
        Files.readString(shorter.resolve("measures.csv")));
    Cli other = Cli.line("train --resume " + shorter + " --measure hessian");
    assertEquals(2, other.status(), other::err);
  }

  @Test
  void aStudyMeasuresItsArms() throws IOException {
    Path study = folder.resolve("measured.json");
    Files.writeString(
        study,
        """
        {"name": "measured", "about": "one arm", "baseline": "SB", "first_seed": 1, "seeds": 1,
         "test_every_epoch": true,
         "spec": {"model": "softmax", "data": "strokes", "train_samples": 200, "batch": 100,
           "epochs": 1, "measure": "sharpness"},
         "arms": [{"name": "SB", "about": "small batch", "spec": {}}]}
        """);
    Path out = folder.resolve("study");
    Cli cli = Cli.line("study " + study + " --out " + out);
    assertEquals(0, cli.status(), cli::err);
    assertEquals(3, Files.readAllLines(out.resolve("SB-seed1/measures.csv")).size());
  }

  @Test
  void namesThatThereAreNotAreRefusedWithThoseThatThereAre() {
    Cli cli = Cli.line(TRAIN + "--epochs 1 --measure flatness");
    assertEquals(2, cli.status());
    assertTrue(
        cli.err().contains("[measures] needs one of [hessian, noise, sharpness")
            && cli.err().contains("got flatness"),
        cli.err());
  }

  @Test
  void noiseIsThatOfTheUpdates() {
    Path noisy = folder.resolve("noisy");
    String train =
        "train --model lenet-small --data strokes --train-samples 1024 --batch 256 --epochs 10 --ghost 16 --quiet --measure noise@5 --out ";
    Cli cli = Cli.line(train + noisy + " --micro-batch 16");
    assertEquals(0, cli.status(), cli::err);
    List<MeasureRow> rows = RunFolder.measures(noisy);
    assertEquals(
        List.of(5, 5, 5, 10, 10, 10),
        rows.stream().map(MeasureRow::epoch).toList(),
        rows::toString);
    double high = rows.get(3).value();
    double low = rows.get(4).value();
    double scale = rows.get(5).value();
    assertEquals("noise_scale", rows.get(5).name());
    assertTrue(low < scale && !(scale >= high), rows::toString); // of two updates: no upper end
    Cli whole = Cli.line(train + folder.resolve("whole") + " --micro-batch 128");
    assertEquals(2, whole.status());
    assertTrue(whole.err().contains("at least 4 micro-batches"), whole::err);
  }
}
