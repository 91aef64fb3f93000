package org.ghostbatch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.awt.image.BufferedImage;
import java.io.FileOutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import javax.imageio.ImageIO;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

class StudyCommandTest {
  private static final String STUDY =
      """
      {"name": "small", "about": "a test", "baseline": "SB", "first_seed": 3, "seeds": 2, "test_every_epoch": false,
       "spec": {"model": "softmax", "data": "strokes", "train_samples": 400, "epochs": 2, "schedule": "constant(rate=0.01)"},
       "arms": [{"name": "SB", "about": "small", "spec": {"batch": 50}},
                {"name": "LB", "about": "large", "spec": {"batch": 400}},
                {"name": "growth", "about": "growing", "spec": {"batch": "0:50,1:400"}}]}
      """;

  @TempDir Path folder;

  @Test
  void aStudyLeavesTableAndRunsAndGoesOnWhereItStopped() throws Exception {
    Path file = Files.writeString(folder.resolve("small.json"), STUDY);
    Path out = folder.resolve("out");
    Cli one = Cli.line("study " + file + " --seeds 1 --out " + out);
    assertEquals(0, one.status(), one::err);
    assertTrue(one.out().contains("one seed: no spread known"), one.out());
    assertEquals(4, Files.readAllLines(out.resolve("runs.csv")).size());

    // Another number of seeds is another study: refused on the same folder.
    assertEquals(Main.BAD_USAGE, Cli.line("study " + file + " --out " + out).status());

    Path both = folder.resolve("both");
    Cli two = Cli.line("study " + file + " --out " + both);
    assertEquals(0, two.status(), two::err);
    assertTrue(two.out().contains("LB") && two.out().contains(" ± "), two.out());
    assertTrue(two.out().contains("* under-fitted"), two.out());
    assertEquals(7, Files.readAllLines(both.resolve("runs.csv")).size());
    assertEquals(4, Files.readAllLines(both.resolve("table.csv")).size());
    assertStartsAreShared(both);

    // A run that is missing, and one that was cut short, are done again; the others stay.
    Path kept = both.resolve("SB-seed3/model.safetensors");
    var time = Files.getLastModifiedTime(kept);
    Files.delete(both.resolve("LB-seed4/summary.json"));
    String before = Files.readString(both.resolve("table.csv"));
    Cli again = Cli.line("study " + file + " --out " + both);
    assertEquals(0, again.status(), again::err);
    assertEquals(
        5, again.err().lines().filter(line -> line.endsWith("(done before)")).count(), again.err());
    assertEquals(time, Files.getLastModifiedTime(kept));
    assertEquals(accuracies(before), accuracies(Files.readString(both.resolve("table.csv"))));
  }

  /** Test accuracies by arm: everything but seconds. */
  private static Map<String, String> accuracies(String table) {
    Map<String, String> accuracies = new HashMap<>();
    table
        .lines()
        .skip(1)
        .map(line -> line.split(","))
        .forEach(row -> accuracies.put(row[0], row[2] + " " + row[3]));
    return accuracies;
  }

  private static void assertStartsAreShared(Path out) throws Exception {
    Map<Long, Set<String>> starts = new HashMap<>();
    for (Object item :
        Json.parseObject(Files.readString(out.resolve("study.json"))).getList("results")) {
      JsonObject result = (JsonObject) item;
      starts
          .computeIfAbsent(result.getLong("seed"), seed -> new HashSet<>())
          .add(result.getString("start"));
    }
    assertEquals(Set.of(3L, 4L), starts.keySet());
    starts.values().forEach(fingerprints -> assertEquals(1, fingerprints.size()));
    assertNotEquals(starts.get(3L), starts.get(4L));
  }

  @Test
  void scaleSamplesAndSeedsReachTheRuns() throws Exception {
    Path file = Files.writeString(folder.resolve("small.json"), STUDY);
    Path out = folder.resolve("scaled");
    Cli cli =
        Cli.line(
            "study "
                + file
                + " --seeds 1 --epoch-scale 2 --train-samples 500 --quiet --out "
                + out);
    assertEquals(0, cli.status(), cli::err);
    assertEquals("", cli.err());
    JsonObject config = Json.parseObject(Files.readString(out.resolve("growth-seed3/config.json")));
    assertEquals(4, config.getInt("epochs"));
    assertEquals(500, config.getInt("train_samples"));
    assertEquals("0:50,2:400", config.getString("batch"));
    assertEquals(3, config.getInt("seed"));
  }

  @Test
  void badArmsAreBadUsage() throws Exception {
    Path file =
        Files.writeString(
            folder.resolve("bad.json"), STUDY.replace("\"batch\": 400", "\"bacth\": 400"));
    Cli cli = Cli.line("study " + file + " --out " + folder.resolve("bad"));
    assertEquals(Main.BAD_USAGE, cli.status());
    assertTrue(cli.err().contains("bacth") && cli.err().contains("\"LB\""), cli.err());
    assertFalse(Files.exists(folder.resolve("bad")));
  }

