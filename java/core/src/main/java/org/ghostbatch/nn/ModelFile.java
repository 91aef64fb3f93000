package org.ghostbatch.nn;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
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
  private static final String MEAN = ".running_mean";
  private static final String VARIANCE = ".running_var";

  public ModelFile {
    Check.present(KIND, "a network", network);
    Check.present(KIND, "a normalization", normalization);
    classNames = List.copyOf(Check.present(KIND, "class names", classNames));
    if (classNames.size() != network.classes()) {
      throw Check.bad(KIND, network.classes() + " class names", classNames.size());
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
      double[] values = slice(parameters, parameter.offset(), parameter.elements());
      add(writer, parameter.name(), parameter.toFile(values), parameter.shape());
    }
    for (Statistics slice : network.statistics()) {
      List<Integer> shape = List.of(slice.channels());
      add(writer, slice.name() + MEAN, slice(statistics, slice.offset(), slice.channels()), shape);
      add(
          writer,
          slice.name() + VARIANCE,
          slice(statistics, slice.offset() + slice.channels(), slice.channels()),
          shape);
    }
    writer.write(path);
  }

  private void add(SafeTensors.Writer writer, String name, double[] values, List<Integer> shape) {
    long[] sizes = shape.stream().mapToLong(Integer::longValue).toArray();
    if (precision == DataType.F64) {
      writer.doubles(name, values, sizes);
    } else {
      float[] floats = new float[values.length];
      for (int i = 0; i < values.length; i++) {
        floats[i] = (float) values[i];
      }
      writer.floats(name, floats, sizes);
    }
  }

  private static double[] slice(double[] vector, long from, int count) {
    return Arrays.copyOfRange(vector, (int) from, (int) from + count);
  }

  /**
   * Reads what {@link #write} wrote.
   *
   * @throws IllegalArgumentException naming what is missing, or has another shape than the network
   */
  public static ModelFile read(Path path) {
    try (SafeTensors file = SafeTensors.open(path)) {
      Layer layer = Layer.fromJson(Json.parseObject(text(file, path, "network")));
      if (!(layer instanceof Sequential layers)) {
        throw Check.bad(KIND, "a sequential network in " + path, layer.getClass().getSimpleName());
      }
      Network network = Network.of(layers, SampleShape.parse(text(file, path, "input_shape")));
      double[] parameters = new double[(int) network.parameterCount()];
      double[] statistics = new double[(int) network.statisticsCount()];
      for (Parameter parameter : network.parameters()) {
        double[] values =
            parameter.fromFile(values(file, path, parameter.name(), parameter.shape()));
        System.arraycopy(values, 0, parameters, (int) parameter.offset(), values.length);
      }
      for (Statistics slice : network.statistics()) {
        List<Integer> shape = List.of(slice.channels());
        int offset = (int) slice.offset();
        System.arraycopy(
            values(file, path, slice.name() + MEAN, shape),
            0,
            statistics,
            offset,
            slice.channels());
        System.arraycopy(
            values(file, path, slice.name() + VARIANCE, shape),
            0,
            statistics,
            offset + slice.channels(),
            slice.channels());
      }
      boolean doubles =
          file.entry(network.parameters().get(0).name()).type() == SafeTensors.Type.F64;
      return new ModelFile(
          network,
          normalization(Json.parseObject(text(file, path, "normalization"))),
          names(Json.parse(text(file, path, "class_names"))),
          doubles ? DataType.F64 : DataType.F32,
          parameters,
          statistics);
    }
  }

  private static String text(SafeTensors file, Path path, String key) {
    String text = file.metadata().get(key);
    if (text == null) {
      throw Check.bad(KIND, "metadata \"" + key + "\" in " + path, file.metadata().keySet());
    }
    return text;
  }

  private static double[] values(SafeTensors file, Path path, String name, List<Integer> shape) {
    List<Long> wanted = shape.stream().map(Integer::longValue).toList();
    List<Long> got = file.entry(name).shape();
    if (!got.equals(wanted)) {
      throw Check.bad(KIND, "\"" + name + "\" of " + wanted + " in " + path, got);
    }
    return file.doubles(name);
  }

  private static Normalization normalization(JsonObject json) {
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
    return list.stream().map(String::valueOf).toList();
  }
}
