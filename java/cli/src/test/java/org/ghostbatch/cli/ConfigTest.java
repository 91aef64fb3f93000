package org.ghostbatch.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.train.TrainingSpec;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine;

/** {@code train --config}: what wins over what, what is refused and how, and that it repeats. */
class ConfigTest {
  private static final String SMALL = "model: f1\ndata: strokes\nbatch: 64\nepochs: 3\n";

  @TempDir Path folder;

  private Path file(String name, String text) throws IOException {
    return Files.writeString(folder.resolve(name), text);
  }

  private static TrainingSpec spec(String flags) {
    TrainCommand command = new TrainCommand();
    new CommandLine(command).parseArgs(flags.split(" "));
    return command.spec();
  }

  private String refused(Path config, String flags) {
    return assertThrows(
            UsageException.class, () -> spec(("--config " + config + " " + flags).strip()))
        .getMessage();
  }

  @Test
  void whatFollowsTheNoiseScaleKeepsItsBase() throws Exception {
    Path config = file("auto.yaml", SMALL.replace("64", "\"auto:256\"") + "lr_rule: sqrt:32\n");
    assertEquals("auto:256", spec("--config " + config).batch().toString());
    TrainingSpec based = spec("--config " + config + " --base-batch 512");
    assertEquals("auto:512", based.batch().toString());
    assertEquals("sqrt:512", based.learningRate().rule().toString());
    String noise = "--config " + config + " --batch-schedule noise";
    assertEquals("noise:32", spec(noise).batch().toString(), "the rule's base");
  }

  @Test
  void flagsGoBeforeConfigBeforeRecipe() throws Exception {
    TrainingSpec recipe = spec("--recipe hoffer --model resnet44 --data strokes");
    assertEquals(2048, recipe.batch().first());
    assertEquals(256, recipe.ghost());
    assertEquals(100, recipe.epochs());
    assertEquals("sqrt:256", recipe.learningRate().rule().toString());
    assertEquals(5, recipe.clipGradientNorm());
    Path config = file("some.yaml", "model: wrn-16-4\ndata: strokes\nbatch: 512\nclip: null\n");
    TrainingSpec over = spec("--recipe hoffer --momentum 0.5 --batch 256 --config " + config);
    assertEquals(256, over.batch().first(), "the flag's, not the file's");
    assertEquals(0, over.clipGradientNorm(), "the file's, not the recipe's");
    assertEquals(
        "sgd(momentum=0.5,weight-decay=1.0E-4,nesterov=false)", over.optimizer().toString());
    assertEquals(256, over.regimeAdaptation().base());
    TrainingSpec brief = spec("--recipe hoffer --updates 5 --config " + config);
    assertEquals(5, brief.updates());
    assertEquals(0, brief.epochs());
    assertEquals(7, spec("--recipe keskar --model c1 --data strokes --epochs 7").epochs());
    assertTrue(
        assertThrows(
                UsageException.class, () -> spec("--recipe keskar --model resnet44 --data strokes"))
            .getMessage()
            .contains("needs for keskar one of f1, f2, c1"));
    assertThrows(UsageException.class, () -> spec("--recipe best --model c1 --data strokes"));
    assertThrows(UsageException.class, () -> spec("--recipe keskar --data strokes"));
  }

  @ParameterizedTest
  @ValueSource(strings = {"--proximal 0.01 --proximal-steps 2", "--adversarial 0.05"})
  void aRunsConfigRepeatsItBitForBit(String rule) throws Exception {
    Path first = folder.resolve("first");
    Path again = folder.resolve("again");
    // Nothing here is a default.
    Cli trained =
        Cli.line(
            "train --model lenet-small --data strokes --train-samples 500 --batch-schedule 0:100,1:250 --ghost 40"
                + " --epochs 2 --optimizer adamw --weight-decay 0.02 --beta1 0.8 --lr 0.003 --cosine"
                + " --warmup-epochs 0.5 --lr-rule sqrt --base-batch 64 --clip 2 --gradient-noise 0.1"
                + " --augment flip --label-smoothing 0.1 --running-stats averaged --seed 7 --micro-batch 50"
                + " --threads 2 --quiet "
                + rule
                + " --out "
                + first);
    assertEquals(0, trained.status(), trained::err);
    Cli repeated =
        Cli.line("train --config " + first.resolve("config.json") + " --quiet --out " + again);
    assertEquals(0, repeated.status(), repeated::err);
    assertArrayEquals(
        Files.readAllBytes(first.resolve("model.safetensors")),
        Files.readAllBytes(again.resolve("model.safetensors")));
    assertEquals(withoutTimes(first), withoutTimes(again));
    assertEquals(3, withoutTimes(first).size());
    assertEquals(
        Files.readString(first.resolve("config.json")),
        Files.readString(again.resolve("config.json")));
  }

