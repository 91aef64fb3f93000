package org.ghostbatch.fuzz;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.code_intelligence.jazzer.junit.DictionaryEntries;
import com.code_intelligence.jazzer.junit.FuzzTest;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.SafeTensors;
import org.ghostbatch.nn.AvgPool2d;
import org.ghostbatch.nn.BatchNorm;
import org.ghostbatch.nn.Conv2d;
import org.ghostbatch.nn.Dropout;
import org.ghostbatch.nn.Flatten;
import org.ghostbatch.nn.Layer;
import org.ghostbatch.nn.Linear;
import org.ghostbatch.nn.MaxPool2d;
import org.ghostbatch.nn.ModelFile;
import org.ghostbatch.nn.Network;
import org.ghostbatch.nn.Parameter;
import org.ghostbatch.nn.ReLU;
import org.ghostbatch.nn.Residual;
import org.ghostbatch.nn.Sequential;
import org.ghostbatch.nn.Statistics;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Any texts as the metadata of a model file, a line each: network, input shape, normalization,
 * class names. The file is read without tensors, and where the network is a small one, with the
 * tensors it needs.
 */
class ModelFileFuzzTest {
  private static final List<String> KEYS =
      List.of("network", "input_shape", "normalization", "class_names");
  private static final int MAX_ELEMENTS = 20_000;

  private final Path file = Reading.file(Reading.folder(), "model.safetensors");
  private final Path again = Reading.file(file.getParent(), "again.safetensors");

  static Stream<byte[]> valid() {
    Sequential small =
        Sequential.of(
            Conv2d.of(2, 3).padding(1).bias(false),
            BatchNorm.of(),
            ReLU.of(),
            Residual.of(
                Sequential.of(Conv2d.of(2, 1), BatchNorm.of()), Sequential.of(Conv2d.of(2, 1))),
            MaxPool2d.of(2),
            Dropout.of(0.5),
            AvgPool2d.of(2),
            Flatten.of(),
            Linear.of(2));
    Sequential nested = Sequential.of(Sequential.of(Flatten.of()), Linear.of(2).bias(false));
    return Stream.of(
            String.join(
                "\n",
                Json.write(small.toJson()),
                "4x5x1",
                "{\"scale\":0.5,\"mean\":[0.25],\"std\":[2]}",
                "[\"a\",\"b\"]"),
            String.join(
                "\n",
                Json.write(nested.toJson()),
                "1x1x3",
                "{\"scale\":1,\"mean\":[0,0,0],\"std\":[1,1,1]}",
                "[\"0\",\"1\"]"))
        .map(text -> text.getBytes(StandardCharsets.UTF_8));
  }

  @MethodSource("valid")
  @DictionaryEntries({
    "{\"type\":\"linear\",\"out\":2,\"bias\":true,\"init\":\"pytorch\"}",
    "{\"type\":\"batchnorm\",\"epsilon\":1.0E-5}",
    "{\"type\":\"relu\"}",
    "{\"type\":\"flatten\"}",
    "{\"type\":\"globalavgpool\"}",
    "{\"type\":\"dropout\",\"rate\":0.5}",
    "{\"type\":\"maxpool2d\",\"kernel\":2,\"stride\":2,\"padding\":0}",
    "{\"type\":\"sequential\",\"layers\":[",
    "2147483647",
    "1073741824",
    "65536",
    "46341"
  })
  @FuzzTest
  void reads(byte[] input) {
    accepts(input);
  }

  @ParameterizedTest
  @MethodSource("valid")
  void acceptsWhatIsValid(byte[] input) {
    assertTrue(accepts(input));
  }

  private boolean accepts(byte[] input) {
    String[] lines = new String(input, StandardCharsets.UTF_8).split("\n", -1);
    write(lines, null);
    assertFalse(accepts(input.length));
    Network network = network(lines);
    if (network == null
        || network.parameterCount() + network.statisticsCount() > MAX_ELEMENTS
        || network.parameters().size() > 100) {
      return false;
    }
    write(lines, network);
    return accepts(input.length + 8 * (network.parameterCount() + network.statisticsCount()));
  }

  private boolean accepts(long size) {
    Optional<ModelFile> read = Reading.of(size, 256, () -> ModelFile.read(file));
    if (read.isPresent()) {
      ModelFile model = read.get();
      model.write(again);
      ModelFile copy = ModelFile.read(again);
      assertEquals(model.network().layers(), copy.network().layers());
      assertEquals(model.network().inputShape(), copy.network().inputShape());
      assertEquals(model.normalization(), copy.normalization());
      assertEquals(model.classNames(), copy.classNames());
      assertEquals(model.precision(), copy.precision());
      assertArrayEquals(model.parameters(), copy.parameters());
      assertArrayEquals(model.statistics(), copy.statistics());
      model.network().summary();
    }
    return read.isPresent();
  }

  private static Network network(String[] lines) {
    try {
      Layer layer = Layer.fromJson(Json.parseObject(lines[0]));
      return lines.length > 1 && layer instanceof Sequential layers
          ? Network.of(layers, SampleShape.parse(lines[1]))
          : null;
    } catch (IllegalArgumentException e) {
      return null;
    }
  }

  private void write(String[] lines, Network network) {
    SafeTensors.Writer writer = SafeTensors.writer();
    for (int i = 0; i < Math.min(lines.length, KEYS.size()); i++) {
      writer.metadata(KEYS.get(i), lines[i]);
    }
    if (network != null) {
      for (Parameter parameter : network.parameters()) {
        long[] shape = parameter.shape().stream().mapToLong(Integer::longValue).toArray();
        float[] values = new float[parameter.elements()];
        for (int i = 0; i < values.length; i++) {
          values[i] = i + parameter.offset();
        }
        writer.floats(parameter.name(), values, shape);
      }
      for (Statistics slice : network.statistics()) {
        float[] values = new float[slice.channels()];
        writer.floats(slice.name() + ".running_mean", values, values.length);
        writer.floats(slice.name() + ".running_var", values, values.length);
      }
    }
    writer.write(file);
  }
}
