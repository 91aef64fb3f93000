package org.ghostbatch.fuzz;

import static org.junit.jupiter.api.Assertions.assertTrue;

import com.code_intelligence.jazzer.junit.DictionaryEntries;
import com.code_intelligence.jazzer.junit.FuzzTest;
import java.nio.file.Path;
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
    return Tensors.valid().map(Tensors::headerOf);
  }

  @MethodSource("valid")
  @DictionaryEntries({
    "\"dtype\":\"F64\"",
    "\"F32\"",
    "\"BF16\"",
    "\"F16\"",
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
    byte[] content = Tensors.withHeader(input);
    Reading.write(file, content);
    return Tensors.accepts(file, content.length);
  }
}
