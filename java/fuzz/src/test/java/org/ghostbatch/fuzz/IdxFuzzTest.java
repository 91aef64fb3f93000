package org.ghostbatch.fuzz;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.code_intelligence.jazzer.junit.FuzzTest;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Mnist;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Any bytes as a pair of IDX files: the first byte is the length of the labels' file, which
 * follows; the rest is the images' file. What is read spells the files again, byte by byte.
 */
class IdxFuzzTest {
  private final Path folder = Reading.folder();
  private final Path images = Reading.file(folder, "train-images-idx3-ubyte");
  private final Path labels = Reading.file(folder, "train-labels-idx1-ubyte");

  IdxFuzzTest() throws IOException {
    for (String kind : new String[] {"images-idx3-ubyte", "labels-idx1-ubyte"}) {
      Path test = Reading.file(folder, "t10k-" + kind);
      Files.createSymbolicLink(test, Path.of("train-" + kind));
    }
  }

  static Stream<byte[]> valid() {
    byte[] two =
        ByteBuffer.allocate(1 + 10 + 16 + 12)
            .put((byte) 10)
            .putInt(0x801)
            .putInt(2)
            .put((byte) 0)
            .put((byte) 9)
            .putInt(0x803)
            .putInt(2)
            .putInt(2)
            .putInt(3)
            .array();
    return Stream.of(two);
  }

  @MethodSource("valid")
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
    int split = Math.min(input.length, 1 + (input[0] & 0xFF));
    byte[] labelBytes = Arrays.copyOfRange(input, 1, split);
    byte[] imageBytes = Arrays.copyOfRange(input, split, input.length);
    Reading.write(labels, labelBytes);
    Reading.write(images, imageBytes);
    var read = Reading.of(input.length, 64, () -> Mnist.load(folder));
    read.ifPresent(
        pair -> {
          assertArrayEquals(imageBytes, images(pair.train()));
          assertArrayEquals(labelBytes, labels(pair.train()));
        });
    return read.isPresent();
  }

  static byte[] images(Dataset data) {
    ByteBuffer bytes = ByteBuffer.allocate(16 + data.count() * data.sampleBytes());
    bytes.putInt(0x803).putInt(data.count());
    bytes.putInt(data.shape().height()).putInt(data.shape().width());
    data.read(IntStream.range(0, data.count()).toArray(), 0, data.count(), bytes);
    assertEquals(0, bytes.remaining());
    return bytes.array();
  }

  static byte[] labels(Dataset data) {
    ByteBuffer bytes = ByteBuffer.allocate(8 + data.count());
    bytes.putInt(0x801).putInt(data.count());
    for (int i = 0; i < data.count(); i++) {
      bytes.put((byte) data.label(i));
    }
    return bytes.array();
  }
}
