package org.ghostbatch.nn;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.function.IntToDoubleFunction;
import org.ghostbatch.data.Normalization;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.DataType;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.io.SafeTensors;

/**
 * A trained network as a file that suffices to predict: a safetensors file with PyTorch's names and
 * layouts, whose metadata has the network, the input's shape and normalization, and the names of
 * the classes.
 *
 * @param classNames as many as the network has outputs
 * @param precision type of the tensors in the file: f32 or f64
 * @param parameters the parameter vector, in the network's order and layout; not copied
 * @param statistics the vector of running statistics; not copied
 */
public record ModelFile(
    Network network,
    Normalization normalization,
    List<String> classNames,
    DataType precision,
    double[] parameters,
    double[] statistics) {
  private static final String KIND = "model file";

  public ModelFile {
    Check.present(KIND, "a network", network);
    Check.present(KIND, "a normalization", normalization);
    classNames = List.copyOf(Check.present(KIND, "class names", classNames));
    if (classNames.size() != network.classes()) {
      throw Check.bad(KIND, network.classes() + " class names", classNames.size());
    }
    if (normalization.mean().size() != network.inputShape().channels()) {
      throw Check.bad(
          KIND,
          "a normalization of " + network.inputShape().channels() + " channels",
          normalization.mean().size());
    }
    if (precision != DataType.F32 && precision != DataType.F64) {
      throw Check.bad(KIND, "f32 or f64", precision);
    }
    if (parameters.length != network.parameterCount()
        || statistics.length != network.statisticsCount()) {
      throw Check.bad(
          KIND,
          network.parameterCount() + " parameters and " + network.statisticsCount() + " statistics",
          parameters.length + " and " + statistics.length);
    }
  }

  /** Writes the file, whole or not at all. */
  public void write(Path path) {
    SafeTensors.Writer writer =
        SafeTensors.writer()
            .metadata("format", "pt")
            .metadata("ghostbatch", "1")
            .metadata("network", Json.write(network.layers().toJson()))
            .metadata("input_shape", network.inputShape().toString())
            .metadata(
                "normalization",
                Json.write(
                    new JsonObject()
                        .put("scale", normalization.scale())
                        .put("mean", normalization.mean())
                        .put("std", normalization.std())))
            .metadata("class_names", Json.write(classNames));
    for (Parameter parameter : network.parameters()) {
      int from = (int) parameter.offset();
      add(
          writer,
          parameter.name(),
          parameter.shape(),
          index -> parameters[from + parameter.inVector(index)]);
    }
    for (Statistics of : network.statistics()) {
      List<Integer> shape = List.of(of.channels());
      int mean = (int) of.offset();
      int variance = mean + of.channels();
      add(writer, of.name() + "." + Weights.MEAN, shape, index -> statistics[mean + index]);
      add(writer, of.name() + "." + Weights.VARIANCE, shape, index -> statistics[variance + index]);
    }
    writer.write(path);
  }

  private void add(
      SafeTensors.Writer writer, String name, List<Integer> shape, IntToDoubleFunction value) {
    long[] sizes = shape.stream().mapToLong(Integer::longValue).toArray();
    int length = shape.stream().reduce(1, Math::multiplyExact);
    if (precision == DataType.F64) {
      writer.doubles(name, length, value, sizes);
    } else {
      writer.floats(name, length, value, sizes);
    }
  }

  /**
   * Reads what {@link #write} wrote.
   *
   * @throws IllegalArgumentException naming what is missing, or has another shape than the network
   * @throws java.io.UncheckedIOException where the file cannot be read
   */
  public static ModelFile read(Path path) {
    try (SafeTensors file = SafeTensors.open(path)) {
      return read(file, path);
    } catch (IllegalArgumentException e) {
      if (e.getMessage().contains(path.toString())) {
        throw e;
      }
      throw new IllegalArgumentException(e.getMessage() + ", in " + path, e);
    }
  }

  private static ModelFile read(SafeTensors file, Path path) {
    Layer layer = Layer.fromJson(Json.parseObject(text(file, "network")));
    if (!(layer instanceof Sequential layers)) {
      throw Check.bad(KIND, "a sequential network", layer.getClass().getSimpleName());
    }
    Network network = Network.of(layers, SampleShape.parse(text(file, "input_shape")));
    Weights weights = Weights.read(file, path, network);
    boolean doubles = file.entry(network.parameters().get(0).name()).type() == SafeTensors.Type.F64;
    return new ModelFile(
        network,
        normalization(Json.parseObject(text(file, "normalization"))),
        names(Json.parse(text(file, "class_names"))),
        doubles ? DataType.F64 : DataType.F32,
        weights.parameters(),
        weights.statistics());
  }

  private static String text(SafeTensors file, String key) {
    String text = file.metadata().get(key);
    if (text == null) {
      throw Check.bad(KIND, "metadata \"" + key + "\"", file.metadata().keySet());
    }
    return text;
  }

  private static Normalization normalization(JsonObject json) {
    json.requireOnly(Set.of("scale", "mean", "std"));
    return new Normalization(
        json.getDouble("scale"), numbers(json.getList("mean")), numbers(json.getList("std")));
  }

  private static List<Double> numbers(List<?> values) {
    List<Double> numbers = new ArrayList<>();
    for (Object value : values) {
      if (!(value instanceof Number number)) {
        throw Check.bad(KIND, "numbers in its normalization", value);
      }
      numbers.add(number.doubleValue());
    }
    return numbers;
  }

  private static List<String> names(Object json) {
    if (!(json instanceof List<?> list)) {
      throw Check.bad(KIND, "a list of class names", json);
    }
    List<String> names = new ArrayList<>();
    for (Object name : list) {
      if (!(name instanceof String text)) {
        throw Check.bad(KIND, "texts as class names", name);
      }
      names.add(text);
    }
    return names;
  }
}
