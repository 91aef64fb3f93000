package org.ghostbatch.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import javax.imageio.ImageIO;
import org.ghostbatch.data.DownloadProgress;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** A person's own data, from the command line. */
@Timeout(300)
class DataTest {
  private static final int COUNT = 40;

  @TempDir static Path folder;

  /** Two classes, bright and dark, of two sizes. */
  @BeforeAll
  static void images() throws IOException {
    var random = new Random(1);
    for (String half : List.of("train", "test")) {
      for (int i = 0; i < COUNT; i++) {
        boolean bright = i % 2 == 0;
        int width = i % 3 == 0 ? 20 : 16;
        var image = new BufferedImage(width, 16, BufferedImage.TYPE_3BYTE_BGR);
        for (int p = 0; p < 16 * width; p++) {
          int value = random.nextInt(100) + (bright ? 150 : 0);
          image.setRGB(p % width, p / width, value << 16 | value << 8 | value);
        }
        Path file = folder.resolve("shots/" + half + (bright ? "/bright/" : "/dark/") + i + ".png");
        Files.createDirectories(file.getParent());
        ImageIO.write(image, "png", file.toFile());
      }
    }
  }

  private static JsonObject json(Path file) throws IOException {
    return Json.parseObject(Files.readString(file));
  }

  @Test
  void aFolderOfImagesFromTrainingToPrediction() throws IOException {
    Path run = folder.resolve("run");
    String data = "folder:" + folder.resolve("shots");
    String flags =
        "train --model softmax --batch 8 --epochs 4 --lr 0.05 --quiet --data " + data + " --out ";
    Cli sizes = Cli.line(flags + run);
    assertEquals(Main.FAILED, sizes.status());
    assertTrue(sizes.err().contains("--image-size"), sizes.err());
    Cli cli = Cli.line(flags + run + " --image-size 12 --augment affine");
    assertEquals(0, cli.status(), cli::err);
    JsonObject config = json(run.resolve("config.json"));
    assertEquals(data, config.getString("data"));
    assertEquals(12, config.getInt("image_size"));
    JsonObject summary = json(run.resolve("summary.json"));
    assertEquals(1.0, summary.getDouble("test_accuracy"));

    // The run's settings repeat it.
    Path again = folder.resolve("again");
    Cli repeated =
        Cli.line("train --quiet --config " + run.resolve("config.json") + " --out " + again);
    assertEquals(0, repeated.status(), repeated::err);
    assertArrayEquals(
        Files.readAllBytes(run.resolve("model.safetensors")),
        Files.readAllBytes(again.resolve("model.safetensors")));

    // A model brings its own size.
    Cli evaluated =
        Cli.line(
            "evaluate --json --data " + data + " --checkpoint " + run.resolve("model.safetensors"));
    assertEquals(0, evaluated.status(), evaluated::err);
    assertEquals(1.0, Json.parseObject(evaluated.out()).getDouble("test_accuracy"));

    // An image is what it is in the data: the loss of all predictions is that of the evaluation.
    StringBuilder files = new StringBuilder();
    double loss = 0;
    for (int i = 0; i < COUNT; i++) {
      String kind = i % 2 == 0 ? "bright" : "dark";
      files.append(' ').append(folder.resolve("shots/test/" + kind + "/" + i + ".png"));
    }
    Cli predicted = Cli.line("predict --json --run " + run + files);
    assertEquals(0, predicted.status(), predicted::err);
    List<?> predictions = Json.parseObject(predicted.out()).getList("predictions");
    for (int i = 0; i < COUNT; i++) {
      JsonObject prediction = (JsonObject) predictions.get(i);
      assertEquals(i % 2 == 0 ? "bright" : "dark", prediction.getString("class"));
      List<?> probabilities = prediction.getList("probabilities");
      loss -= Math.log(((Number) probabilities.get(i % 2)).doubleValue()) / COUNT;
    }
    double exact = Json.parseObject(evaluated.out()).getDouble("test_loss");
    assertEquals(exact, loss, 1e-4 * exact);
  }

  /** Images of 8x8 values, one for each class name in each half, darker from class to class. */
  private static String data(String name, int type, String... classes) throws IOException {
    for (String half : List.of("train", "test")) {
      for (int c = 0; c < classes.length; c++) {
        var image = new BufferedImage(8, 8, type);
        int[] pixel = new int[3];
        for (int p = 0; p < 64; p++) {
          Arrays.fill(pixel, 250 - 100 * c - p);
          image.getRaster().setPixel(p % 8, p / 8, pixel);
        }
        Path file = folder.resolve(name + "/" + half + "/" + classes[c] + "/a.png");
        Files.createDirectories(file.getParent());
        ImageIO.write(image, "png", file.toFile());
      }
    }
    return "folder:" + folder.resolve(name);
  }

  private static Path trained(String data) {
    Path run = folder.resolve("run-of-" + Path.of(data).getFileName());
    Cli cli =
        Cli.line(
            "train --model softmax --batch 2 --epochs 1 --lr 0.001 --quiet --data "
                + data
                + " --out "
                + run);
    assertEquals(0, cli.status(), cli::err);
    return run;
  }

