package org.ghostbatch.fuzz;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.code_intelligence.jazzer.junit.DictionaryEntries;
import com.code_intelligence.jazzer.junit.FuzzTest;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.ElementType;
import org.ghostbatch.data.Npy;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Any bytes as a pair of NumPy's files: the first byte is the length of the labels' file, which
 * follows; the rest is the features' file. What is read is what the files end with.
 */
class NpyFuzzTest {
  private final Path folder = Reading.folder();
  private final Path features = Reading.file(folder, "train_x.npy");
  private final Path labels = Reading.file(folder, "train_y.npy");

  NpyFuzzTest() throws IOException {
    Files.createSymbolicLink(Reading.file(folder, "test_x.npy"), features.getFileName());
    Files.createSymbolicLink(Reading.file(folder, "test_y.npy"), labels.getFileName());
  }

  static Stream<byte[]> valid() {
    return Stream.of(
        input(file(1, "|u1", "(2, 2, 3)", 12), file(1, "<i8", "(2,)", 16)),
        input(file(2, "<f4", "(1, 1, 1, 2)", 8), file(3, "<u2", "(1, 1)", 2)),
        input(file(1, "<f8", "(3, 1)", 24), file(1, "|i1", "(3, )", 3)));
  }

  private static byte[] file(int version, String type, String shape, int bytes) {
    byte[] header =
        ("{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape + ", }\n")
            .getBytes(StandardCharsets.UTF_8);
    ByteBuffer file =
        ByteBuffer.allocate(8 + (version == 1 ? 2 : 4) + header.length + bytes)
            .order(ByteOrder.LITTLE_ENDIAN)
            .put((byte) 0x93)
            .put("NUMPY".getBytes(StandardCharsets.US_ASCII))
            .put((byte) version)
            .put((byte) 0);
    if (version == 1) {
      file.putShort((short) header.length);
    } else {
      file.putInt(header.length);
    }
    return file.put(header).array();
  }

  private static byte[] input(byte[] features, byte[] labels) {
    return ByteBuffer.allocate(1 + labels.length + features.length)
        .put((byte) labels.length)
        .put(labels)
        .put(features)
        .array();
  }

  @MethodSource("valid")
  @DictionaryEntries({
    "'descr': '<f8'",
    "'<f4'",
    "'|u1'",
    "'<i8'",
    "'<u4'",
    "'shape': (",
    "2147483631",
    "4294967296",
    "9999999999",
    "65535, 65535"
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
    if (input.length == 0) {
      return false;
    }
    int split = Math.min(input.length, 1 + (input[0] & 0xFF));
    byte[] labelBytes = Arrays.copyOfRange(input, 1, split);
    byte[] featureBytes = Arrays.copyOfRange(input, split, input.length);
    Reading.write(labels, labelBytes);
    Reading.write(features, featureBytes);
    // A label may be that of any of 65,536 classes, and each class has a name.
    var read = Reading.of(input.length + 65_536, 256, () -> Npy.load(folder));
    read.ifPresent(pair -> check(featureBytes, pair.train()));
    return read.isPresent();
  }

  private static void check(byte[] file, Dataset data) {
    int values = data.count() * data.shape().elements();
    ByteBuffer read =
        ByteBuffer.allocate(data.count() * data.sampleBytes()).order(ByteOrder.LITTLE_ENDIAN);
    data.read(IntStream.range(0, data.count()).toArray(), 0, data.count(), read);
    assertEquals(0, read.remaining());
    byte[] end = Arrays.copyOfRange(file, file.length - read.capacity(), file.length);
    if (!Arrays.equals(end, read.array())) {
      assertEquals(ElementType.F32, data.type());
      ByteBuffer doubles = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
      for (int i = 0; i < values; i++) {
        double value = doubles.getDouble(file.length - 8 * (values - i));
        assertEquals((float) value, read.getFloat(4 * i));
      }
    }
    for (int i = 0; i < data.count(); i++) {
      assertTrue(data.label(i) >= 0 && data.label(i) < data.classes());
    }
  }
}
