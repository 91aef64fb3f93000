package org.ghostbatch.fuzz;

import static org.junit.jupiter.api.Assertions.assertTrue;

import com.code_intelligence.jazzer.junit.DictionaryEntries;
import com.code_intelligence.jazzer.junit.FuzzTest;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Any text as the header of a safetensors file, whose length is right. The first byte is how many
 * bytes of values follow the header.
 */
class SafeTensorsHeaderFuzzTest {
  private final Path file = Reading.file(Reading.folder(), "header.safetensors");

  static Stream<byte[]> valid() {
    return Tensors.valid()
        .map(
            content -> {
              int header = (int) ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN).getLong();
              byte[] input = Arrays.copyOfRange(content, 7, 8 + header);
              input[0] = (byte) (content.length - 8 - header);
              return input;
            });
  }

  @MethodSource("valid")
  @DictionaryEntries({
    "\"dtype\":\"F64\"",
    "\"F32\"",
    "\"BF16\"",
    "\"I64\"",
    "\"U8\"",
    "\"shape\":[",
    "9223372036854775807",
    "\"data_offsets\":[0,",
    "\"__metadata__\":{",
    "2147483648",
    "[0,4294967296,4294967296]"
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
    int values = input[0] & 0xFF;
    byte[] content =
        ByteBuffer.allocate(8 + input.length - 1 + values)
            .order(ByteOrder.LITTLE_ENDIAN)
            .putLong(input.length - 1)
            .put(input, 1, input.length - 1)
            .array();
    Reading.write(file, content);
    return Tensors.accepts(file, content.length);
  }
}
