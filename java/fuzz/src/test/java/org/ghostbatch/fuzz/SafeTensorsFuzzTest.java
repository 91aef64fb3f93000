package org.ghostbatch.fuzz;

import static org.junit.jupiter.api.Assertions.assertTrue;

import com.code_intelligence.jazzer.junit.DictionaryEntries;
import com.code_intelligence.jazzer.junit.FuzzTest;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Any bytes as a safetensors file, all tensors read. */
class SafeTensorsFuzzTest {
  private final Path file = Reading.file(Reading.folder(), "any.safetensors");

  static Stream<byte[]> valid() {
    return Tensors.valid();
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
  void reads(byte[] content) {
    accepts(content);
  }

  @ParameterizedTest
  @MethodSource("valid")
  void acceptsWhatIsValid(byte[] content) {
    assertTrue(accepts(content));
  }

  private boolean accepts(byte[] content) {
    Reading.write(file, content);
    return Tensors.accepts(file, content.length);
  }
}
