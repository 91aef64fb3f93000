package org.ghostbatch.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.awt.image.BufferedImage;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import javax.imageio.ImageIO;
import org.ghostbatch.data.Strokes;
import org.ghostbatch.device.Device;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.nn.Models;
import org.ghostbatch.optim.Sgd;
import org.ghostbatch.train.Trainer;
import org.ghostbatch.train.TrainingSpec;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What the commands leave and print: contracts that scripts are written against. */
class RunTest {
  private static final String FLAGS =
      "--model lenet --data strokes --train-samples 300 --batch 100 --ghost 32 --epochs 2 --lr 0.05 --threads 1";

  @TempDir static Path folder;
  private static Path run;
  private static Cli trained;

  @BeforeAll
  static void train() {
    run = folder.resolve("run");
    trained = Cli.line("train " + FLAGS + " --profile --out " + run);
    assertEquals(0, trained.status(), trained::err);
  }

  private static JsonObject json(Path file) throws IOException {
    return Json.parseObject(Files.readString(file));
  }

  @Test
  void summaryHasTheFieldsOfTheContractInTheirOrder() throws Exception {
    JsonObject summary = json(run.resolve("summary.json"));
    assertEquals(
        List.of(
            "model",
            "data",
            "backend",
            "device",
            "precision",
            "batch",
            "ghost",
            "micro_batch",
            "seed",
            "threads",
            "epochs",
            "updates",
            "parameters",
            "train_loss",
            "train_accuracy",
            "test_loss",
            "test_accuracy",
            "best_test_accuracy",
            "weight_distance",
            "images_per_second",
            "peak_rss_bytes",
            "seconds"),
        List.copyOf(summary.names()));
    assertEquals("lenet", summary.getString("model"));
    assertEquals("strokes", summary.getString("data"));
    assertEquals("cpu", summary.getString("backend"));
    assertEquals(100, summary.getInt("batch"));
    assertEquals(32, summary.getInt("ghost"));
    assertEquals(1, summary.getInt("seed"));
    assertEquals(1, summary.getInt("threads"));
    assertEquals(2, summary.getInt("epochs"));
    assertEquals(6, summary.getInt("updates"));
    for (String accuracy : List.of("train_accuracy", "test_accuracy", "best_test_accuracy")) {
      double value = summary.getDouble(accuracy);
      assertTrue(value > 0 && value <= 1, accuracy + " " + value);
    }
    assertTrue(summary.getDouble("weight_distance") > 0);
    assertTrue(summary.getDouble("images_per_second") > 0);
    assertTrue(summary.getLong("peak_rss_bytes") > 1 << 20);
  }

  @Test
  void metricsHaveARowAnEpoch() throws Exception {
    List<String> lines = Files.readAllLines(run.resolve("metrics.csv"));
    assertEquals(
        "epoch,updates,samples,batch,learning_rate,train_loss,train_accuracy,test_loss,test_accuracy,weight_distance,"
            + "gradient_norm,images_per_second,seconds",
        lines.get(0));
    assertEquals(3, lines.size());
    assertTrue(lines.get(1).startsWith("1,3,300,100,0.05,"), lines.get(1));
    assertTrue(lines.get(2).startsWith("2,6,600,100,0.05,"), lines.get(2));
    assertEquals(13, lines.get(2).split(",").length);
    assertEquals(
        json(run.resolve("summary.json")).getDouble("test_accuracy"),
        Double.parseDouble(lines.get(2).split(",")[8]));
  }

  @Test
  void aProfileLeavesATrace() throws Exception {
    JsonObject trace = json(run.resolve("profile-trace.json"));
    List<?> events = trace.getList("traceEvents");
    assertTrue(
        events.stream().anyMatch(e -> ((JsonObject) e).getString("name").equals("update 3")));
    Path plain = folder.resolve("without-profile");
    assertEquals(0, Cli.line("train " + FLAGS + " --quiet --out " + plain).status());
    assertFalse(Files.exists(plain.resolve("profile-trace.json")));
  }