  @Test
  void evaluationNeedsTheClassesOfTheNetwork() throws IOException {
    int colour = BufferedImage.TYPE_3BYTE_BGR;
    String named = data("named", colour, "cat", "dog");
    Path run = trained(named);
    String evaluate = "evaluate --run " + run + " --data ";
    String first = data("first", colour, "cat"); // one that lacks the last is no other
    String numbers = data("numbers", colour, "0", "1");
    for (String fits : List.of(named, first, numbers)) {
      Cli cli = Cli.line(evaluate + fits);
      assertEquals(0, cli.status(), cli::err);
    }
    String other = data("other", colour, "cat", "frog");
    Cli cli = Cli.line(evaluate + other);
    assertEquals(Main.BAD_USAGE, cli.status(), cli.out());
    assertTrue(
        cli.err().contains("got \"frog\" in " + other + " as class 1")
            && cli.err().contains("the network has \"dog\""),
        cli.err());
    for (String[] classes :
        List.of(
            new String[] {"dog"},
            new String[] {"ant", "cat", "dog"},
            new String[] {"cat", "dog", "frog"})) {
      Cli refused = Cli.line(evaluate + data(String.join("-", classes), colour, classes));
      assertEquals(Main.BAD_USAGE, refused.status(), refused.out() + refused.err());
    }
    // Numbers are names as well where both have them.
    Cli digits =
        Cli.line(
            "evaluate --run "
                + trained(data("digits", colour, "1", "2"))
                + " --data "
                + data("more-digits", colour, "2", "3"));
    assertEquals(Main.BAD_USAGE, digits.status(), digits.out() + digits.err());
    // A run's own data, which has become another since.
    data("named", colour, "bee");
    assertEquals(Main.BAD_USAGE, Cli.line("evaluate --run " + run).status());
  }

  @Test
  void greyAndColouredImagesBecomeTheNetworksInput() throws IOException {
    String grey = data("grey", BufferedImage.TYPE_BYTE_GRAY, "a", "b");
    String coloured = data("coloured", BufferedImage.TYPE_3BYTE_BGR, "a", "b");
    for (String own : List.of(grey, coloured)) {
      Path run = trained(own);
      double[] losses = new double[2];
      for (int i = 0; i < 2; i++) {
        Cli cli =
            Cli.line("evaluate --json --run " + run + " --data " + List.of(grey, coloured).get(i));
        assertEquals(0, cli.status(), cli::err);
        losses[i] = Json.parseObject(cli.out()).getDouble("test_loss");
      }
      assertTrue(losses[0] > 0.01, "a loss that tells images apart");
      assertEquals(losses[0], losses[1]); // as all colours are grey
    }
  }

