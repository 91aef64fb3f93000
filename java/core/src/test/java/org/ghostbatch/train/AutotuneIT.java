package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.ConvolutionSpec;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.NativeException;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Runs on {@code cuda,autotune}: what was timed is in the run folder, and is never timed again. One
 * JVM after another has engines of cuDNN that differ in bits, each time with another that is the
 * fastest.
 */
class AutotuneIT {
  private static final String ENGINES = "GHOSTBATCH_FAKE_ENGINES";

  @TempDir Path folder;

  @Test
  void whatWasTimedIsNotTimedAgain() throws Exception {
    Path natives = folder.resolve("natives");
    Path runs = Files.createDirectories(folder.resolve("runs"));
    Map<String, String> second = Map.of(ENGINES, "1=3e-5,2=1e-5");
    Map<String, String> first = Map.of(ENGINES, "1=1e-6,2=1e-5");
    Map<String, String> elsewhere =
        Map.of(ENGINES, "1=1e-6,2=1e-5", "GHOSTBATCH_FAKE_GPU", "other");
    CudaOnHost.run(natives, second, Program.class, "begin", runs.toString());
    CudaOnHost.run(natives, first, Program.class, "go on", runs.toString());
    CudaOnHost.run(natives, elsewhere, Program.class, "elsewhere", runs.toString());
  }

  /** What those JVMs run. */
  public static final class Program {
    private static final Dataset TRAIN = TinyData.of(96, 1);
    private static final Dataset TEST = TinyData.of(24, 2);

    private final Path runs;
    private final Device device;

    private Program(Path runs, Device device) {
      this.runs = runs;
      this.device = device;
    }

    public static void main(String[] arguments) {
      try (Device device = Device.of("cuda,autotune", 2)) {
        Program program = new Program(Path.of(arguments[1]), device);
        switch (arguments[0]) {
          case "begin" -> program.begin();
          case "go on" -> program.goOn();
          default -> program.elsewhere();
        }
      }
    }

    private static Trainer.Builder builder() {
      return Trainer.of(TinyData.convolutional())
          .batchSize(24)
          .ghostBatchSize(8)
          .learningRate(0.05)
          .epochs(3)
          .checkpointEvery(CheckpointInterval.updates(3));
    }

    private static Trainer.Builder builder(RunFolder run) {
      return Trainer.of(TinyData.convolutional(), run.spec())
          .listener(run)
          .checkpoint(run.checkpoint())
          .kernelChoices(run.kernelChoices());
    }

    private History train(Path folder, Trainer.Builder builder) {
      try (RunFolder run = RunFolder.create(folder);
          Trainer trainer = builder.listener(run).on(device)) {
        return trainer.fit(TRAIN, TEST);
      }
    }

    private static JsonObject resolved(Path folder) {
      return Json.readObject(RunFolder.configFile(folder)).getObject(TrainingSpec.RESOLVED);
    }

    private static String choices(Path folder) {
      return RunFolder.kernelChoices(Json.readObject(RunFolder.configFile(folder)));
    }

    /** Makes a kernel that no network of these runs has: another choice. */
    private void makeAnother(int filters) {
      device.convolution(ConvolutionSpec.of(2, 6, 6, 3, filters, 3), false).close();
    }

    private static TrainingListener at(long update, Runnable then) {
      return new TrainingListener() {
        @Override
        public void onUpdate(Trainer trainer) {
          if (trainer.updates() == update) {
            then.run();
          }
        }
      };
    }

