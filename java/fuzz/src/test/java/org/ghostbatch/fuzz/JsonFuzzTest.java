package org.ghostbatch.fuzz;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.code_intelligence.jazzer.junit.FuzzTest;
import java.nio.charset.StandardCharsets;
import java.util.stream.Stream;
import org.ghostbatch.io.Json;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Any bytes as JSON; what is read is the same after writing it. */
class JsonFuzzTest {
  /** Wraps the value, since null is one. */
  private record Parsed(Object value) {}

  static Stream<byte[]> valid() {
    return Stream.of(
            "null",
            "{\"a\": [1, -2.5e-3, true, false, null], \"b\": {\"\\u00e9\\n\": \"\u00e9\"}}",
            "[12345678901234567890, 1E400, [[[]]], {}]")
        .map(text -> text.getBytes(StandardCharsets.UTF_8));
  }

  @MethodSource("valid")
  @FuzzTest
  void reads(byte[] text) {
    accepts(text);
  }

  @ParameterizedTest
  @MethodSource("valid")
  void acceptsWhatIsValid(byte[] text) {
    assertTrue(accepts(text));
  }

  private static boolean accepts(byte[] text) {
    var read = Reading.of(text.length, 64, () -> new Parsed(Json.parse(text)));
    read.ifPresent(
        parsed -> {
          assertEquals(parsed.value(), Json.parse(Json.write(parsed.value())));
          assertEquals(parsed.value(), Json.parse(Json.writeIndented(parsed.value())));
        });
    return read.isPresent();
  }
}