  @Test
  void aRunIsThereForTensorBoard() throws Exception {
    try (var files = Files.newDirectoryStream(run, "events.out.tfevents.*")) {
      byte[] events = Files.readAllBytes(files.iterator().next());
      String text = new String(events, StandardCharsets.ISO_8859_1);
      assertTrue(text.contains("brain.Event:2"), text);
      assertEquals(
          2, text.split("epoch/test_accuracy", -1).length - 1, "points of an epoch's figure");
      assertEquals(6, text.split("update/loss", -1).length - 1, "points of an update's figure");
    }
  }

  @Test
  void configIsTheSpecAndWhatItResolvedTo() throws Exception {
    JsonObject config = json(run.resolve("config.json"));
    TrainingSpec spec = TrainingSpec.fromJson(config);
    assertEquals(300, spec.trainSamples());
    assertEquals("100", spec.batch().toString());
    JsonObject resolved = config.getObject("resolved");
    assertTrue(resolved.getInt("micro_batch") > 0);
    assertEquals(64, resolved.getString("data_fingerprint").length());
    assertTrue(resolved.getObject("versions").has("ghostbatch"));
    assertFalse(resolved.getObject("kernels").names().isEmpty());
  }

  /** They are given to the device, which says on the CPU that it times nothing. */
  @Test
  void kernelChoicesAreThoseOfTheConfig(@TempDir Path other) throws Exception {
    JsonObject config = json(run.resolve("config.json"));
    assertFalse(config.getObject("resolved").has("kernel_choices"));
    assertEquals("", ConfigFile.read(run.resolve("config.json")).kernelChoices("cpu"));
    config.getObject("resolved").put("kernel_choices", List.of("a GPU", "a -> b"));
    Path file = other.resolve("config.json");
    Files.writeString(file, Json.writeIndented(config));
    assertEquals("a GPU\na -> b\n", ConfigFile.read(file).kernelChoices("cpu"));
    assertEquals("", ConfigFile.read(file).kernelChoices("reference"));
    for (String line :
        List.of("--config " + file + " --out " + other.resolve("again"), "--resume " + other)) {
      Cli cli = Cli.line("train " + line);
      assertEquals(Main.FAILED, cli.status(), cli::err);
      assertTrue(cli.err().contains("no kernel choices where kernels are not timed"), cli.err());
    }
  }

  @Test
  void resultsGoToStandardOutputAndAllElseToStandardError() {
    assertTrue(trained.out().startsWith("kind "), trained.out());
    assertTrue(
        trained.out().contains("convolution") && trained.out().contains("batch norm"),
        trained.out());
    assertTrue(
        trained
            .out()
            .lines()
            .anyMatch(line -> line.matches("0 convolution +forward .*[0-9]  \\S+")),
        trained.out());
    assertTrue(trained.err().contains("epoch 2/2"), trained.err());
    assertFalse(trained.err().contains("\r"), "a bar where there is no terminal");
  }

  @Test
  void sameSeedGivesSameBitsOnAnyNumberOfThreads() throws Exception {
    Path other = folder.resolve("threads");
    assertEquals(
        0,
        Cli.line("train " + FLAGS.replace("--threads 1", "--threads 3") + " --quiet --out " + other)
            .status());
    assertArrayEquals(
        Files.readAllBytes(run.resolve("model.safetensors")),
        Files.readAllBytes(other.resolve("model.safetensors")));
    Path seeded = folder.resolve("seeded");
    assertEquals(0, Cli.line("train " + FLAGS + " --seed 2 --quiet --out " + seeded).status());
    assertNotEquals(
        -1, Files.mismatch(run.resolve("model.safetensors"), seeded.resolve("model.safetensors")));
  }

