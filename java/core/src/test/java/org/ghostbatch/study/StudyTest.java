package org.ghostbatch.study;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.train.TrainingSpec;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class StudyTest {
  private static final String TEXT =
      """
      {"name": "mine", "about": "a question", "baseline": "A", "first_seed": 5, "seeds": 2, "test_every_epoch": false,
       "spec": {"model": "lenet", "epochs": 3},
       "arms": [{"name": "A", "about": "one", "spec": {}}, {"name": "B +x", "about": "two", "spec": {"epochs": 9}}]}
      """;

  @Test
  void armsInheritWhatTheyDoNotSay() {
    Study study = Study.parse(Json.parseObject(TEXT));
    assertEquals(List.of(5L, 6L), study.seeds());
    assertEquals(3, study.arms().get(0).settings().getInt("epochs"));
    assertEquals(9, study.arms().get(1).settings().getInt("epochs"));
    assertEquals("lenet", study.arms().get(1).settings().getString("model"));
    assertEquals(List.of(5L, 6L, 7L, 8L), study.withSeeds(4).seeds());
    Study changed = study.with(new JsonObject().put("threads", 1));
    assertTrue(changed.arms().stream().allMatch(arm -> arm.settings().getInt("threads") == 1));
  }

  @Test
  void whatIsWrongIsNamed(@TempDir Path folder) throws Exception {
    assertRefused(
        TEXT.replace("\"baseline\": \"A\"", "\"baseline\": \"C\""), "needs a baseline among");
    assertRefused(TEXT.replace("\"seeds\": 2", "\"seeds\": 0"), "needs 1 to 10000 seeds, got 0");
    assertRefused(TEXT.replace("B +x", "A"), "each arm once");
    assertRefused(TEXT.replace("B +x", "../B"), "names of arms");
    assertRefused(TEXT.replace("\"about\": \"two\"", "\"abuot\": \"two\""), "abuot");
    assertThrows(IllegalArgumentException.class, () -> Study.named("gpa", false));
    Path file = folder.resolve("broken.json");
    Files.writeString(file, "{");
    var error = assertThrows(IllegalArgumentException.class, () -> Study.read(file));
    assertTrue(error.getMessage().contains("broken.json"), error.getMessage());
  }

  private static void assertRefused(String text, String message) {
    var error =
        assertThrows(IllegalArgumentException.class, () -> Study.parse(Json.parseObject(text)));
    assertTrue(error.getMessage().contains(message), error.getMessage());
  }

  /** The files that docs/claims.md tells a person to run. */
  @Test
  void studiesOfTheClaimsAreStudies() throws IOException {
    List<String> names = new ArrayList<>();
    try (Stream<Path> files = Files.list(Path.of("../../benchmarks/claims"))) {
      for (Path file : files.toList()) {
        Study study = Study.read(file);
        assertEquals(study.name() + ".json", file.getFileName().toString());
        study.arms().forEach(arm -> TrainingSpec.builder().set(arm.settings()).build());
        names.add(study.name());
      }
    }
    String page = Files.readString(Path.of("../../docs/claims.md"));
    names.forEach(name -> assertTrue(page.contains("benchmarks/claims/" + name + ".json"), name));
    assertEquals(4, names.size(), names::toString);
  }
}
