package org.ghostbatch.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.ghostbatch.data.Normalization;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.DataType;
import org.ghostbatch.io.SafeTensors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ModelFileTest {
  @TempDir Path folder;

  private final Network network =
      Network.of(
          Sequential.of(
              Conv2d.of(4, 3).padding(1).bias(false),
              BatchNorm.of(),
              ReLU.of(),
              Residual.of(
                  Sequential.of(Conv2d.of(2, 1), BatchNorm.of()),
                  Sequential.of(Conv2d.of(2, 1).bias(false))),
              Flatten.of(),
              Linear.of(3)),
          new SampleShape(4, 5, 2));

  private ModelFile model(DataType precision) {
    double[] statistics = network.initialStatistics();
    Arrays.setAll(statistics, i -> i + 0.5);
    return new ModelFile(
        network,
        Normalization.ofBytes(List.of(0.1, 0.2), List.of(0.3, 0.4)),
        List.of("a", "b \"c\"", "ü"),
        precision,
        network.initialParameters(1),
        statistics);
  }

  @Test
  void comesBackAsItWas() {
    Path path = folder.resolve("m.safetensors");
    ModelFile doubles = model(DataType.F64);
    doubles.write(path);
    ModelFile read = ModelFile.read(path);
    assertEquals(network.layers(), read.network().layers());
    assertEquals(network.inputShape(), read.network().inputShape());
    assertEquals(doubles.normalization(), read.normalization());
    assertEquals(doubles.classNames(), read.classNames());
    assertEquals(DataType.F64, read.precision());
    assertArrayEquals(doubles.parameters(), read.parameters());
    assertArrayEquals(doubles.statistics(), read.statistics());
    model(DataType.F32).write(path);
    assertArrayEquals(doubles.parameters(), ModelFile.read(path).parameters(), 1e-6);
  }

  @Test
  void hasNamesAndLayoutsOfPyTorch() {
    Path path = folder.resolve("m.safetensors");
    ModelFile model = model(DataType.F64);
    model.write(path);
    try (SafeTensors file = SafeTensors.open(path)) {
      assertEquals(
          List.of(
              "0.weight",
              "1.weight",
              "1.bias",
              "3.body.0.weight",
              "3.body.0.bias",
              "3.shortcut.0.weight",
              "3.body.1.weight",
              "3.body.1.bias",
              "5.weight",
              "5.bias",
              "1.running_mean",
              "1.running_var",
              "3.body.1.running_mean",
              "3.body.1.running_var"),
          List.copyOf(file.entries().keySet()));
      assertEquals(List.of(4L, 2L, 3L, 3L), file.entry("0.weight").shape());
      assertEquals(List.of(3L, 40L), file.entry("5.weight").shape());
      assertArrayEquals(new double[] {4.5, 5.5, 6.5, 7.5}, file.doubles("1.running_var"));
      // Filter 3, channel 1, row 2, column 0: [K,C,R,S] in the file, [K,R,S,C] in the vector.
      assertEquals(
          model.parameters()[3 * 18 + (2 * 3 + 0) * 2 + 1],
          file.doubles("0.weight")[3 * 18 + 9 + 2 * 3]);
      // Output 2 of channel 1, row 3, column 4: [out, C H W] in the file, [out, H W C] in the
      // vector.
      long offset = network.parameters().get(8).offset();
      assertEquals(
          model.parameters()[(int) offset + 2 * 40 + (3 * 5 + 4) * 2 + 1],
          file.doubles("5.weight")[2 * 40 + 20 + 19]);
    }
  }

  @Test
  void refusesWhatIsNotAModel() {
    Path path = folder.resolve("m.safetensors");
    SafeTensors.writer().floats("0.weight", new float[1], 1).write(path);
    assertTrue(
        assertThrows(IllegalArgumentException.class, () -> ModelFile.read(path))
            .getMessage()
            .startsWith("[model file] needs metadata \"network\""));
    assertThrows(
        IllegalArgumentException.class,
        () ->
            new ModelFile(
                network,
                Normalization.ofBytes(List.of(0.0), List.of(1.0)),
                List.of("one"),
                DataType.F32,
                network.initialParameters(1),
                network.initialStatistics()));
  }

  private String refusal(Path path, SafeTensors.Writer file) {
    file.write(path);
    String message =
        assertThrows(IllegalArgumentException.class, () -> ModelFile.read(path)).getMessage();
    assertTrue(message.endsWith(path.toString()), message);
    return message;
  }

  private static SafeTensors.Writer texts(String layer, String shape, String mean, String names) {
    return SafeTensors.writer()
        .metadata("network", "{\"type\":\"sequential\",\"layers\":[" + layer + "]}")
        .metadata("input_shape", shape)
        .metadata("normalization", "{\"scale\":1,\"mean\":" + mean + ",\"std\":[1]}")
        .metadata("class_names", names);
  }

  @Test
  void saysWhatIsWrongWithItsTexts() {
    Path path = folder.resolve("m.safetensors");
    String linear = "{\"type\":\"linear\",\"out\":1,\"bias\":false,\"init\":\"he\"}";
    float[] weight = {1};
    texts(linear, "1x1x1", "[0]", "[\"a\"]").floats("0.weight", weight, 1, 1).write(path);
    assertEquals(List.of("a"), ModelFile.read(path).classNames());
    assertTrue(
        refusal(path, texts(linear, "1x1x1", "[0]", "[null]").floats("0.weight", weight, 1, 1))
            .startsWith("[model file] needs texts as class names, got null"));
    assertTrue(
        refusal(path, texts(linear, "1x1x1", "[0, 0]", "[\"a\"]").floats("0.weight", weight, 1, 1))
            .startsWith("[normalization] needs "));
    // The file holds none of the 16 GiB that the network claims.
    String wide = linear.replace("1,", "2147483647,");
    assertTrue(
        refusal(path, texts(wide, "1x1x1", "[0]", "[\"a\"]").floats("0.weight", weight, 1, 1))
            .startsWith("[weights] needs \"0.weight\" of [2147483647, 1], got "));
    // 65536 x 65536 weights an output are no int.
    String kernel =
        "{\"type\":\"conv2d\",\"filters\":1,\"kernel\":65536,\"stride\":1,\"padding\":32768,"
            + "\"dilation\":1,\"groups\":1,\"bias\":false,\"init\":\"he\"},{\"type\":\"globalavgpool\"}";
    assertTrue(
        refusal(path, texts(kernel, "1x1x1", "[0]", "[\"a\"]"))
            .startsWith("[network] layer 0 (Conv2d): [conv2d] needs at most 2147483647 weights"));
  }
}