  @Test
  void whatWillNotRepeatIsSaid() throws Exception {
    String flags = "train --model f1 --data strokes --train-samples 300 --batch 100 --epochs 1 ";
    Path first = folder.resolve("said");
    assertEquals(0, Cli.line(flags + "--quiet --out " + first).status());
    String config = Files.readString(first.resolve("config.json"));
    Cli same =
        Cli.line(
            "train --config "
                + first.resolve("config.json")
                + " --threads 1 --out "
                + folder.resolve("said-1"));
    assertFalse(same.err().contains("note:"), same.err());
    Path other =
        file(
            "other.json",
            config
                .replaceFirst("\"data_fingerprint\": \"[0-9a-f]", "\"data_fingerprint\": \"x")
                .replaceFirst("brg[a-z_]*:", "jit:"));
    Cli changed = Cli.line("train --config " + other + " --out " + folder.resolve("said-2"));
    assertEquals(0, changed.status(), changed::err);
    assertTrue(
        changed.err().contains("note: data fingerprint differs from that in " + other),
        changed.err());
    Cli seeded =
        Cli.line("train --config " + other + " --seed 5 --out " + folder.resolve("said-3"));
    assertFalse(seeded.err().contains("note:"), "it is meant to differ: " + seeded.err());
  }

  /** Rows of metrics.csv without images_per_second and seconds. */
  static List<String> withoutTimes(Path run) throws IOException {
    List<String> rows = new ArrayList<>();
    for (String line : Files.readAllLines(run.resolve("metrics.csv"))) {
      rows.add(line.replaceFirst(",[^,]*,[^,]*$", ""));
    }
    return rows;
  }

  @Test
  void flagsWinOverTheFileAndTheFileOverDefaults() throws Exception {
    Path config =
        file(
            "a.yaml",
            "# a comment\nmodel: lenet\ndata: strokes\nbatch: 0:64,2:128\nghost: 32\nepochs: 3\n"
                + "optimizer: sgd(momentum=0.5,weight-decay=1e-3,nesterov=true)\n"
                + "schedule: cosine(rate=0.2)\nlr_rule: sqrt:64\nclip: 5\nseed: 9\nthreads: 2\n");
    TrainingSpec plain = spec("--config " + config);
    assertEquals("lenet", plain.model());
    assertEquals("0:64,2:128", plain.batch().toString());
    assertEquals(32, plain.ghost());
    assertEquals("cosine(rate=0.2)", plain.learningRate().schedule().toString());
    assertEquals("sqrt:64", plain.learningRate().rule().toString());
    assertEquals(
        "sgd(momentum=0.5,weight-decay=0.001,nesterov=true)", plain.optimizer().toString());
    assertEquals(9, plain.seed());
    assertEquals(2, plain.threads());
    assertEquals("cpu", plain.backend());

    TrainingSpec changed =
        spec(
            "--config "
                + config
                + " --ghost none --updates 7 --lr 0.4 --momentum 0.7 --base-batch 32 --seed 1 --threads 1");
    assertEquals(0, changed.ghost());
    assertEquals(7, changed.updates());
    assertEquals(0, changed.epochs());
    assertEquals("cosine(rate=0.4)", changed.learningRate().schedule().toString());
    assertEquals("sqrt:32", changed.learningRate().rule().toString());
    assertEquals(
        "sgd(momentum=0.7,weight-decay=0.001,nesterov=true)", changed.optimizer().toString());
    assertEquals(1, changed.seed());
    assertEquals(1, changed.threads());
    assertEquals(5, changed.clipGradientNorm(), "what no flag names stays");

    assertEquals(
        "adam(beta1=0.9,beta2=0.999,eps=1.0E-8,weight-decay=1.0E-4)",
        spec("--config " + config + " --optimizer adam").optimizer().toString(),
        "settings of another optimizer do not carry over");
    assertEquals(
        "polynomial(rate=0.2,power=2.0)",
        spec("--config " + config + " --poly 2").learningRate().schedule().toString());
    assertEquals(
        "linear:64",
        spec("--config " + config + " --lr-rule linear").learningRate().rule().toString());
    assertEquals(
        128, spec("--config " + config + " --batch 128").batch().first(), "a batch for a schedule");
    assertEquals(64, spec("--config " + config + " --regime-adaptation").regimeAdaptation().base());
  }

  @Test
  void aGhostMayBeNone() throws Exception {
    assertEquals(0, spec("--config " + file("none.yaml", SMALL + "ghost: none\n")).ghost());
    assertEquals(0, spec("--config " + file("null.yaml", SMALL + "ghost: null\n")).ghost());
  }