  private static void npy(Path file, String type, String shape, byte[] data) throws IOException {
    String header = "{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape + "}\n";
    ByteBuffer bytes = ByteBuffer.allocate(10 + header.length() + data.length);
    bytes.order(ByteOrder.LITTLE_ENDIAN).put((byte) 0x93).put("NUMPY\1\0".getBytes());
    bytes.putShort((short) header.length()).put(header.getBytes()).put(data);
    Files.write(file, bytes.array());
  }

  @Test
  void arraysOfNumpyTrain() throws IOException {
    Path arrays = Files.createDirectory(folder.resolve("arrays"));
    for (String half : List.of("train", "test")) {
      ByteBuffer x = ByteBuffer.allocate(COUNT * 6 * 8).order(ByteOrder.LITTLE_ENDIAN);
      byte[] y = new byte[COUNT];
      var random = new Random(half.length());
      for (int i = 0; i < COUNT; i++) {
        y[i] = (byte) (i % 3);
        for (int d = 0; d < 6; d++) {
          x.putDouble(random.nextGaussian() + (d == i % 3 ? 6 : 0));
        }
      }
      npy(arrays.resolve(half + "_x.npy"), "<f8", "(40, 6)", x.array());
      npy(arrays.resolve(half + "_y.npy"), "|u1", "(40,)", y);
    }
    Path run = folder.resolve("npy-run");
    Cli cli =
        Cli.line(
            "train --model softmax --batch 10 --epochs 20 --quiet --out "
                + run
                + " --data npy:"
                + arrays);
    assertEquals(0, cli.status(), cli::err);
    assertTrue(json(run.resolve("summary.json")).getDouble("test_accuracy") > 0.9);
    Cli evaluated = Cli.line("evaluate --json --run " + run);
    assertEquals(0, evaluated.status(), evaluated::err);
  }

  @Test
  void offlineSaysWhichFilesGoWhere() {
    for (String line :
        List.of(
            "train --model f1 --data mnist --batch 8 --epochs 1 --offline --out " + folder,
            "bench --suite loader --data cifar10 --offline")) {
      Cli cli = Cli.line(line);
      assertEquals(line.startsWith("train") ? Main.BAD_USAGE : Main.FAILED, cli.status(), cli::err);
    }
    Cli cli =
        Cli.line(
            "train --model f1 --data mnist --batch 8 --epochs 1 --offline --out "
                + folder.resolve("none"));
    assertEquals(Main.FAILED, cli.status(), cli::err);
    for (String part :
        List.of("train-images-idx3-ubyte", "--offline", "By hand: https://", "--data-dir")) {
      assertTrue(cli.err().contains(part), cli::err);
    }
  }

  @Test
  void unknownDataIsBadUsageEverywhere() throws IOException {
    Path study =
        Files.writeString(
            folder.resolve("study.json"),
            "{\"name\": \"x\", \"seeds\": [1], \"settings\": {\"model\": \"softmax\","
                + " \"data\": \"imagenet\", \"batch\": 8, \"epochs\": 1},"
                + " \"arms\": [{\"name\": \"a\"}]}");
    for (String line :
        List.of(
            "train --model f1 --data imagenet --batch 8 --epochs 1",
            "train --model f1 --data folder: --batch 8 --epochs 1",
            "evaluate --data imagenet --run " + folder,
            "study " + study + " --out " + folder.resolve("study"),
            "bench --suite loader --data imagenet",
            "bench --suite loader --image-size -3",
            "bench --suite loader --batch 0",
            "bench --suite loader --seconds 0",
            "bench --suite loader --augment turn",
            "bench --suite other",
            "bench --suite kernels --kernel gbn",
            "bench --suite step --kernel gbn --shape 2,2,2,2",
            "bench --suite kernels --model f1",
            "bench --suite kernels --compare tensorflow",
            "bench --suite kernels --rounds 0",
            "bench --suite kernels --kernel relu --shape 4 --precision f8",
            "bench --suite step --model f1 --ghost some",
            "bench --suite step --baseline " + folder.resolve("none.json"),
            "bench --suite kernels --shape 4",
            "bench --suite kernels --precision bf16",
            "bench --suite kernels --kernel relu --shape 4 --micro-batch 16",
            "bench --suite step --backend reference",
            "bench --suite step,kernels --backend auto",
            "bench --suite step,kernels --compare libtorch --backend cuda",
            "bench --suite scaling --compare libtorch",
            "bench --suite binding", // here is no source tree
            "bench --suite step,kernels --rounds 5 --backend cuda", // nor here
            "bench")) {
      Cli cli = Cli.line(line);
      assertEquals(Main.BAD_USAGE, cli.status(), line + ": " + cli.err());
      // Each for its own reason, not because the benchmarks' sources are not at hand.
      boolean good = line.endsWith("binding") || line.endsWith("--rounds 5 --backend cuda");
      assertEquals(good, cli.err().contains("source tree"), line);
    }
    for (String line :
        List.of(
            "bench --suite binding --backend cuda",
            "bench --suite step,scaling --backend cuda:1",
            "bench --suite loader --backend cuda --tf32")) {
      Cli cli = Cli.line(line);
      assertEquals(Main.BAD_USAGE, cli.status(), line + ": " + cli.err());
      assertTrue(cli.err().contains("a suite that a GPU has: kernels, step"), cli.err());
    }
  }

  @Test
  void benchMeasuresTheLoader() throws IOException {
    Path out = folder.resolve("bench.json");
    Cli cli =
        Cli.line(
            "bench --suite loader --image-size 12 --batch 16 --seconds 0.1 --threads 2 --data folder:"
                + folder.resolve("shots")
                + " --out "
                + out);
    assertEquals(0, cli.status(), cli::err);
    assertTrue(cli.out().contains("images/s"), cli.out());
    JsonObject file = json(out);
    List<?> rows = file.getList("rows");
    assertEquals(3, rows.size());
    for (int i = 0; i < 3; i++) {
      JsonObject row = (JsonObject) rows.get(i);
      assertEquals("loader", row.getString("suite"));
      assertEquals(List.of("read", "augment", "all").get(i), row.getString("name"));
      assertEquals(2, row.getInt("threads"));
      assertEquals(16, row.getInt("batch"));
      double rate = row.getLong("images") / row.getDouble("seconds");
      assertEquals(rate, row.getDouble("images_per_second"), 1e-9 * rate);
      assertTrue(row.getDouble("seconds") >= 0.1);
    }
    Cli embedded = Cli.line("bench --suite loader --seconds 0.05 --augment none");
    assertEquals(0, embedded.status(), embedded::err);
    assertEquals(4, embedded.out().lines().count(), embedded.out());
  }

  @Test
  void downloadsAreShown() {
    var bytes = new ByteArrayOutputStream();
    Terminal terminal =
        Terminal.overwriting(new PrintStream(bytes, true, StandardCharsets.UTF_8), 80);
    DownloadProgress progress = DataFlags.shown(terminal);
    progress.onMessage("downloading https://a/b");
    progress.onBytes("b.gz", 1 << 20, 4 << 20);
    progress.onBytes("b.gz", 4 << 20, 4 << 20);
    String shown = bytes.toString(StandardCharsets.UTF_8);
    assertTrue(shown.startsWith("downloading https://a/b\n"), shown);
    assertTrue(shown.contains("\rb.gz: 1.0 MiB of 4.0 MiB, 25 %"), shown);
    assertTrue(shown.endsWith("\r"), shown); // the line is gone
  }
}
