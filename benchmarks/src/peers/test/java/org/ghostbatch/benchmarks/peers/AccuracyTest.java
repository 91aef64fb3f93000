package org.ghostbatch.benchmarks.peers;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import javax.xml.parsers.DocumentBuilderFactory;
import org.ghostbatch.data.DataPair;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Normalization;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.random.RandomStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** That both engines do the same training, and that the report says what came of it. */
class AccuracyTest {
  private static final SampleShape SHAPE = new SampleShape(12, 10, 3);

  @TempDir Path folder;

  /** Two epochs of ragged batches (ghosts of 76, 75, 75, 75 and of 40, 40, 39) and a test. */
  @Test
  void enginesTrainAlike() throws Exception {
    // A small rate: at a large one what rounding changes grows a hundredfold with each update.
    Map<String, String> settings = new HashMap<>(Map.of("batch", "301", "ghost", "96"));
    settings.putAll(Map.of("epochs", "2", "lr", "1e-3", "clip", "1", "weight-decay", "0.1"));
    settings.put("warmup-epochs", "1");
    Recipe recipe = recipe(settings);
    GhostBatchRun.run(recipe, data(), create("ghostbatch-f32-1"));
    LibtorchRun.run(recipe, data(), create("libtorch-f32-1"));
    Map<String, double[]> ours = RunFiles.columns(updates("ghostbatch"));
    Map<String, double[]> theirs = RunFiles.columns(updates("libtorch"));
    assertEquals(4, ours.get("loss").length);
    assertEquals(4, theirs.get("loss").length);
    for (int i = 0; i < 4; i++) {
      assertEquals(ours.get("learning_rate")[i], theirs.get("learning_rate")[i]);
      assertClose(ours.get("loss")[i], theirs.get("loss")[i], 1e-5, "loss " + i);
      // Rounding flips ReLUs, which tells most in the gradient.
      assertClose(ours.get("gradient_norm")[i], theirs.get("gradient_norm")[i], 2e-3, "norm " + i);
    }
    Map<String, double[]> our = RunFiles.columns(file("ghostbatch", RunFiles.METRICS));
    Map<String, double[]> their = RunFiles.columns(file("libtorch", RunFiles.METRICS));
    assertEquals(our.keySet(), their.keySet());
    for (String column : List.of("epoch", "updates", "samples", "batch", "learning_rate")) {
      assertEquals(our.get(column)[1], their.get(column)[1], column);
    }
    for (int epoch = 0; epoch < 2; epoch++) {
      for (String column : List.of("train_loss", "test_loss", "weight_distance")) {
        assertClose(our.get(column)[epoch], their.get(column)[epoch], 1e-4, column);
      }
      assertClose(our.get("gradient_norm")[epoch], their.get("gradient_norm")[epoch], 2e-3, "norm");
      for (String column : List.of("train_accuracy", "test_accuracy")) {
        assertEquals(our.get(column)[epoch], their.get(column)[epoch], 0.02, column);
      }
    }
    RunRecord record = RunRecord.read(folder.resolve("libtorch-f32-1"));
    assertEquals("libtorch", record.engine());
    assertEquals(their.get("test_accuracy")[1], record.finalAccuracy());
  }

  @Test
  void libtorchTrainsInBf16() throws Exception {
    LibtorchRun.run(recipe(Map.of()), data(), create("f32"));
    LibtorchRun.run(recipe(Map.of("precision", "bf16")), data(), create("bf16"));
    double f32 = RunFiles.columns(file("f32", RunFiles.UPDATES)).get("loss")[0];
    double bf16 = RunFiles.columns(file("bf16", RunFiles.UPDATES)).get("loss")[0];
    assertClose(f32, bf16, 0.02, "loss");
    assertTrue(f32 != bf16, "bf16 gave the bits of f32");
  }

  @Test
  void ownWeightsAreOthers() throws Exception {
    LibtorchRun.run(recipe(Map.of()), data(), create("shared"));
    LibtorchRun.run(recipe(Map.of("weights", "own")), data(), create("own"));
    double shared = RunFiles.columns(file("shared", RunFiles.UPDATES)).get("loss")[0];
    double own = RunFiles.columns(file("own", RunFiles.UPDATES)).get("loss")[0];
    assertTrue(Math.abs(shared - own) > 1e-3, shared + " and " + own);
    assertClose(shared, own, 0.5, "loss");
  }

