package org.ghostbatch.fuzz;

import static org.junit.jupiter.api.Assertions.assertTrue;

import com.code_intelligence.jazzer.junit.DictionaryEntries;
import com.code_intelligence.jazzer.junit.FuzzTest;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.study.Study;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Any bytes as the file of a study; one that is read can be scaled and changed, or says why not.
 */
class StudyFuzzTest {
  private final Path file = Reading.file(Reading.folder(), "study.json");

  static Stream<byte[]> valid() throws IOException {
    try (InputStream in = Study.class.getResourceAsStream("gap-quick.json")) {
      return Stream.of(in.readAllBytes());
    }
  }

  @MethodSource("valid")
  @DictionaryEntries({
    "\"first_seed\":1,\"seeds\":2",
    "\"arms\":[",
    "{\"name\":\"a\",\"about\":\"\",\"spec\":{}}",
    "9223372036854775807",
    "\"test_every_epoch\":true"
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
    var read = Reading.of(content.length, 256, () -> Study.read(file));
    read.ifPresent(
        study ->
            Reading.of(
                content.length,
                1024,
                () -> study.scaled(0.5).with(new JsonObject().put("train_samples", 10))));
    return read.isPresent();
  }
}
