package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.ghostbatch.ForkedJvm;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.Device;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.nn.Models;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class RunFolderTest {
  private static final Dataset TRAIN = TinyData.of(300, 1);
  private static final Dataset TEST = TinyData.of(100, 2);

  @TempDir Path folder;

  @Test
  void holdsWhatTheContractSays() throws IOException {
    Path path = folder.resolve("runs/first");
    try (Device device = Device.of("cpu", 2);
        RunFolder run = RunFolder.create(path);
        Trainer trainer =
            Trainer.of(Models.lenet(4))
                .batchSize(100)
                .ghostBatchSize(25)
                .epochs(2)
                .listener(run)
                .on(device)) {
      History history = trainer.fit(TRAIN, TEST);
      assertEquals(
          new TreeSet<>(
              List.of(
                  ".lock",
                  "checkpoint",
                  "config.json",
                  "distances.csv",
                  "metrics.csv",
                  "model.safetensors",
                  "summary.json")),
          files(path));

      List<String> metrics = Files.readAllLines(path.resolve("metrics.csv"));
      assertEquals(
          "epoch,updates,samples,batch,learning_rate,train_loss,train_accuracy,test_loss,test_accuracy,"
              + "weight_distance,gradient_norm,images_per_second,seconds",
          metrics.get(0));
      assertEquals(3, metrics.size());
      assertEquals(history.last().csv(), metrics.get(2));
      assertTrue(metrics.get(2).startsWith("2,6,600,100,0.1,"), metrics.get(2));

      List<DistanceRow> distances = RunFolder.distances(path);
      assertEquals(
          List.of(1L, 2L, 3L, 4L, 5L, 6L), distances.stream().map(DistanceRow::updates).toList());
      assertEquals(history.last().weightDistance(), distances.get(5).distance());
      assertTrue(distances.get(0).distance() > 0, distances::toString);

      JsonObject summary = Json.parseObject(Files.readString(path.resolve("summary.json")));
      assertEquals(
          List.of(
              "model",
              "data",
              "backend",
              "device",
              "precision",
              "batch",
              "ghost",
              "micro_batch",
              "seed",
              "threads",
              "epochs",
              "updates",
              "parameters",
              "train_loss",
              "train_accuracy",
              "test_loss",
              "test_accuracy",
              "best_test_accuracy",
              "weight_distance",
              "images_per_second",
              "peak_rss_bytes",
              "seconds"),
          List.copyOf(summary.names()));
      assertEquals("lenet", summary.getString("model"));
      assertEquals(50, summary.getInt("micro_batch"));
      assertEquals(history.train().accuracy(), summary.getDouble("train_accuracy"));
      assertEquals(history.bestTestAccuracy(), summary.getDouble("best_test_accuracy"));
      assertTrue(summary.getLong("peak_rss_bytes") > 1 << 20);

      JsonObject config = Json.parseObject(Files.readString(path.resolve("config.json")));
      assertEquals(trainer.spec(), RunFolder.config(path));
      JsonObject resolved = config.getObject("resolved");
      assertEquals(50, resolved.getInt("micro_batch"));
      assertEquals(TRAIN.fingerprint(), resolved.getString("data_fingerprint"));
      assertEquals(
          trainer.engine().implementation(0), resolved.getObject("kernels").getString("0"));
      assertEquals("", RunFolder.kernelChoices(config));
      resolved.put("kernel_choices", List.of("a GPU", 7));
      assertThrows(IllegalArgumentException.class, () -> RunFolder.kernelChoices(config));

      try (Predictor predictor = Predictor.load(path, device)) {
        assertEquals(history.test().loss(), predictor.evaluate(TEST).loss(), 1e-5);
      }
      assertThrows(IllegalArgumentException.class, () -> RunFolder.create(path), "in use");
    }
    var again = assertThrows(IllegalArgumentException.class, () -> RunFolder.create(path));
    assertTrue(
        again.getMessage().startsWith("[run folder] needs a new folder"), again.getMessage());
  }

  private static TreeSet<String> files(Path path) throws IOException {
    try (var files = Files.list(path)) {
      return files
          .map(file -> file.getFileName().toString())
          .collect(Collectors.toCollection(TreeSet::new));
    }
  }

  @Test
  void theSpecInAFolderRepeatsItsRun() throws IOException {
    byte[][] models = new byte[2][];
    for (int i = 0; i < 2; i++) {
      Path path = folder.resolve("run" + i);
      TrainingSpec spec = i == 0 ? null : RunFolder.config(folder.resolve("run0"));
      try (Device device = Device.of("cpu", 1 + i);
          RunFolder run = RunFolder.create(path);
          Trainer trainer =
              (i == 0
                      ? Trainer.of(Models.lenet(4))
                          .batchSize(80)
                          .ghostBatchSize(24)
                          .epochs(1)
                          .gradientNoise(0.1)
                      : Trainer.of(spec, 4))
                  .listener(run)
                  .on(device)) {
        trainer.fit(TRAIN, TEST);
      }
      models[i] = Files.readAllBytes(RunFolder.model(path));
    }
    assertArrayEquals(models[0], models[1]);
  }

  @Test
  void anInterruptedRunSavesItsLastUpdate() throws IOException {
    Path path = folder.resolve("cut");
    TrainingListener stopper =
        new TrainingListener() {
          @Override
          public void onUpdate(Trainer trainer) {
            if (trainer.updates() == 2) {
              trainer.stop();
            }
          }
        };
    try (Device device = Device.of("cpu", 1);
        RunFolder run = RunFolder.create(path);
        Trainer trainer =
            Trainer.of(TinyData.withoutNorm())
                .batchSize(100)
                .epochs(5)
                .listener(run)
                .listener(stopper)
                .on(device)) {
      trainer.fit(TRAIN, TEST);
      assertEquals(2, Files.readAllLines(path.resolve("metrics.csv")).size());
      JsonObject summary = Json.parseObject(Files.readString(path.resolve("summary.json")));
      assertEquals(2, summary.getInt("updates"));
      assertTrue(summary.isNull("train_accuracy") && summary.isNull("test_accuracy"));
      assertEquals(
          trainer.evaluate(TEST).accuracy(),
          Predictor.load(path, device).evaluate(TEST).accuracy(),
          1e-9);
    }
  }

  /** Tries to open the folder of a run; prints whether it could. */
  public static final class Other {
    public static void main(String[] arguments) {
      try {
        RunFolder.replace(Path.of(arguments[0])).close();
        System.out.println("opened");
      } catch (IllegalArgumentException e) {
        System.out.println(e.getMessage());
      }
    }
  }

  /** On POSIX whoever closes a lock file lets go of the lock that its process has. */
  @Test
  void anAttemptOfItsOwnProcessLeavesAFolderLocked() throws Exception {
    Path path = folder.resolve("run");
    RunFolder run = RunFolder.create(path);
    assertThrows(IllegalArgumentException.class, () -> RunFolder.create(path));
    assertThrows(IllegalArgumentException.class, () -> RunFolder.replace(path));
    String other = ForkedJvm.named("locked").run(60, Other.class, path.toString()).output();
    assertTrue(other.contains("a folder that no other run uses"), other);
    run.close();
    other = ForkedJvm.named("unlocked").run(60, Other.class, path.toString()).output();
    assertTrue(other.contains("opened"), other);
    RunFolder.create(path).close();
  }

  @Test
  void replacingARunRemovesAllButItsLock() throws IOException {
    Path path = folder.resolve("run");
    Files.createDirectories(path.resolve("best/deeper"));
    Files.writeString(path.resolve("best/deeper/file"), "");
    Files.writeString(path.resolve("config.json"), "{");
    RunFolder.replace(path).close();
    assertEquals(new TreeSet<>(List.of(".lock")), files(path));
  }

  @Test
  void filesThatAreNotOfARunStay() throws IOException {
    Path path = folder.resolve("run");
    Path theirs = Files.createDirectories(path.resolve("best")).resolve("thesis.txt");
    Files.writeString(theirs, "");
    assertThrows(IllegalArgumentException.class, () -> RunFolder.create(path));
    Files.delete(theirs);
    Files.delete(theirs.getParent());
    try (Device device = Device.of("cpu", 1);
        RunFolder run = RunFolder.create(path);
        Trainer trainer =
            Trainer.of(TinyData.withoutNorm())
                .batchSize(100)
                .epochs(3)
                .validation(0.1)
                .keepBest(1)
                .listener(run)
                .on(device)) {
      Files.writeString(Files.createDirectories(theirs.getParent()).resolve("thesis.txt"), "");
      trainer.fit(TRAIN, TEST);
    }
    assertTrue(Files.exists(theirs));
    assertEquals(2, files(theirs.getParent()).size());
  }

  @Test
  void distancesAreATenthApart() {
    RunState state = new RunState();
    for (state.updates = 1; state.updates <= 40; state.updates++) {
      if (state.distanceDue()) {
        state.distances.add(new DistanceRow(state.updates, 0.5));
      }
    }
    assertEquals(
        List.of(
            1L, 2L, 3L, 4L, 5L, 6L, 7L, 8L, 9L, 10L, 11L, 12L, 13L, 14L, 15L, 16L, 17L, 18L, 19L,
            20L, 22L, 24L, 26L, 28L, 30L, 33L, 36L, 39L),
        state.distances.stream().map(DistanceRow::updates).toList());
    assertEquals(new DistanceRow(39, 0.5), DistanceRow.parse(state.distances.get(27).csv()));
    for (String text : List.of("1", "1,2,3", "x,1", "1,x")) {
      assertThrows(IllegalArgumentException.class, () -> DistanceRow.parse(text), text);
    }
  }
}
