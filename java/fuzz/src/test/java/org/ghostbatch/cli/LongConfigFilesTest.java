package org.ghostbatch.cli;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.ghostbatch.fuzz.Reading;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Long files for --config that repeat what costs most. */
class LongConfigFilesTest {
  private static final int LENGTH = 1 << 18;

  @ParameterizedTest
  @ValueSource(
      strings = {
        "[", "{", "- ", "? ", "&a ", "!!", "a: ", "a:\n ", "[a, ", "*a, ", "\"", "'", "|\n", "#",
        "\t", "\n", "%", "--- \n", "{a: ", "a", "- - \n"
      })
  void areRefusedSoon(String unit) {
    for (String first : new String[] {"", "batch: ", "a: &a [1]\nresolved: ["}) {
      byte[] content =
          (first + unit.repeat(LENGTH / unit.length())).getBytes(StandardCharsets.UTF_8);
      Path file = Reading.file(Reading.folder(), "config.yaml");
      Reading.write(file, content);
      assertTrue(
          Reading.of(
                  content.length,
                  2048,
                  () -> {
                    try {
                      return ConfigFile.read(file).members();
                    } catch (UsageException e) {
                      throw new IllegalArgumentException("[config] needs another, got " + e, e);
                    }
                  })
              .isEmpty());
    }
  }
}