  @Test
  void settings() {
    var recipe = Recipe.of(Map.of("warmup-epochs", "0.5"));
    assertEquals(0.1 * Math.sqrt(8) / 25, recipe.learningRate().rate(0, 50, 3, 1024), 1e-12);
    assertEquals(0.1 * Math.sqrt(8), recipe.learningRate().rate(0.48, 50, 3, 1024), 1e-12);
    var unknown = Map.of("epoch", "3");
    var message = assertThrows(IllegalArgumentException.class, () -> Recipe.of(unknown));
    assertTrue(message.getMessage().contains("got [epoch]"), message.getMessage());
  }

  @Test
  void report() throws Exception {
    List<RunRecord> runs =
        List.of(
            new RunRecord("ghostbatch", "f32", 1, new double[] {2.5, 1.5}, new double[] {.5}, 600),
            new RunRecord("libtorch", "f32", 1, new double[] {2.5, 1.6}, new double[] {.512}, 400),
            new RunRecord(
                "libtorch", "bf16", 2, new double[] {2.4, Double.NaN}, new double[] {.4}, 0.0 / 0));
    String table = AccuracyTable.of(runs);
    assertTrue(table.contains("| f32 | 1 | 50.00 | 51.20 | -1.20 | 600 | 400 |"), table);
    assertTrue(table.contains("| bf16 | 2 |  | 40.00 |  |  |  |"), table);
    assertTrue(table.contains("Largest difference of 1 pair: 1.20 points."), table);

    byte[] svg = LossChart.svg(runs).getBytes(StandardCharsets.UTF_8);
    var lines =
        DocumentBuilderFactory.newInstance()
            .newDocumentBuilder()
            .parse(new ByteArrayInputStream(svg))
            .getElementsByTagName("polyline");
    assertEquals(3, lines.getLength());
    // Losses 1.5 to 2.5 lie on the lowest and the highest line of the grid: y 348 and 64.
    String points = lines.item(0).getAttributes().getNamedItem("points").getNodeValue();
    assertEquals("58.0,64.0 444.0,348.0", points);
  }

  private static Recipe recipe(Map<String, String> settings) {
    Map<String, String> all =
        new HashMap<>(Map.of("depth", "20", "batch", "210", "epochs", "1", "base-batch", "128"));
    all.putAll(settings);
    return Recipe.of(all);
  }

  private Path create(String name) throws Exception {
    return Files.createDirectories(folder.resolve(name));
  }

  private Path updates(String engine) {
    return file(engine, RunFiles.UPDATES);
  }

  private Path file(String run, String name) {
    Path path = folder.resolve(run);
    return (Files.exists(path) ? path : folder.resolve(run + "-f32-1")).resolve(name);
  }

  private static void assertClose(double expected, double actual, double relative, String what) {
    assertEquals(expected, actual, relative * Math.abs(expected), what);
  }

  /** Noise whose class is the channel, and the half of the image, that is brightest. */
  private static DataPair data() {
    var normalization = Normalization.ofBytes(List.of(0.4, 0.45, 0.5), List.of(0.25, 0.2, 0.22));
    Dataset train = images(420, 1).withNormalization(normalization);
    return new DataPair("noise", train, images(100, 2), normalization);
  }

  private static Dataset images(int count, long seed) {
    RandomStream random = new RandomStream(seed, 1, 2, 3);
    byte[] values = new byte[count * SHAPE.elements()];
    int[] labels = new int[count];
    for (int i = 0; i < count; i++) {
      labels[i] = i % 6;
      for (int j = 0; j < SHAPE.elements(); j++) {
        boolean lower = j >= SHAPE.elements() / 2;
        boolean bright = j % 3 == labels[i] % 3 && lower == (labels[i] >= 3);
        values[i * SHAPE.elements() + j] = (byte) (random.nextInt(160) + (bright ? 90 : 0));
      }
    }
    return Dataset.of(values, SHAPE, labels);
  }
}
