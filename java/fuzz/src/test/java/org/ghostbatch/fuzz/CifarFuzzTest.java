package org.ghostbatch.fuzz;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.code_intelligence.jazzer.junit.FuzzTest;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.ghostbatch.data.Cifar;
import org.ghostbatch.data.Dataset;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Any bytes as a file of CIFAR-100 in its binary version: the first byte is the length of the file
 * of names, in multiples of 4, which follows; the rest is the file of records.
 */
class CifarFuzzTest {
  private static final int PLANE = 32 * 32;
  private static final int RECORD = 2 + 3 * PLANE;

  private final Path folder = Reading.folder();
  private final Path records = Reading.file(folder, "train.bin");
  private final Path names = Reading.file(folder, "fine_label_names.txt");

  CifarFuzzTest() throws IOException {
    Files.createSymbolicLink(Reading.file(folder, "test.bin"), records.getFileName());
  }

  static Stream<byte[]> valid() {
    byte[] records = new byte[2 * RECORD];
    for (int i = 0; i < records.length; i++) {
      records[i] = (byte) (i % 97);
    }
    String names = IntStream.range(0, 100).mapToObj(i -> i + "\n").collect(Collectors.joining());
    byte[] named = (names + "\n".repeat(2)).getBytes(StandardCharsets.UTF_8); // 292 bytes
    return Stream.of(
        ByteBuffer.allocate(1 + records.length).put(1, records).array(),
        ByteBuffer.allocate(1 + named.length + RECORD)
            .put((byte) (named.length / 4))
            .put(named)
            .put(records, 0, RECORD)
            .array());
  }

  @MethodSource("valid")
  @FuzzTest
  void reads(byte[] input) throws IOException {
    accepts(input);
  }

  @ParameterizedTest
  @MethodSource("valid")
  void acceptsWhatIsValid(byte[] input) throws IOException {
    assertTrue(accepts(input));
  }

  private boolean accepts(byte[] input) throws IOException {
    if (input.length == 0) {
      return false;
    }
    int split = Math.min(input.length, 1 + 4 * (input[0] & 0xFF));
    byte[] content = Arrays.copyOfRange(input, split, input.length);
    if (split > 1) {
      Reading.write(names, Arrays.copyOfRange(input, 1, split));
    } else {
      Files.deleteIfExists(names);
    }
    Reading.write(records, content);
    var read = Reading.of(input.length, 64, () -> Cifar.load100(folder));
    read.ifPresent(pair -> check(content, pair.train()));
    return read.isPresent();
  }

  private static void check(byte[] content, Dataset data) {
    assertEquals(100, data.classes());
    assertEquals(content.length, data.count() * RECORD);
    ByteBuffer sample = ByteBuffer.allocate(3 * PLANE);
    for (int i = 0; i < data.count(); i++) {
      assertEquals(content[i * RECORD + 1], data.label(i));
      data.read(new int[] {i}, 0, 1, sample.clear());
      for (int value = 0; value < 3 * PLANE; value++) {
        int plane = value % 3;
        int at = i * RECORD + 2 + plane * PLANE + value / 3;
        assertEquals(content[at], sample.get(value));
      }
    }
  }
}
