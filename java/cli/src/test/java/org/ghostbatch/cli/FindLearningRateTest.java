package org.ghostbatch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class FindLearningRateTest {
  private static final String FIND =
      "train --find-lr --model lenet-small --data strokes --batch 128 --ghost 32 --quiet ";

  @TempDir Path folder;

  private static double suggested(Cli cli) {
    assertEquals(0, cli.status(), cli::err);
    Matcher matcher = Pattern.compile("suggestion: --lr ([0-9.e-]+)").matcher(cli.out());
    assertTrue(matcher.find(), cli.out());
    return Double.parseDouble(matcher.group(1));
  }

  @Test
  void printsACurveAndLeavesItInTheFolder() throws Exception {
    Path out = folder.resolve("a/found");
    Cli cli = Cli.line(FIND + "--out " + out);
    double rate = suggested(cli);
    assertTrue(rate > 0.001 && rate < 1, cli.out());
    assertEquals("", cli.err());
    assertEquals(1, cli.out().lines().filter(line -> line.contains("falls fastest")).count() - 1);
    assertTrue(cli.out().lines().count() < 45, cli.out());
    List<String> rows = Files.readAllLines(out.resolve("lr-finder.csv"));
    assertEquals("update,learning_rate,loss,smoothed_loss", rows.get(0));
    assertTrue(rows.get(1).startsWith("1,1.0E-6,"), rows.get(1));
    assertEquals(101, rows.size());
    try (var files = Files.list(out)) {
      assertEquals(1, files.count(), "a sweep is no run");
    }
  }

  @Test
  void theSuggestionIsBeforeTheRuleForTheBatchSize() {
    double plain = suggested(Cli.line(FIND));
    Cli ruled = Cli.line(FIND + "--lr-rule linear --base-batch 32 --epochs 3");
    assertEquals(plain / 4, suggested(ruled), 0.03 * plain);
    assertTrue(ruled.out().contains("which rule linear:32 makes"), ruled.out());
    assertFalse(Files.exists(Path.of("runs")), "a run folder appeared");
  }

  @Test
  void whereTheLossDoesNotFallThereIsNoSuggestion() {
    Cli cli =
        Cli.line(
            "train --find-lr --model resnet20 --data strokes --train-samples 40 --batch 8 --updates 20 --quiet"
                + " --ghost 8 --label-smoothing 0.9");
    assertEquals(0, cli.status(), cli::err);
    assertTrue(cli.out().contains("no suggestion"), cli.out());
  }

  @ParameterizedTest
  @ValueSource(strings = {"--updates 19", "--updates 0", "--resume runs/a", "--lr-rule cubic"})
  void badUsageIsStatus2(String flags) {
    assertEquals(Main.BAD_USAGE, Cli.line(FIND + flags).status());
  }
}
