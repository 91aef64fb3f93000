package org.ghostbatch.fuzz;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import java.util.zip.GZIPOutputStream;
import org.ghostbatch.data.Mnist;
import org.ghostbatch.data.Npy;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.SafeTensors;
import org.ghostbatch.nn.ModelFile;
import org.ghostbatch.study.Study;
import org.ghostbatch.train.RunFolder;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Files longer than a fuzzer makes them, that repeat what costs most: memory and time must stay in
 * proportion to the file.
 */
class LongFilesTest {
  private static final int LENGTH = 1 << 20;

  private final Path folder = Reading.folder();

  private static String repeated(String first, String unit, String last) {
    return first + unit.repeat((LENGTH - first.length() - last.length()) / unit.length()) + last;
  }

  /** Whether the reader accepts the text as a file of that name. */
  private boolean accepts(String name, String text, Consumer<Path> reader) {
    byte[] content = text.getBytes(StandardCharsets.UTF_8);
    Path file = Reading.file(folder, name);
    Reading.write(file, content);
    return Reading.of(
            content.length,
            256,
            () -> {
              reader.accept(file);
              return true;
            })
        .isPresent();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "[]",
        "[0]",
        "[[[[0]]]]",
        "{}",
        "{\"\":0}",
        "{\"\":[{}]}",
        "0",
        "1e9",
        "1e-2147483647",
        "null",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "99999999999999999999"
      })
  void json(String value) {
    String text = repeated("{\"\":[0", "," + value, "]}");
    assertEquals(true, accepts("any.json", text, Json::readObject));
    assertEquals(false, accepts("any.json", text + "]", Json::readObject));
  }

  @Test
  void jsonOfLongNumbers() {
    String number = "," + "9".repeat(998);
    assertEquals(true, accepts("any.json", repeated("{\"\":[0", number, "]}"), Json::readObject));
    assertEquals(
        true, accepts("any.json", repeated("{\"\":[0", number + "e9", "]}"), Json::readObject));
  }

  @Test
  void jsonLongerThanAllowed() {
    String text = "{\"\":\"" + " ".repeat(Json.MAX_FILE) + "\"}";
    assertEquals(false, accepts("any.json", text, Json::readObject));
  }

  @Test
  void configs() {
    Consumer<Path> reader = file -> RunFolder.config(folder);
    for (String member :
        new String[] {
          repeated("{\"schedule\":\"0:1", ",1:1", "\"}"),
          repeated("{\"batch\":\"0:1", ",1:1", "\"}"),
          repeated("{\"optimizer\":\"sgd(momentum=0", ",a=1", ")\"}"),
          repeated("{\"clip\":0.", "0", "1}"),
          repeated("{\"lr_rule\":\"", ":", "\"}"),
          repeated("{\"augment\":\"", "a", "\"}"),
          "{"
              + IntStream.range(0, LENGTH / 10)
                  .mapToObj(i -> "\"" + i + "\":0")
                  .collect(Collectors.joining(","))
              + "}"
        }) {
      assertEquals(false, accepts("config.json", member, reader));
    }
    String steps =
        IntStream.range(0, LENGTH / 10).mapToObj(i -> i + ":1").collect(Collectors.joining(","));
    assertEquals(
        true,
        accepts(
            "config.json", "{\"batch\":1,\"epochs\":1,\"schedule\":\"" + steps + "\"}", reader));
  }

  /** Every arm has what all share: once that was copied for each before anything was checked. */
  @Test
  void studiesWhoseArmsShareMuch() {
    String arms =
        IntStream.range(0, LENGTH / 100)
            .mapToObj(i -> "{\"name\":\"" + i + "\",\"about\":\"\",\"spec\":{}}")
            .collect(Collectors.joining(","));
    String rest =
        ",\"name\":\"\",\"about\":\"\",\"baseline\":\"0\",\"first_seed\":1,\"seeds\":1,\"test_every_epoch\":true}";
    String members =
        IntStream.range(0, LENGTH / 20)
            .mapToObj(i -> "\"" + i + "\":0")
            .collect(Collectors.joining(","));
    String list = repeated("{\"batch\":[0", ",0", "]}");
    assertEquals(
        false,
        accepts(
            "s.json", "{\"spec\":{" + members + "},\"arms\":[" + arms + "]" + rest, Study::read));
    assertEquals(
        false,
        accepts("s.json", "{\"spec\":" + list + ",\"arms\":[" + arms + "]" + rest, Study::read));
  }

  @Test
  void headersOfManyTensors() {
    SafeTensors.Writer writer = SafeTensors.writer();
    for (int i = 0; i < LENGTH / 80; i++) {
      writer.floats(Integer.toString(i), new float[0], 0);
    }
    writer.write(folder.resolve("many.safetensors"));
    int size = Reading.bytes(folder.resolve("many.safetensors")).length;
    assertEquals(
        true,
        Reading.of(
                size,
                64,
                () -> {
                  try (SafeTensors file = SafeTensors.open(folder.resolve("many.safetensors"))) {
                    return file.entries().size() == LENGTH / 80;
                  }
                })
            .orElseThrow());
  }

  /** A packed file may claim more than it holds: memory was once taken before that was seen. */
  @Test
  void packedImagesThatAreNotThere() throws IOException {
    int count = (int) (900L * LENGTH / 784);
    byte[] header =
        ByteBuffer.allocate(16).putInt(0x803).putInt(count).putInt(28).putInt(28).array();
    byte[] random = new byte[LENGTH];
    new Random(1).nextBytes(random);
    Path images = Reading.file(folder, "train-images-idx3-ubyte.gz");
    try (var out = new GZIPOutputStream(Files.newOutputStream(images))) {
      out.write(header);
      out.write(random);
    }
    for (String name :
        new String[] {
          "train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte", "t10k-images-idx3-ubyte"
        }) {
      Reading.write(Reading.file(folder, name), new byte[0]);
    }
    assertTrue(Reading.of(LENGTH, 64, () -> Mnist.load(folder)).isEmpty());
  }

  /** A label of 2^20 - 1 once made as many names of classes. */
  @Test
  void labelsOfManyClasses() {
    byte[] features = npy("|u1", "(2, 1)", new byte[2]);
    byte[] labels = npy("<i4", "(2,)", new byte[] {0, 0, 0, 0, -1, -1, 15, 0});
    for (String half : new String[] {"train", "test"}) {
      Reading.write(Reading.file(folder, half + "_x.npy"), features);
      Reading.write(Reading.file(folder, half + "_y.npy"), labels);
    }
    assertTrue(Reading.of(features.length, 64, () -> Npy.load(folder)).isEmpty());
  }

  /** Two sizes whose product is no 64-bit number once left as NumberFormatException. */
  @Test
  void arraysOfMoreThan64Bits() {
    byte[] features = npy("|u1", "(1000000000, 9999999999)", new byte[2]);
    Reading.write(Reading.file(folder, "train_x.npy"), features);
    assertTrue(Reading.of(features.length, 64, () -> Npy.load(folder)).isEmpty());
  }

  private static byte[] npy(String type, String shape, byte[] values) {
    String header = "{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape + "}";
    return ByteBuffer.allocate(10 + header.length() + values.length)
        .put(new byte[] {(byte) 0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (byte) header.length(), 0})
        .put(header.getBytes(StandardCharsets.US_ASCII))
        .put(values)
        .array();
  }

  /** Each layer's line in the summary once added up all lines before it. */
  @Test
  void networksOfManyLayers() {
    for (String layer :
        new String[] {
          "{\"type\":\"relu\"}",
          "{\"type\":\"flatten\"}",
          "{\"type\":\"batchnorm\",\"epsilon\":1}",
          "{\"type\":\"linear\",\"out\":1,\"bias\":false,\"init\":\"he\"}",
          "{\"type\":\"residual\",\"body\":{\"type\":\"sequential\",\"layers\":[{\"type\":\"relu\"}]},"
              + "\"shortcut\":{\"type\":\"sequential\",\"layers\":[]}}",
          "{\"type\":\"sequential\",\"layers\":[{\"type\":\"relu\"},{\"type\":\"relu\"}]}"
        }) {
      assertEquals(
          false,
          reads(repeated("{\"type\":\"sequential\",\"layers\":[" + layer, "," + layer, "]}")));
    }
  }

  /** Memory for parameters was once taken before the file was seen to hold them. */
  @ParameterizedTest
  @ValueSource(ints = {1 << 28, Integer.MAX_VALUE})
  void networksOfManyParameters(int outputs) {
    String layer = "{\"type\":\"linear\",\"out\":" + outputs + ",\"bias\":true,\"init\":\"he\"}";
    assertEquals(false, reads("{\"type\":\"sequential\",\"layers\":[" + layer + "]}"));
    String narrow = "{\"type\":\"linear\",\"out\":1,\"bias\":true,\"init\":\"he\"}";
    String many =
        Stream.generate(() -> layer + "," + narrow).limit(9).collect(Collectors.joining(","));
    assertEquals(false, reads("{\"type\":\"sequential\",\"layers\":[" + many + "]}"));
  }

  private boolean reads(String network) {
    Path file = Reading.file(folder, "network.safetensors");
    SafeTensors.writer()
        .metadata("network", network)
        .metadata("input_shape", "1x1x1")
        .metadata("normalization", "{\"scale\":1,\"mean\":[0],\"std\":[1]}")
        .metadata("class_names", "[\"a\"]")
        .write(file);
    int size = Reading.bytes(file).length;
    // Names of layers are sorted, which makes much garbage.
    return Reading.of(size, 2048, () -> ModelFile.read(file)).isPresent();
  }
}