  @Test
  void theApiGivesTheBitsOfTheCommand() throws Exception {
    Path file = folder.resolve("api.safetensors");
    try (Device device = Device.of("cpu");
        Trainer trainer =
            Trainer.of(Models.lenet(10))
                .batchSize(100)
                .ghostBatchSize(32)
                .optimizer(Sgd.withMomentum(0.9).weightDecay(1e-4))
                .learningRate(0.05)
                .epochs(2)
                .on(device)) {
      trainer.fit(Strokes.train().take(300), Strokes.test());
      trainer.save(file);
    }
    assertArrayEquals(
        Files.readAllBytes(run.resolve("model.safetensors")), Files.readAllBytes(file));
  }

  @Test
  void quietIsQuiet() {
    Cli cli = Cli.line("train " + FLAGS + " --quiet --out " + folder.resolve("quiet"));
    assertEquals("", cli.out() + cli.err());
  }

  @Test
  void aNetworkWithoutBatchNormSaysThatGhostsChangeNothing() throws Exception {
    String flags =
        "train --model softmax --data strokes --train-samples 200 --batch 100 --epochs 1 --lr 0.01 ";
    Cli with = Cli.line(flags + "--ghost 20 --out " + folder.resolve("softmax-ghost"));
    assertTrue(with.err().contains("--ghost changes nothing"), with.err());
    Cli without = Cli.line(flags + "--out " + folder.resolve("softmax"));
    assertFalse(without.err().contains("changes nothing"), without.err());
    assertArrayEquals(
        Files.readAllBytes(folder.resolve("softmax/model.safetensors")),
        Files.readAllBytes(folder.resolve("softmax-ghost/model.safetensors")));
  }

  @Test
  void evaluateAgreesWithTheSummary() throws Exception {
    JsonObject summary = json(run.resolve("summary.json"));
    Cli cli = Cli.line("evaluate --json --run " + run);
    assertEquals(0, cli.status(), cli::err);
    JsonObject result = oneObject(cli);
    assertEquals(10_000, result.getInt("samples"));
    assertEquals(
        summary.getDouble("test_accuracy"),
        result.getDouble("test_accuracy"),
        1e-3); // batch norm is folded
    assertEquals(summary.getDouble("test_loss"), result.getDouble("test_loss"), 1e-3);
    Cli file =
        Cli.line("evaluate --data strokes --json --checkpoint " + run.resolve("model.safetensors"));
    assertEquals(result.getDouble("test_loss"), oneObject(file).getDouble("test_loss"));
    Cli text = Cli.line("evaluate --run " + run);
    assertTrue(text.out().startsWith("strokes: loss "), text.out());
    assertEquals(
        Main.BAD_USAGE,
        Cli.line("evaluate --checkpoint " + run.resolve("model.safetensors")).status());
  }

  @Test
  void predictReadsImagesOfAnySize() throws Exception {
    Path grey = image("grey.png", BufferedImage.TYPE_BYTE_GRAY, 28);
    Path colour = image("colour.png", BufferedImage.TYPE_INT_RGB, 100);
    Cli cli = Cli.line("predict --json --run " + run + " " + grey + " " + colour);
    assertEquals(0, cli.status(), cli::err);
    List<?> predictions = oneObject(cli).getList("predictions");
    assertEquals(2, predictions.size());
    JsonObject first = (JsonObject) predictions.get(0);
    assertEquals(grey.toString(), first.getString("image"));
    assertEquals(10, first.getList("probabilities").size());
    assertEquals(Integer.toString(first.getInt("label")), first.getString("class"));
    Cli text = Cli.line("predict --run " + run + " " + grey);
    assertTrue(text.out().startsWith(grey + ": " + first.getString("class") + " ("), text.out());
    Path noImage = Files.writeString(folder.resolve("text.png"), "no image");
    Cli refused = Cli.line("predict --run " + run + " " + noImage);
    assertEquals(Main.FAILED, refused.status());
    assertTrue(refused.err().contains("text.png"), refused.err());
  }

