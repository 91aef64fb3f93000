package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.ghostbatch.ForkedJvm;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.Device;
import org.ghostbatch.optim.BatchRule;
import org.ghostbatch.optim.Schedule;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Processes that train are killed, with SIGKILL, at any moment: while they start, train, save, and
 * end. Options: {@code -Dghostbatch.kills=100} for how many, {@code -Dghostbatch.kills.seed=1}.
 */
class KillTest {
  private static final int INTERVAL = 7;
  private static final int UPDATES = 600;

  @TempDir Path temp;

  /**
   * Trains into a folder, or goes on with what is in it; prints every update, or little: without,
   * its output stays small.
   */
  public static final class Run {
    public static void main(String[] arguments) {
      Path path = Path.of(arguments[0]);
      boolean begun = Files.exists(path.resolve(RunFolder.CONFIG));
      Dataset train = TinyData.of(2000, 1);
      try (Device device = Device.of("cpu", 2);
          RunFolder folder = begun ? RunFolder.resume(path) : RunFolder.create(path);
          Trainer trainer =
              (begun
                      ? Trainer.of(TinyData.convolutional(), folder.spec())
                          .checkpoint(folder.checkpoint())
                      : builder(arguments.length > 1 ? 200 : INTERVAL))
                  .listener(folder)
                  .listener(arguments.length > 1 ? new TrainingListener() {} : new Printer())
                  .on(device)) {
        trainer.prepare(train);
        System.out.println("from " + trainer.updates());
        trainer.fit(train, TinyData.of(100, 2));
        System.out.println("done");
      }
    }

    private static Trainer.Builder builder(int interval) {
      return Trainer.of(TinyData.convolutional())
          .batchSize(96)
          .ghostBatchSize(32)
          .updates(UPDATES)
          .learningRate(new Schedule.Cosine(0.1), BatchRule.none())
          .validation(0.1)
          .keepBest(2)
          .ema(0.95)
          .checkpointEvery(CheckpointInterval.updates(interval));
    }
  }

  private static final class Printer implements TrainingListener {
    @Override
    public void onUpdate(Trainer trainer) {
      System.out.println("update " + trainer.updates());
    }
  }

  @Test
  void aKilledRunLosesAtMostAnInterval() throws Exception {
    int kills = Integer.getInteger("ghostbatch.kills", 5);
    SplittableRandom random = new SplittableRandom(Long.getLong("ghostbatch.kills.seed", 1));
    Path whole = temp.resolve("whole");
    long begin = System.nanoTime();
    assertEquals(0, jvm("whole").run(120, Run.class, whole.toString()).exit());
    long whileMillis = (System.nanoTime() - begin) / 1_000_000;
    List<String> metrics = ResumeTest.untimed(whole);
    byte[] model = Files.readAllBytes(RunFolder.model(whole));
    int amid = 0;
    for (int kill = 0; kill < kills; kill++) {
      Path path = temp.resolve("killed");
      ForkedJvm jvm = jvm("killed");
      Process process = jvm.start(Run.class, path.toString());
      boolean ended = process.waitFor(random.nextLong(whileMillis), TimeUnit.MILLISECONDS);
      process.destroyForcibly().waitFor();
      long last = last(jvm.end(process).output());
      ForkedJvm.End resumed = jvm("resumed").run(120, Run.class, path.toString());
      String what = "kill " + kill + " after update " + last + ": " + resumed;
      assertEquals(0, resumed.exit(), what);
      long from = Long.parseLong(line(resumed.output(), "from "));
      assertTrue(ended || from >= last - INTERVAL, "work is lost: " + what);
      assertTrue(last <= INTERVAL || from > 0, what);
      amid += last > 0 && !ended ? 1 : 0;
      assertArrayEquals(model, Files.readAllBytes(RunFolder.model(path)), what);
      assertEquals(metrics, ResumeTest.untimed(path), what);
      delete(path);
    }
    System.out.println(kills + " kills, " + amid + " of them while updates were made");
    assertTrue(kills < 10 || amid > kills / 4, amid + " of " + kills + " while updates were made");
  }

  /** The disk is full once the first checkpoints are written; then there is room again. */
  @Test
  void aFullDiskCostsCheckpointsButNotTheRun() throws Exception {
    Path whole = temp.resolve("whole");
    assertEquals(0, jvm("roomy").run(120, Run.class, whole.toString()).exit());
    long model = Files.size(RunFolder.model(whole));
    long checkpoint = Files.size(Checkpoint.files(whole.resolve("checkpoint")).get(0));
    assertTrue(checkpoint > 2 * model, "a limit between the two");
    Path path = temp.resolve("full");
    // No file may grow beyond the limit: to the process as a disk that is full.
    ForkedJvm.End full =
        jvm("full")
            .fileSize((checkpoint + model) / 2)
            .run(120, Run.class, path.toString(), "quiet");
    assertEquals(0, full.exit(), full.toString());
    assertTrue(full.output().contains("cannot write"), full.toString());
    assertTrue(full.output().contains("training goes on"), full.toString());
    assertArrayEquals(
        Files.readAllBytes(RunFolder.model(whole)), Files.readAllBytes(RunFolder.model(path)));
    assertEquals(List.of(), Checkpoint.files(path.resolve("checkpoint")));
    try (var files = Files.walk(path)) {
      assertEquals(List.of(), files.filter(f -> f.toString().endsWith(".tmp")).toList());
    }
    // With room for no model either the run fails, and says so.
    ForkedJvm.End none =
        jvm("none")
            .fileSize(model / 2)
            .run(120, Run.class, temp.resolve("none").toString(), "quiet");
    assertEquals(1, none.exit(), none.toString());
    assertTrue(none.output().contains("cannot write"), none.toString());
    assertTrue(none.output().contains("model.safetensors"), none.toString());
  }

  private static ForkedJvm jvm(String name) {
    return ForkedJvm.named("kill-" + name).with("-XX:TieredStopAtLevel=1");
  }

  private static long last(String output) {
    String last = line(output, "update ");
    return last == null ? 0 : Long.parseLong(last);
  }

  /** The rest of the last whole line that begins so. */
  private static String line(String output, String start) {
    String found = null;
    String whole = output.substring(0, output.lastIndexOf('\n') + 1);
    for (String line : whole.split("\n")) {
      found = line.startsWith(start) ? line.substring(start.length()) : found;
    }
    return found;
  }

  private static void delete(Path folder) throws IOException {
    try (var files = Files.walk(folder)) {
      for (Path file : files.sorted((a, b) -> b.compareTo(a)).toList()) {
        Files.delete(file);
      }
    }
  }
}
