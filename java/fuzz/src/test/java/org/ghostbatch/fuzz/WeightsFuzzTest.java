package org.ghostbatch.fuzz;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.code_intelligence.jazzer.junit.DictionaryEntries;
import com.code_intelligence.jazzer.junit.FuzzTest;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.io.SafeTensors;
import org.ghostbatch.nn.BatchNorm;
import org.ghostbatch.nn.Conv2d;
import org.ghostbatch.nn.Flatten;
import org.ghostbatch.nn.Linear;
import org.ghostbatch.nn.Network;
import org.ghostbatch.nn.Sequential;
import org.ghostbatch.nn.Weights;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Any text as the header of another program's safetensors file with weights for a small network.
 * The first byte is how many bytes of values follow the header.
 */
class WeightsFuzzTest {
  private static final Network NETWORK =
      Network.of(
          Sequential.of(
              Conv2d.of(1, 1).bias(false),
              BatchNorm.of(),
              Flatten.of(),
              Linear.of(2),
              Linear.of(1)),
          new SampleShape(1, 2, 1));

  private final Path file = Reading.file(Reading.folder(), "weights.safetensors");

  static Stream<byte[]> valid() {
    return Stream.of(
            new String[] {"0", "1", "3", "4"},
            new String[] {"conv1", "bn1", "layer1.0.fc1", "fc"},
            new String[] {"m.10", "m.9", "head", "b.shortcut"})
        .map(WeightsFuzzTest::input);
  }

  private static byte[] input(String... modules) {
    SafeTensors.Writer writer =
        SafeTensors.writer()
            .floats(modules[0] + ".weight", new float[] {1}, 1, 1, 1, 1)
            .floats(modules[1] + ".weight", new float[] {2}, 1)
            .floats(modules[1] + ".bias", new float[] {3}, 1)
            .floats(modules[1] + ".running_mean", new float[] {4}, 1)
            .floats(modules[1] + ".running_var", new float[] {5}, 1)
            .floats(modules[2] + ".weight", new float[] {6, 7, 8, 9}, 2, 2)
            .floats(modules[2] + ".bias", new float[] {10, 11}, 2)
            .floats(modules[3] + ".weight", new float[] {12, 13}, 1, 2)
            .floats(modules[3] + ".bias", new float[] {14}, 1)
            .longs(modules[1] + ".num_batches_tracked", new long[] {15});
    Path file = Reading.file(Reading.folder(), "valid.safetensors");
    writer.write(file);
    return Tensors.headerOf(Reading.bytes(file));
  }

  @MethodSource("valid")
  @DictionaryEntries({".weight", ".bias", "conv", "bn", "stage", "downsample", "00", "F16"})
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
    if (input.length == 0) {
      return false;
    }
    byte[] content = Tensors.withHeader(input);
    Reading.write(file, content);
    var read = Reading.of(content.length, 64, () -> Weights.read(file, NETWORK));
    read.ifPresent(
        weights -> {
          assertEquals(NETWORK.parameterCount(), weights.parameters().length);
          assertEquals(NETWORK.statisticsCount(), weights.statistics().length);
        });
    return read.isPresent();
  }
}