  @Test
  void evaluateTellsClassByClass() throws Exception {
    JsonObject result = oneObject(Cli.line("evaluate --json --run " + run));
    List<?> confusion = result.getList("confusion");
    List<?> classes = result.getList("classes");
    assertEquals(10, confusion.size());
    assertEquals(10, classes.size());
    long[] predicted = new long[10];
    long right = 0;
    for (int label = 0; label < 10; label++) {
      List<?> row = (List<?>) confusion.get(label);
      for (int c = 0; c < 10; c++) {
        predicted[c] += (Long) row.get(c);
      }
      right += (Long) row.get(label);
    }
    assertEquals(result.getDouble("test_accuracy"), right / 10_000.0, 1e-12);
    double f1 = 0;
    for (int c = 0; c < 10; c++) {
      JsonObject figures = (JsonObject) classes.get(c);
      long hits = (Long) ((List<?>) confusion.get(c)).get(c);
      assertEquals(Integer.toString(c), figures.getString("class"));
      assertEquals(1000, figures.getInt("support"));
      assertEquals(hits / 1000.0, figures.getDouble("recall"), 1e-12);
      assertEquals(
          predicted[c] == 0 ? 0 : (double) hits / predicted[c],
          figures.getDouble("precision"),
          1e-12);
      assertEquals(2.0 * hits / (1000 + predicted[c]), figures.getDouble("f1"), 1e-12);
      f1 += figures.getDouble("f1") / 10;
    }
    assertEquals(f1, result.getDouble("macro_f1"), 1e-12);
    assertTrue(result.getDouble("top_5_accuracy") > result.getDouble("test_accuracy"));

    String text = Cli.line("evaluate --run " + run).out();
    assertTrue(text.contains("10,000 test samples"), text);
    List<String> lines = text.lines().toList();
    List<?> threes = (List<?>) confusion.get(3);
    StringBuilder row = new StringBuilder("3");
    threes.forEach(count -> row.append(" +").append(count.equals(0L) ? "\\." : count));
    assertTrue(lines.get(lines.size() - 7).matches(row.toString()), text);
  }

  @Test
  void evaluateOnTheTrainingSetTakesTheRunsSamples() throws Exception {
    JsonObject result = oneObject(Cli.line("evaluate --on train --json --run " + run));
    JsonObject summary = json(run.resolve("summary.json"));
    assertEquals(300, result.getInt("samples"));
    assertEquals(summary.getDouble("train_accuracy"), result.getDouble("train_accuracy"), 0.01);
    assertEquals(summary.getDouble("train_loss"), result.getDouble("train_loss"), 1e-3);
    assertFalse(result.has("test_accuracy"));
    assertTrue(Cli.line("evaluate --on train --run " + run).out().contains("300 training samples"));
    assertEquals(Main.BAD_USAGE, Cli.line("evaluate --on all --run " + run).status());
  }

  @Test
  void predictTellsTheLikeliestClasses() throws Exception {
    Path image = image("top.png", BufferedImage.TYPE_BYTE_GRAY, 28);
    JsonObject one =
        (JsonObject)
            oneObject(Cli.line("predict --json --top 4 --run " + run + " " + image))
                .getList("predictions")
                .get(0);
    List<?> top = one.getList("top");
    assertEquals(4, top.size());
    List<Double> sorted =
        one.getList("probabilities").stream()
            .map(p -> ((Number) p).doubleValue())
            .sorted((a, b) -> Double.compare(b, a))
            .toList();
    for (int i = 0; i < 4; i++) {
      JsonObject item = (JsonObject) top.get(i);
      assertEquals(sorted.get(i), item.getDouble("probability"));
      assertEquals(
          ((Number) one.getList("probabilities").get(item.getInt("label"))).doubleValue(),
          item.getDouble("probability"));
    }
    assertEquals(one.getString("class"), ((JsonObject) top.get(0)).getString("class"));
    String text = Cli.line("predict --run " + run + " " + image).out();
    assertEquals(3, text.split("%\\)", -1).length - 1, text);
    assertEquals(
        11, Cli.line("predict --top 99 --run " + run + " " + image).out().split("%\\)", -1).length);
    assertEquals(Main.BAD_USAGE, Cli.line("predict --top 0 --run " + run + " " + image).status());
  }