    private static void assertSame(Path expected, Path actual) {
      try {
        assertEquals(-1, Files.mismatch(RunFolder.model(expected), RunFolder.model(actual)));
        assertEquals(
            resolved(expected).getObject("kernels"), resolved(actual).getObject("kernels"));
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }

    private void begin() {
      Path whole = runs.resolve("whole");
      train(whole, builder());
      List<?> lines = resolved(whole).getList("kernel_choices");
      assertEquals("the host, 1 multiprocessor, cuDNN 9.19.0", lines.get(0));
      assertTrue(lines.size() > 6, lines.toString());
      for (Object line : lines.subList(1, lines.size())) {
        assertTrue(line.toString().endsWith(" -> engine 2 3=2"), line.toString());
      }
      assertEquals(device.kernelChoices(), choices(whole));
      String kernels = resolved(whole).getObject("kernels").toString();
      assertTrue(kernels.contains("cudnn engine 2 | cudnn engine 2 | cudnn engine 2"), kernels);

      interrupted("stopped");
      interrupted("from its checkpoint");
      interrupted("lost");
      keepsWhatComesLater();
    }

    /** A run that stops after a checkpoint. */
    private void interrupted(String name) {
      Trainer[] made = new Trainer[1];
      try (RunFolder run = RunFolder.create(runs.resolve(name));
          Trainer trainer =
              builder().listener(run).listener(at(7, () -> made[0].stop())).on(device)) {
        made[0] = trainer;
        assertTrue(trainer.fit(TRAIN, TEST).stopped());
      }
    }

    private void keepsWhatComesLater() {
      Path folder = runs.resolve("later");
      Path config = RunFolder.configFile(folder);
      Path checkpoints = folder.resolve(RunFolder.CHECKPOINTS);
      long[] files = new long[2];
      TrainingListener last =
          new TrainingListener() {
            @Override
            public void onEnd(Trainer trainer, History history) {
              makeAnother(7);
            }
          };
      train(
          folder,
          builder()
              .listener(
                  at(
                      2,
                      () -> {
                        makeAnother(5);
                        assertFalse(choices(folder).contains("weights=[5,3,3,3]"));
                      }))
              .listener(
                  at(
                      4,
                      () -> {
                        assertTrue(choices(folder).contains("weights=[5,3,3,3]"));
                        // A checkpoint that cannot have its choices saved is none.
                        makeAnother(6);
                        files[0] = newest(checkpoints);
                        obstruct(config);
                      }))
              .listener(
                  at(
                      7,
                      () -> {
                        files[1] = newest(checkpoints);
                        clear(config);
                      }))
              .listener(
                  at(
                      10,
                      () -> {
                        assertEquals(9, newest(checkpoints));
                        assertTrue(choices(folder).contains("weights=[6,3,3,3]"));
                      }))
              .listener(last));
      assertEquals(3, files[0]);
      assertEquals(3, files[1]);
      assertTrue(choices(folder).contains("weights=[6,3,3,3]"));
      assertTrue(choices(folder).contains("weights=[7,3,3,3]"));
      assertEquals(device.kernelChoices(), choices(folder));
    }

    private static long newest(Path checkpoints) {
      return Checkpoint.updatesOf(Checkpoint.files(checkpoints).get(0));
    }

    /** Nothing can be moved to where a folder with files is. */
    private static void obstruct(Path file) {
      try {
        Files.delete(file);
        Files.createDirectories(file.resolve("in the way"));
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }

    private static void clear(Path file) {
      try {
        Files.delete(file.resolve("in the way"));
        Files.delete(file);
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }

    private void goOn() {
      Path whole = runs.resolve("whole");
      Path stopped = runs.resolve("stopped");
      String before = choices(whole);
      resume(stopped);
      assertSame(whole, stopped);
      assertEquals(choices(stopped), device.kernelChoices());

      // Its config repeats it; a device of its own, as this one knows by now.
      try (Device fresh = Device.of("cuda,autotune", 1)) {
        Path again = runs.resolve("again");
        new Program(runs, fresh).train(again, builder().kernelChoices(before));
        assertSame(whole, again);
        assertEquals(before, choices(again));
      }
      // A checkpoint alone has what it needs.
      try (Device fresh = Device.of("cuda,autotune", 1);
          RunFolder run = RunFolder.resume(runs.resolve("from its checkpoint"));
          Trainer trainer = builder(run).kernelChoices("").on(fresh)) {
        trainer.fit(TRAIN, TEST);
        assertSame(whole, run.path());
      }
      // So does a folder without any.
      try (Device fresh = Device.of("cuda,autotune", 1)) {
        Path lost = runs.resolve("lost");
        Checkpoint.files(lost.resolve(RunFolder.CHECKPOINTS))
            .forEach(file -> file.toFile().delete());
        new Program(runs, fresh).resume(lost);
        assertSame(whole, lost);
      }
      // What timing would say here, and what that does to the bits.
      try (Device fresh = Device.of("cuda,autotune", 1)) {
        Path other = runs.resolve("other");
        new Program(runs, fresh).train(other, builder());
        String kernels = resolved(other).getObject("kernels").toString();
        assertTrue(kernels.contains("cudnn engine 1 | cudnn engine 1 | cudnn engine 1"), kernels);
        assertTrue(
            assertThrows(NativeException.class, () -> fresh.useKernelChoices(before))
                .getMessage()
                .contains("as was chosen before"));
        try (Trainer expected = trained(device);
            Trainer actual = trained(fresh)) {
          assertFalse(Arrays.equals(expected.model().parameters(), actual.model().parameters()));
        }
      }
    }

    private static Trainer trained(Device device) {
      Trainer trainer = builder().on(device);
      trainer.fit(TRAIN, TEST);
      return trainer;
    }

    private void resume(Path folder) {
      try (RunFolder run = RunFolder.resume(folder);
          Trainer trainer = builder(run).on(device)) {
        assertFalse(trainer.fit(TRAIN, TEST).stopped());
      }
    }

    private void elsewhere() {
      Path again = runs.resolve("again");
      try (RunFolder run = RunFolder.resume(again);
          Trainer trainer = builder(run).on(device)) {
        NativeException refused = assertThrows(NativeException.class, () -> trainer.prepare(TRAIN));
        assertTrue(
            refused.getMessage().contains("kernel choices of other, cuDNN 9.19.0, got the host,"),
            refused.getMessage());
      }
    }
  }
}