  @Test
  void aSignalKeepsFinishedRuns() throws Exception {
    Path file =
        Files.writeString(
            folder.resolve("long.json"), STUDY.replace("\"epochs\": 2", "\"epochs\": 40"));
    Path out = folder.resolve("stopped");
    List<String> arguments =
        List.of("study", file.toString(), "--out", out.toString(), "--threads", "1");
    int before;
    try (Fork fork = Fork.ghostbatch(folder, arguments)) {
      long begin = System.nanoTime();
      while (!Files.exists(out.resolve("runs.csv"))
          || Files.readAllLines(out.resolve("runs.csv")).size() < 2) {
        assertTrue(fork.running());
        assertTrue(System.nanoTime() - begin < TimeUnit.SECONDS.toNanos(120));
        Thread.sleep(20);
      }
      new ProcessBuilder("kill", "-INT", Long.toString(fork.pid())).inheritIO().start().waitFor();
      assertEquals(130, fork.await(60), fork.err());
      before = Files.readAllLines(out.resolve("runs.csv")).size() - 1;
      assertTrue(before < 6, "the study ended before the signal came");
      assertTrue(fork.err().contains("goes on with the others"), fork.err());
    }
    Cli rest = Cli.line("study " + file + " --out " + out + " --threads 1");
    assertEquals(0, rest.status(), rest::err);
    assertEquals(
        before,
        rest.err().lines().filter(line -> line.endsWith("(done before)")).count(),
        rest.err());
    assertEquals(7, Files.readAllLines(out.resolve("runs.csv")).size());
  }

  @Test
  @DisabledOnOs(OS.WINDOWS)
  void aSignalWhileDataIsLoadedEndsAtOnce() throws Exception {
    Path data = Files.createDirectories(folder.resolve("stalled"));
    Path pipe = data.resolve("train_x.npy");
    new ProcessBuilder("mkfifo", pipe.toString()).start().waitFor();
    // Only the last arm's data does not come: no run is made before all data is there.
    Path file =
        Files.writeString(
            folder.resolve("stalled.json"),
            STUDY.replace(
                "\"batch\": \"0:50,1:400\"",
                "\"batch\": \"0:50,1:400\", \"data\": \"npy:" + data + "\""));
    Path out = folder.resolve("never");
    List<String> arguments = List.of("study", file.toString(), "--out", out.toString());
    try (Fork fork = Fork.ghostbatch(folder, arguments);
        var writer = new FileOutputStream(pipe.toFile())) { // returns once it is being read
      new ProcessBuilder("kill", "-INT", Long.toString(fork.pid())).start().waitFor();
      assertEquals(130, fork.await(20), fork.err());
    }
    assertFalse(Files.exists(out));
  }

  @Test
  void aFinishedStudyNeedsItsDataNoMore() throws Exception {
    Path data = folder.resolve("images");
    for (String half : List.of("train", "test")) {
      for (int i = 0; i < 4; i++) {
        Path image = data.resolve(half + "/" + i % 2 + "/" + i + ".png");
        Files.createDirectories(image.getParent());
        ImageIO.write(new BufferedImage(4, 4, BufferedImage.TYPE_BYTE_GRAY), "png", image.toFile());
      }
    }
    Path file =
        Files.writeString(
            folder.resolve("images.json"),
            STUDY
                .replace("400", "4")
                .replace("50", "2")
                .replace("\"strokes\", \"train_samples\": 4", "\"folder:" + data + "\""));
    Path out = folder.resolve("kept");
    String line = "study " + file + " --seeds 1 --out " + out;
    Cli cli = Cli.line(line);
    assertEquals(0, cli.status(), cli::err);
    String table = Files.readString(out.resolve("table.csv"));
    Files.move(data, folder.resolve("elsewhere"));
    Cli again = Cli.line(line);
    assertEquals(0, again.status(), again::err);
    assertEquals(table, Files.readString(out.resolve("table.csv")));
    // What is absent is told before the first run.
    Path none = folder.resolve("none");
    Cli absent = Cli.line("study " + file + " --seeds 1 --out " + none);
    assertEquals(Main.FAILED, absent.status());
    assertTrue(absent.err().contains(data.toString()), absent.err());
    assertFalse(Files.exists(none));
  }

  @Test
  void aRunThatStopsEarlyCounts() throws Exception {
    Path file =
        Files.writeString(
            folder.resolve("early.json"),
            STUDY.replace(
                "\"epochs\": 2, \"schedule\": \"constant(rate=0.01)\"",
                "\"epochs\": 5, \"schedule\": \"constant(rate=0)\", \"validation\": 0.1, \"early_stop\": 1"));
    Path out = folder.resolve("early");
    String line = "study " + file + " --seeds 1 --train-samples 500 --out " + out;
    Cli cli = Cli.line(line);
    assertEquals(0, cli.status(), cli::err);
    assertEquals(4, Files.readAllLines(out.resolve("runs.csv")).size(), cli::err);
    assertEquals(3, Files.readAllLines(out.resolve("SB-seed3/metrics.csv")).size());
    Cli again = Cli.line(line);
    assertEquals(
        3, again.err().lines().filter(text -> text.endsWith("(done before)")).count(), again::err);
  }
}