  private static Path image(String name, int type, int size) throws IOException {
    BufferedImage image = new BufferedImage(size, size, type);
    for (int i = 0; i < size; i++) {
      image.setRGB(size / 2, i, 0xFFFFFF);
    }
    Path file = folder.resolve(name);
    ImageIO.write(image, "png", file.toFile());
    return file;
  }

  @Test
  void infoIsOneObject() {
    Cli cli = Cli.line("info --json --threads 2");
    assertEquals(0, cli.status(), cli::err);
    JsonObject info = oneObject(cli);
    assertEquals(2, info.getInt("threads"));
    assertFalse(info.getObject("backend").getObject("kernels").names().isEmpty());
    assertEquals(1, info.getList("openmp_runtimes").size(), "one OpenMP runtime: " + cli.out());
    assertTrue(
        info.getObject("cuda").has("reason") || info.getObject("cuda").getBoolean("available"));
    assertTrue(info.getObject("memory").getLong("total_bytes") > 0);
    assertTrue(Cli.line("info").out().contains("openmp runtimes"));
  }

  private static JsonObject oneObject(Cli cli) {
    assertEquals(1, cli.out().lines().count(), cli.out());
    return Json.parseObject(cli.out());
  }

  @ParameterizedTest
  @CsvSource({
    "evaluate --run nowhere",
    "predict --run nowhere a.png",
    "train --model f1 --data mnist --batch 8 --epochs 1"
  })
  void whatFailsIsOneLineAndStatus1(String line) {
    String more = line.startsWith("train") ? " --data-dir " + folder.resolve("no-data") : "";
    Cli cli = Cli.line(line + more);
    assertEquals(Main.FAILED, cli.status(), cli::err);
    assertEquals(1, cli.err().lines().count(), cli::err);
    assertTrue(cli.err().startsWith("ghostbatch: "), cli::err);
    Cli debug = Cli.line(line + more + " --debug");
    assertEquals(Main.FAILED, debug.status());
    assertTrue(debug.err().contains("\tat org.ghostbatch."), debug::err);
  }

  @Test
  void helpListsAllModels() {
    String help = Cli.line("train --help").out().replaceAll("\\s+", " ");
    Models.names().forEach(name -> assertTrue(help.contains(name), name));
  }

  @ParameterizedTest
  @CsvSource({"INT,130", "TERM,143"})
  void aSignalStopsAfterTheUpdateAndSaves(String signal, int status) throws Exception {
    Path out = folder.resolve("stopped-" + signal);
    List<String> arguments =
        List.of(
            ("train --model f1 --data strokes --train-samples 600 --batch 100 --ghost 32 --epochs 10000 --out "
                    + out)
                .split(" "));
    try (Fork fork = Fork.ghostbatch(folder, arguments)) {
      long begin = System.nanoTime();
      while (!Files.exists(out.resolve("metrics.csv"))
          || Files.readAllLines(out.resolve("metrics.csv")).size() < 3) {
        assertTrue(fork.running(), () -> "it ended by itself: " + uncheckedErr(fork));
        assertTrue(
            System.nanoTime() - begin < TimeUnit.SECONDS.toNanos(120), () -> uncheckedErr(fork));
        Thread.sleep(50);
      }
      new ProcessBuilder("kill", "-" + signal, Long.toString(fork.pid()))
          .inheritIO()
          .start()
          .waitFor();
      assertEquals(status, fork.await(60), fork.err());
      assertTrue(fork.err().contains("stopped after update"), fork.err());
      assertTrue(fork.err().contains("ghostbatch train --resume " + out), fork.err());
    }
    JsonObject summary = json(out.resolve("summary.json"));
    List<String> rows = Files.readAllLines(out.resolve("metrics.csv"));
    int updates = summary.getInt("updates");
    assertEquals((updates + 5) / 6, rows.size() - 1, "a row an epoch, the last for its part");
    assertEquals(Integer.toString(updates), rows.get(rows.size() - 1).split(",")[1]);
    // The model is that of the last completed update: a run of so many updates gives the same bits.
    Path again = folder.resolve("again-" + signal);
    String line =
        "train --model f1 --data strokes --train-samples 600 --batch 100 --ghost 32 --quiet --updates ";
    assertEquals(0, Cli.line(line + updates + " --out " + again).status());
    assertEquals(
        -1, Files.mismatch(out.resolve("model.safetensors"), again.resolve("model.safetensors")));
    assertEquals(0, Cli.line("evaluate --run " + out).status());
    String next =
        "train --model f1 --data strokes --train-samples 600 --batch 100 --epochs 1 --quiet --init-from ";
    assertEquals(0, Cli.line(next + out + " --out " + folder.resolve("next-" + signal)).status());
  }

