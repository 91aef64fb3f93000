package org.ghostbatch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.code_intelligence.jazzer.junit.DictionaryEntries;
import com.code_intelligence.jazzer.junit.FuzzTest;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.stream.Stream;
import org.ghostbatch.fuzz.Reading;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.optim.BatchSchedule;
import org.ghostbatch.train.TrainingSpec;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Any bytes as the file of --config. What is JSON and accepted has the values of JSON. */
class ConfigFileFuzzTest {
  private final Path file = Reading.file(Reading.folder(), "config.yaml");

  static Stream<byte[]> valid() {
    TrainingSpec spec =
        TrainingSpec.builder()
            .model("lenet")
            .data("strokes")
            .batch(BatchSchedule.constant(8))
            .epochs(1)
            .build();
    return Stream.of(
            Json.writeIndented(spec.toJson()),
            "# yaml\nmodel: lenet\nbatch: &b 128\nghost: *b\nseed: 0x10\nclip: 5e-1\nlr_rule: 'sqrt:128'\n",
            "schedule: >-\n  0:0.1,81:0.01\ninit_from: ~\ndata_dir: \"a\\tb\"\n...\n",
            "{resolved: [[1, .5], {a: b}], ? epochs : 3}")
        .map(text -> text.getBytes(StandardCharsets.UTF_8));
  }

  @MethodSource("valid")
  @DictionaryEntries({
    "&a ",
    "*a",
    "<<: ",
    "!!float ",
    "!!int ",
    ".inf",
    ".nan",
    "- ",
    "? ",
    "|2-\\x0A",
    "%YAML 1.2\\x0A---\\x0A",
    "--- ",
    "{a: *a}"
  })
  @FuzzTest
  void reads(byte[] content) {
    read(content);
  }

  @ParameterizedTest
  @MethodSource("valid")
  void saysWhatIsWrongOrReads(byte[] content) {
    boolean hexadecimal = new String(content, StandardCharsets.UTF_8).contains("0x10");
    assertEquals(!hexadecimal, read(content).isPresent());
  }

  private Optional<JsonObject> read(byte[] content) {
    Reading.write(file, content);
    var read =
        Reading.of(
            content.length,
            2048,
            () -> {
              try {
                return ConfigFile.read(file).members();
              } catch (UsageException e) {
                assertTrue(e.getMessage().startsWith(file.toString()), e.getMessage());
                throw new IllegalArgumentException(
                    "[config] needs " + e.getMessage() + ", got ", e);
              }
            });
    read.ifPresent(members -> compare(content, members));
    return read;
  }

  private static void compare(byte[] content, JsonObject members) {
    JsonObject json;
    try {
      json = Json.parseObject(content);
    } catch (IllegalArgumentException e) {
      return; // YAML, but no JSON
    }
    assertTrue(same(json, members), () -> json + " as JSON, " + members + " as YAML");
  }

  private static boolean same(Object json, Object yaml) {
    if (json instanceof JsonObject a && yaml instanceof JsonObject b) {
      return a.names().equals(b.names())
          && a.names().stream().allMatch(name -> same(a.get(name), b.get(name)));
    }
    if (json instanceof List<?> a && yaml instanceof List<?> b) {
      for (int i = 0; i < Math.min(a.size(), b.size()); i++) {
        if (!same(a.get(i), b.get(i))) {
          return false;
        }
      }
      return a.size() == b.size();
    }
    if (json instanceof Number a && yaml instanceof Number b) {
      return new BigDecimal(a.toString()).compareTo(new BigDecimal(b.toString())) == 0;
    }
    return Objects.equals(json, yaml);
  }
}