  @Test
  void oneRateDoesNotReplaceSteps() throws Exception {
    Path config = file("steps.yaml", SMALL + "schedule: 0:0.1,2:0.01\n");
    String message = refused(config, "--lr 0.2");
    assertTrue(message.contains("--lr") && message.contains("--schedule"), message);
    assertEquals(
        "0:0.5,1:0.25",
        spec("--config " + config + " --schedule 0:0.5,1:0.25")
            .learningRate()
            .schedule()
            .toString());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "5 | btach: 64         | btach",
        "5 | ghost: [1, 2]     | ghost",
        "5 | ghost: many       | ghost",
        "5 | seed: 1.5         | seed",
        "5 | seed: true        | seed",
        "5 | label_smoothing: 2 | label_smoothing",
        "5 | optimizer: sdg    | optimizer",
        "5 | 'augment: flop'   | augment",
        "5 | early_stop: 3     | early_stop", // needs validation: two members at odds
        "5 | 3: 4              | names",
        "5 | clip: .nan        | number",
        "5 | clip: .inf        | number",
        "5 | 'clip: !!java.net.URL x' | text",
        "5 | batch: 32         | once",
        "1 | model: lenet9     | model",
        "2 | data: strokse     | data",
      })
  void anErrorNamesFileLineAndMember(int line, String text, String named) throws Exception {
    String all =
        line == 5
            ? SMALL
                + text
                + "\nclip: 1\n".replaceFirst(text.startsWith("clip") ? "clip: 1\n" : "^$", "")
            : SMALL.replaceFirst(text.split(":")[0] + ": \\S+", text);
    Path config = file("bad.yaml", all);
    String message = refused(config, "");
    assertTrue(message.startsWith(config + ":" + line + ": "), message);
    assertTrue(message.contains(named) && message.contains("got"), message);
    Cli cli = Cli.line("train --config " + config);
    assertEquals(Main.BAD_USAGE, cli.status());
    assertEquals(1, cli.err().lines().count(), cli::err);
  }

  @Test
  void whatIsMissingIsNotBlamedOnTheFile() throws Exception {
    Path config = file("part.yaml", "model: f1\nbatch: 64\nepochs: 1\n");
    assertTrue(refused(config, "").startsWith("needs --data"), refused(config, ""));
    assertEquals("strokes", spec("--config " + config + " --data strokes").data());
    assertTrue(refused(config, "--data strokes --lr-rule cubic").startsWith("--lr-rule"));
    assertTrue(refused(folder.resolve("nowhere.yaml"), "").contains("nowhere.yaml"));
    // A flag mends what the file alone would be refused for.
    Path exact = file("exact.yaml", SMALL + "precision: f64\n");
    assertTrue(refused(exact, "").contains(":5: precision: "), refused(exact, ""));
    assertEquals("reference", spec("--config " + exact + " --backend reference").backend());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "''",
        "'[1, 2]'",
        "'{\"model\": \"f1\"'",
        "'{\"model\": f1\"}'",
        "'model: [f1'",
        "'model: \"f1'",
        "'\tmodel: f1'",
        "'a: &a [1]\nb: *c'",
        "'a: &a {b: *a}'",
        "'--- 1\n--- 2'",
        "'%YAML 9\n'",
        "'? [1]\n: 2'",
      })
  void whatIsNoConfigIsRefused(String text) throws Exception {
    Path config = file("none.yaml", text.replace("\\t", "\t"));
    assertTrue(refused(config, "").startsWith(config.toString()), refused(config, ""));
  }

  @Test
  void hugeFilesEndEarly() throws Exception {
    StringBuilder laughs = new StringBuilder("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 20; i++) {
      laughs.append("a").append(i).append(": &a").append(i).append(" [");
      laughs.append(("*a" + (i - 1) + ", ").repeat(9)).append("*a" + (i - 1) + "]\n");
    }
    assertTrue(refused(file("laughs.yaml", laughs.toString()), "").contains("laughs.yaml"));
    assertTrue(refused(file("deep.yaml", "a: " + "[".repeat(50_000)), "").contains("deep.yaml"));
    assertTrue(refused(file("long.yaml", "a: " + "x".repeat(2 << 20)), "").contains("bytes"));
    assertTrue(refused(file("digits.yaml", "seed: " + "9".repeat(90_000)), "").contains("digits"));
    Path bytes = Files.write(folder.resolve("latin.yaml"), new byte[] {'a', ':', ' ', (byte) 0xE4});
    assertTrue(refused(bytes, "").contains("UTF-8"));
  }

  @Test
  void jsonIsReadAsJson() throws Exception {
    String text =
        "{\"model\":\"f1\",\t\"data\": \"str\\u006fkes\",\n\t\"data_dir\": \"a \\\"b\\\" \\\\ \\/ \\uD83D\\uDE00 ü #x: y\",\r\n"
            + "\t\"batch\":64, \"epochs\" : 2,\"gradient_noise\":1.5E-3,\"clip\":null,\"seed\":9007199254740993,"
            + "\"resolved\":{\"list\":[1, true, false, null, \"0x10\", -0.5, 1e3, \"yes\"]}}";
    ConfigFile read = ConfigFile.read(file("all.json", text));
    JsonObject expected = Json.parseObject(text);
    assertEquals(expected, read.members());
    TrainingSpec spec = spec("--config " + file("all.json", text));
    assertEquals(9007199254740993L, spec.seed());
    assertEquals("a \"b\" \\ / \uD83D\uDE00 ü #x: y", spec.dataDir());
    assertNull(spec.initFrom());
    assertFalse(
        new String(Files.readAllBytes(folder.resolve("all.json")), StandardCharsets.UTF_8)
            .isEmpty());
  }
}