  @Test
  @DisabledOnOs(OS.WINDOWS)
  void aSignalWhileDataIsLoadedEndsAtOnce() throws Exception {
    Path data = Files.createDirectories(folder.resolve("stalled"));
    Path pipe = data.resolve("train_x.npy");
    new ProcessBuilder("mkfifo", pipe.toString()).start().waitFor();
    Path out = folder.resolve("never");
    List<String> arguments =
        List.of(
            ("train --model f1 --batch 100 --epochs 1 --data npy:" + data + " --out " + out)
                .split(" "));
    try (Fork fork = Fork.ghostbatch(folder, arguments);
        var writer = new FileOutputStream(pipe.toFile())) { // returns once it is being read
      new ProcessBuilder("kill", "-TERM", Long.toString(fork.pid())).start().waitFor();
      assertEquals(143, fork.await(20), fork.err());
    }
    assertFalse(Files.exists(out));
  }

  @Test
  void anInterruptedRunGoesOnWithResume() throws Exception {
    String line =
        "train --model f1 --data strokes --train-samples 600 --batch 100 --ghost 32 --epochs 40 --seed 4 --out ";
    Path whole = folder.resolve("whole");
    assertEquals(0, Cli.line(line + whole + " --quiet").status());
    Path out = folder.resolve("interrupted");
    try (Fork fork = Fork.ghostbatch(folder, List.of((line + out).split(" ")))) {
      long begin = System.nanoTime();
      while (!Files.exists(out.resolve("metrics.csv"))
          || Files.readAllLines(out.resolve("metrics.csv")).size() < 3) {
        assertTrue(fork.running(), () -> "it ended by itself: " + uncheckedErr(fork));
        assertTrue(
            System.nanoTime() - begin < TimeUnit.SECONDS.toNanos(120), () -> uncheckedErr(fork));
        Thread.sleep(20);
      }
      // While it runs no other process may have its folder.
      Cli second = Cli.line("train --resume " + out);
      assertEquals(2, second.status());
      assertTrue(second.err().contains("a folder that no other run uses"), second::err);
      new ProcessBuilder("kill", "-TERM", Long.toString(fork.pid())).start().waitFor();
      assertEquals(143, fork.await(60), fork.err());
    }
    Cli other = Cli.line("train --resume " + out + " --batch 50");
    assertEquals(2, other.status());
    assertTrue(other.err().contains("got --batch"), other::err);
    Cli shorter = Cli.line("train --resume " + out + " --epochs 3");
    assertEquals(2, shorter.status());
    assertTrue(shorter.err().contains("an end not before"), shorter::err);
    Cli resumed = Cli.line("train --resume " + out + " --threads 1");
    assertEquals(0, resumed.status(), resumed::err);
    assertTrue(resumed.err().contains("resumed after update"), resumed::err);
    assertEquals(
        -1, Files.mismatch(whole.resolve("model.safetensors"), out.resolve("model.safetensors")));
    assertEquals(41, Files.readAllLines(out.resolve("metrics.csv")).size());
    assertEquals(2, Cli.line("train --resume " + folder.resolve("nowhere")).status());
  }

  private static String uncheckedErr(Fork fork) {
    try {
      return fork.err();
    } catch (IOException e) {
      return e.toString();
    }
  }
}
