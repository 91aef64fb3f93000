package org.ghostbatch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code --precision bf16} from training to prediction, and on processors that lack it. */
class PrecisionTest {
  private static final String TRAIN =
      "train --model lenet --data strokes --train-samples 300 --batch 100 --ghost 32 --epochs 2 --lr 0.05"
          + " --precision bf16 ";

  private static final String LINEAR = TRAIN.replace("lenet", "f1");

  @TempDir Path folder;

  private static JsonObject json(Path file) throws IOException {
    return Json.parseObject(Files.readString(file));
  }

  private static boolean hasBf16() {
    try (Device device = Device.of("cpu", 1)) {
      return device.supports(DataType.BF16);
    }
  }

  @Test
  void aRunInBf16IsEvaluatedAndPredictsFromItsFile() throws Exception {
    assumeTrue(hasBf16(), "bf16 needs AVX-512");
    Path run = folder.resolve("run");
    Cli trained = Cli.line(TRAIN + "--out " + run);
    assertEquals(0, trained.status(), trained::err);
    JsonObject summary = json(run.resolve("summary.json"));
    assertEquals("bf16", summary.getString("precision"));
    assertEquals("bf16", json(run.resolve("config.json")).getString("precision"));
    assertTrue(summary.getDouble("test_accuracy") > 0.2, summary.toString());
    Cli evaluated = Cli.line("evaluate --json --run " + run);
    assertEquals(0, evaluated.status(), evaluated::err);
    JsonObject result = Json.parseObject(evaluated.out());
    // The file holds the f32 weights, and predicts in f32.
    assertEquals(summary.getDouble("test_accuracy"), result.getDouble("test_accuracy"), 0.01);
    assertEquals(summary.getDouble("test_loss"), result.getDouble("test_loss"), 0.02);
    Path f32 = folder.resolve("f32");
    assertEquals(
        0,
        Cli.line(TRAIN.replace("bf16", "f32") + "--quiet --init-from " + run + " --out " + f32)
            .status());
  }

  private record Ended(int status, String out, String err) {}

  /** In a process of its own: what a processor has is found out once. */
  private Ended fork(String line, String isa, String ownIsa) throws Exception {
    Map<String, String> environment = Map.of("ONEDNN_MAX_CPU_ISA", isa, "GHOSTBATCH_ISA", ownIsa);
    try (Fork fork = Fork.ghostbatch(folder, Arrays.asList(line.split(" +")), environment)) {
      return new Ended(fork.await(120), fork.out(), fork.err());
    }
  }

  @Test
  void avx512WithoutBf16EmulatesItAndWarnsOnce() throws Exception {
    assumeTrue(hasBf16(), "AVX-512 is needed");
    Ended trained = fork(LINEAR + "--out " + folder.resolve("emulated"), "AVX512_CORE", "avx512");
    assertEquals(0, trained.status, trained.err);
    List<String> warnings =
        trained.err.lines().filter(line -> line.contains("emulated, for this")).toList();
    assertEquals(1, warnings.size(), trained.err);
    assertTrue(warnings.get(0).contains("avx512_core"), warnings.get(0));
    JsonObject precisions =
        Json.parseObject(fork("info --json", "AVX512_CORE", "avx512").out)
            .getObject("backend")
            .getObject("precisions");
    assertEquals("yes", precisions.getString("f32"));
    assertTrue(
        precisions.getString("bf16").startsWith("yes: bf16 is emulated"), precisions.toString());
    assertTrue(precisions.getString("f64").startsWith("no: "), precisions.toString());
  }

  @Test
  void avx2IsAnErrorThatNamesIt() throws Exception {
    assumeTrue(hasBf16(), "a processor with AVX-512 shows the difference");
    Path out = folder.resolve("refused");
    Ended refused = fork(LINEAR + "--out " + out, "AVX2", "avx2");
    assertEquals(Main.BAD_USAGE, refused.status, refused.err);
    assertTrue(refused.err.contains("bf16 needs AVX-512, this CPU has avx2"), refused.err);
    assertFalse(Files.exists(out));
    JsonObject backend =
        Json.parseObject(fork("info --json", "AVX2", "avx2").out).getObject("backend");
    assertEquals(
        "no: bf16 needs AVX-512, this CPU has avx2",
        backend.getObject("precisions").getString("bf16"));
  }
}
