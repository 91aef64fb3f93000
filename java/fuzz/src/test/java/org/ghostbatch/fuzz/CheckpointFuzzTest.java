package org.ghostbatch.fuzz;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.code_intelligence.jazzer.junit.DictionaryEntries;
import com.code_intelligence.jazzer.junit.FuzzTest;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.Device;
import org.ghostbatch.io.AtomicFiles;
import org.ghostbatch.io.SafeTensors;
import org.ghostbatch.nn.Linear;
import org.ghostbatch.nn.Sequential;
import org.ghostbatch.train.Checkpoint;
import org.ghostbatch.train.CheckpointInterval;
import org.ghostbatch.train.DivergedException;
import org.ghostbatch.train.Trainer;
import org.ghostbatch.train.TrainingListener;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Any texts as the metadata of a checkpoint whose tensors and hash are right, a line each: spec,
 * state, identity, listeners. What is read is the same after writing it, and a run goes on from it
 * to its end, or says why not.
 */
class CheckpointFuzzTest {
  private static final List<String> KEYS = List.of("spec", "state", "identity", "listeners");
  private static final int EPOCHS = 3;
  private static final Dataset DATA =
      Dataset.of(
          new float[] {1, -1, -1, 1, 1, 1, -1, -1, 1, 0},
          new SampleShape(1, 1, 2),
          new int[] {0, 1, 0, 1, 0});
  private static final Device DEVICE = Device.of("cpu", 1);

  /** A run's checkpoints, one after each update. */
  private static final List<Path> TAKEN = train();

  private final Path folder = Reading.folder();

  private static Trainer.Builder trainer() {
    return Trainer.of(Sequential.of(Linear.of(2)))
        .batchSize(2)
        .epochs(EPOCHS)
        .learningRate(0.1)
        .checkpointEvery(CheckpointInterval.updates(1));
  }

  private static List<Path> train() {
    Path folder = Reading.folder();
    List<Path> files = new ArrayList<>();
    TrainingListener keep =
        new TrainingListener() {
          @Override
          public void onCheckpoint(Trainer trainer) {
            files.add(trainer.checkpoint().write(folder));
          }

          @Override
          public String state() {
            return "kept";
          }
        };
    try (Trainer trainer = trainer().listener(keep).on(DEVICE)) {
      trainer.fit(DATA, null);
    }
    files.forEach(file -> file.toFile().deleteOnExit());
    return files;
  }

  static Stream<byte[]> valid() {
    return Stream.of(0, 2, 3, TAKEN.size() - 1)
        .map(
            number -> {
              try (SafeTensors file = SafeTensors.open(TAKEN.get(number))) {
                return String.join("\n", KEYS.stream().map(file.metadata()::get).toList())
                    .getBytes(StandardCharsets.UTF_8);
              }
            });
  }

  @MethodSource("valid")
  @DictionaryEntries({
    "2147483647",
    "9223372036854775807",
    "\"NaN\"",
    "\"Infinity\"",
    "\"epoch\":",
    "\"done\":",
    "1e308"
  })
  @FuzzTest
  void reads(byte[] input) {
    accepts(input);
  }

  @ParameterizedTest
  @MethodSource("valid")
  void acceptsWhatIsValid(byte[] input) {
    assertTrue(accepts(input));
  }

  private boolean accepts(byte[] input) {
    Path file = write(input);
    try {
      var read =
          Reading.of(input.length, 256, () -> Checkpoint.read(file))
              .filter(CheckpointFuzzTest::goesOn);
      read.ifPresent(
          checkpoint -> {
            // The file's name has the hash of its content.
            Path copy = checkpoint.write(folder);
            Checkpoint again = Checkpoint.read(copy);
            assertEquals(copy, again.write(folder));
            assertEquals(checkpoint.spec(), again.spec());
            assertEquals(checkpoint.updates(), again.updates());
            copy.toFile().delete();
          });
      return read.isPresent();
    } finally {
      file.toFile().delete();
    }
  }

  /** Whether a run goes on to its end; if not, it says why. */
  private static boolean goesOn(Checkpoint checkpoint) {
    return Reading.of(
            1 << 20,
            64,
            () -> {
              try (Trainer trainer = trainer().checkpoint(checkpoint).on(DEVICE)) {
                assertEquals(EPOCHS, trainer.fit(DATA, null).epochs().size());
                return true;
              } catch (DivergedException e) {
                throw new IllegalArgumentException(e);
              }
            })
        .isPresent();
  }

  private Path write(byte[] input) {
    String[] lines = new String(input, StandardCharsets.UTF_8).split("\n", -1);
    SafeTensors.Writer writer = SafeTensors.writer().metadata("ghostbatch_checkpoint", "1");
    for (int i = 0; i < Math.min(lines.length, KEYS.size()); i++) {
      writer.metadata(KEYS.get(i), lines[i]);
    }
    try (SafeTensors file = SafeTensors.open(TAKEN.get(0))) {
      for (String name : file.entries().keySet()) {
        float[] values = file.floats(name);
        writer.floats(name, values, values.length);
      }
    }
    return AtomicFiles.writeHashed(folder, "update-000000001-", ".safetensors", writer::writeTo);
  }
}
