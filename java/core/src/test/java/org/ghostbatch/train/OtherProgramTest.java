package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Normalization;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.Device;
import org.ghostbatch.nn.BatchNorm;
import org.ghostbatch.nn.Conv2d;
import org.ghostbatch.nn.Dropout;
import org.ghostbatch.nn.Flatten;
import org.ghostbatch.nn.Linear;
import org.ghostbatch.nn.MaxPool2d;
import org.ghostbatch.nn.ReLU;
import org.ghostbatch.nn.Residual;
import org.ghostbatch.nn.Sequential;
import org.ghostbatch.random.RandomStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Files shared with other programs. Nothing here but the class under test knows our reader, writer
 * or kernels: files are read and written from the description of safetensors, and networks run as
 * plain loops over PyTorch's NCHW.
 */
class OtherProgramTest {
  private static final SampleShape SHAPE = new SampleShape(9, 8, 2);
  private static final double[] MEAN = {0.4, 0.6};
  private static final double[] STD = {0.25, 0.5};

  @TempDir Path folder;

  /**
   * Convolution, batch norm, pooling, residual block with a shortcut, flatten, linear: 4 classes.
   */
  private static Sequential layers() {
    return Sequential.of(
        Conv2d.of(6, 3).padding(1).bias(false),
        BatchNorm.of(),
        ReLU.of(),
        MaxPool2d.of(2),
        Residual.of(
            Sequential.of(
                Conv2d.of(5, 3).stride(2).padding(1).bias(false),
                BatchNorm.of(),
                ReLU.of(),
                Conv2d.of(5, 3).padding(1).bias(false),
                BatchNorm.of()),
            Sequential.of(Conv2d.of(5, 1).stride(2).bias(false), BatchNorm.of())),
        Flatten.of(),
        Linear.of(7),
        BatchNorm.of(),
        ReLU.of(),
        Dropout.of(0.5),
        Linear.of(4));
  }

  /** PyTorch's names of the same net, by ours. */
  private static final Map<String, String> PYTORCH =
      Map.ofEntries(
          Map.entry("0", "conv1"),
          Map.entry("1", "bn1"),
          Map.entry("4.body.0", "layer1.0.conv1"),
          Map.entry("4.body.1", "layer1.0.bn1"),
          Map.entry("4.body.3", "layer1.0.conv2"),
          Map.entry("4.body.4", "layer1.0.bn2"),
          Map.entry("4.shortcut.0", "layer1.0.downsample.0"),
          Map.entry("4.shortcut.1", "layer1.0.downsample.1"),
          Map.entry("6", "classifier.0"),
          Map.entry("7", "classifier.1"),
          Map.entry("10", "classifier.4"));

  /** A tensor as other programs see it. */
  private record Array(int[] shape, double[] values) {}

  /** The net on one image [C,H,W]; {@code name} gives the names that {@code tensors} has. */
  private static double[] forward(
      Map<String, Array> tensors, Map<String, String> name, double[] image) {
    Plain net = new Plain(tensors, name);
    Array x = new Array(new int[] {2, 9, 8}, image);
    x = net.pool2(net.relu(net.norm("1", net.conv("0", x, 1, 1))));
    Array y = net.relu(net.norm("4.body.1", net.conv("4.body.0", x, 2, 1)));
    y = net.norm("4.body.4", net.conv("4.body.3", y, 1, 1));
    x = net.relu(net.add(y, net.norm("4.shortcut.1", net.conv("4.shortcut.0", x, 2, 0))));
    x = net.linear("6", x);
    x = net.relu(net.norm("7", x));
    return net.linear("10", x).values;
  }

  /** Layers as plain loops on [C,H,W] and [out,in]. */
  private record Plain(Map<String, Array> tensors, Map<String, String> name) {
    Array get(String module, String leaf) {
      String key = name.getOrDefault(module, module) + "." + leaf;
      assertTrue(tensors.containsKey(key), key + " in " + tensors.keySet());
      return tensors.get(key);
    }

    Array conv(String module, Array x, int stride, int pad) {
      Array w = get(module, "weight");
      int channels = w.shape[1];
      int kernel = w.shape[2];
      int height = (x.shape[1] + 2 * pad - kernel) / stride + 1;
      int width = (x.shape[2] + 2 * pad - kernel) / stride + 1;
      double[] y = new double[w.shape[0] * height * width];
      for (int k = 0, at = 0; k < w.shape[0]; k++) {
        for (int p = 0; p < height; p++) {
          for (int q = 0; q < width; q++, at++) {
            for (int c = 0; c < channels; c++) {
              for (int r = 0; r < kernel; r++) {
                for (int s = 0; s < kernel; s++) {
                  int h = p * stride + r - pad;
                  int v = q * stride + s - pad;
                  if (h >= 0 && v >= 0 && h < x.shape[1] && v < x.shape[2]) {
                    y[at] +=
                        w.values[((k * channels + c) * kernel + r) * kernel + s]
                            * x.values[(c * x.shape[1] + h) * x.shape[2] + v];
                  }
                }
              }
            }
          }
        }
      }
      return new Array(new int[] {w.shape[0], height, width}, y);
    }

    Array norm(String module, Array x) {
      double[] y = new double[x.values.length];
      int places = y.length / x.shape[0];
      for (int i = 0; i < y.length; i++) {
        int c = i / places;
        y[i] =
            (x.values[i] - get(module, "running_mean").values[c])
                    / Math.sqrt(get(module, "running_var").values[c] + 1e-5)
                    * get(module, "weight").values[c]
                + get(module, "bias").values[c];
      }
      return new Array(x.shape, y);
    }

    Array relu(Array x) {
      return new Array(x.shape, Arrays.stream(x.values).map(v -> Math.max(0, v)).toArray());
    }

    Array add(Array a, Array b) {
      assertArrayEquals(a.shape, b.shape);
      return new Array(
          a.shape,
          IntStream.range(0, a.values.length)
              .mapToDouble(i -> a.values[i] + b.values[i])
              .toArray());
    }

    Array pool2(Array x) {
      int height = x.shape[1] / 2;
      int width = x.shape[2] / 2;
      double[] y = new double[x.shape[0] * height * width];
      for (int i = 0; i < y.length; i++) {
        int c = i / (height * width);
        int h = i / width % height * 2;
        int w = i % width * 2;
        int at = (c * x.shape[1] + h) * x.shape[2] + w;
        y[i] =
            Math.max(
                Math.max(x.values[at], x.values[at + 1]),
                Math.max(x.values[at + x.shape[2]], x.values[at + x.shape[2] + 1]));
      }
      return new Array(new int[] {x.shape[0], height, width}, y);
    }

    Array linear(String module, Array x) {
      Array w = get(module, "weight");
      double[] y = get(module, "bias").values.clone();
      assertEquals(w.shape[1], x.values.length, module);
      for (int o = 0; o < y.length; o++) {
        for (int i = 0; i < x.values.length; i++) {
          y[o] += w.values[o * x.values.length + i] * x.values[i];
        }
      }
      return new Array(new int[] {y.length}, y);
    }
  }

  /** safetensors: 8 bytes length, JSON of dtype, shape, data_offsets by name, then the values. */
  private static Map<String, Array> readFile(Path path) throws IOException {
    ByteBuffer file = ByteBuffer.wrap(Files.readAllBytes(path)).order(ByteOrder.LITTLE_ENDIAN);
    int length = (int) file.getLong();
    String header = new String(file.array(), 8, length, StandardCharsets.UTF_8);
    Matcher tensor =
        Pattern.compile(
                "\"([^\"]+)\":\\{\"dtype\":\"F32\",\"shape\":\\[([0-9, ]*)\\],"
                    + "\"data_offsets\":\\[(\\d+), *(\\d+)\\]\\}")
            .matcher(header.replace(" ", ""));
    Map<String, Array> tensors = new HashMap<>();
    while (tensor.find()) {
      int[] shape = Stream.of(tensor.group(2).split(",")).mapToInt(Integer::parseInt).toArray();
      int begin = Integer.parseInt(tensor.group(3));
      int end = Integer.parseInt(tensor.group(4));
      double[] values = new double[(end - begin) / 4];
      for (int i = 0; i < values.length; i++) {
        values[i] = file.getFloat(8 + length + begin + 4 * i);
      }
      assertEquals(Arrays.stream(shape).reduce(1, (a, b) -> a * b), values.length);
      tensors.put(tensor.group(1), new Array(shape, values));
    }
    return tensors;
  }

  private static Dataset images(int count) {
    RandomStream random = new RandomStream(5, 6, 7, 8);
    byte[] pixels = new byte[count * SHAPE.elements()];
    int[] labels = new int[count];
    for (int i = 0; i < pixels.length; i++) {
      labels[i / SHAPE.elements()] = i / SHAPE.elements() % 4;
      boolean bright = i % SHAPE.elements() / 36 == labels[i / SHAPE.elements()];
      pixels[i] = (byte) (random.nextInt(190) + (bright ? 60 : 0));
    }
    return Dataset.of(pixels, SHAPE, labels)
        .withNormalization(
            Normalization.ofBytes(List.of(MEAN[0], MEAN[1]), List.of(STD[0], STD[1])));
  }

  /** Image [H,W,C] of bytes as normalized [C,H,W]. */
  private static double[] normalized(Dataset data, int image) {
    ByteBuffer bytes = ByteBuffer.allocate(SHAPE.elements()).order(ByteOrder.nativeOrder());
    data.read(new int[] {image}, 0, 1, bytes);
    double[] values = new double[SHAPE.elements()];
    for (int i = 0; i < values.length; i++) {
      int c = i % 2;
      values[c * 72 + i / 2] = ((bytes.get(i) & 0xFF) / 255.0 - MEAN[c]) / STD[c];
    }
    return values;
  }

  private static int largest(double[] logits) {
    return IntStream.range(0, logits.length)
        .reduce((a, b) -> logits[b] > logits[a] ? b : a)
        .orElseThrow();
  }

  private static void same(
      Predictor predictor, Dataset data, Map<String, Array> tensors, Map<String, String> names) {
    float[] logits = predictor.logits(data);
    List<Prediction> predictions = predictor.predict(data);
    int[] classes = new int[4];
    for (int i = 0; i < data.count(); i++) {
      double[] plain = forward(tensors, names, normalized(data, i));
      for (int k = 0; k < 4; k++) {
        assertEquals(plain[k], logits[4 * i + k], 2e-5 * (1 + Math.abs(plain[k])), "logit of " + i);
      }
      assertEquals(largest(plain), predictions.get(i).label());
      classes[largest(plain)]++;
    }
    assertTrue(
        Arrays.stream(classes).filter(n -> n > 0).count() > 2,
        "classes " + Arrays.toString(classes));
  }

  private Path trained(Device device, Dataset data) {
    Path path = folder.resolve("model.safetensors");
    try (Trainer trainer =
        Trainer.of(layers()).batchSize(50).ghostBatchSize(25).epochs(6).on(device)) {
      trainer.fit(data, null);
      trainer.save(path);
    }
    return path;
  }

  @Test
  void ourModelPredictsTheSameElsewhere() throws IOException {
    Dataset data = images(200);
    try (Device device = Device.of("cpu", 2)) {
      Path path = trained(device, data);
      Map<String, Array> tensors = readFile(path);
      assertArrayEquals(new int[] {5, 6, 3, 3}, tensors.get("4.body.0.weight").shape);
      assertArrayEquals(new int[] {7, 20}, tensors.get("6.weight").shape);
      try (Predictor predictor = Predictor.load(path, device)) {
        same(predictor, data, tensors, Map.of());
      }
    }
  }

  /**
   * Writes what Python's writer would: sorted by type, then name. Returns the values as rounded.
   */
  private static Map<String, Array> writeFile(Path path, String type, Map<String, Array> tensors)
      throws IOException {
    ByteArrayOutputStream values = new ByteArrayOutputStream();
    StringBuilder header = new StringBuilder("{\"__metadata__\":{\"format\":\"pt\"}");
    Map<String, Array> rounded = new HashMap<>();
    TreeMap<String, Array> sorted = new TreeMap<>(tensors);
    for (String name : sorted.keySet()) {
      if (name.endsWith("running_var")) {
        String count = name.replace("running_var", "num_batches_tracked");
        entry(header, count, "I64", new int[0], values.size(), 8);
        values.write(new byte[] {9, 0, 0, 0, 0, 0, 0, 0});
      }
    }
    for (var tensor : sorted.entrySet()) {
      Array array = tensor.getValue();
      int size = type.equals("F64") ? 8 : type.equals("F32") ? 4 : 2;
      ByteBuffer bytes =
          ByteBuffer.allocate(size * array.values.length).order(ByteOrder.LITTLE_ENDIAN);
      double[] kept = new double[array.values.length];
      for (int i = 0; i < kept.length; i++) {
        kept[i] = put(bytes, type, array.values[i]);
      }
      entry(header, tensor.getKey(), type, array.shape, values.size(), bytes.capacity());
      values.write(bytes.array());
      rounded.put(tensor.getKey(), new Array(array.shape, kept));
    }
    byte[] text = header.append('}').toString().getBytes(StandardCharsets.UTF_8);
    try (var out = Files.newOutputStream(path)) {
      out.write(ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(text.length).array());
      out.write(text);
      values.writeTo(out);
    }
    return rounded;
  }

  private static void entry(
      StringBuilder header, String name, String type, int[] shape, int begin, int bytes) {
    header.append(
        String.format(
            ",\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%d,%d]}",
            name, type, Arrays.toString(shape), begin, begin + bytes));
  }

  /** Writes a value, for 16 bits cut to the type, and returns what a reader should get. */
  private static double put(ByteBuffer bytes, String type, double value) {
    int bits = Float.floatToRawIntBits((float) value);
    switch (type) {
      case "F64" -> bytes.putDouble(value);
      case "F32" -> bytes.putFloat((float) value);
      case "BF16" -> bytes.putShort((short) (bits >>> 16));
      default -> {
        // F16: 10 bits of fraction; values that it has not as normal numbers become 0.
        int exponent = (bits >>> 23 & 0xFF) - 127;
        if (exponent < -14) {
          bytes.putShort((short) 0);
          return 0;
        }
        bytes.putShort((short) (bits >>> 31 << 15 | exponent + 15 << 10 | bits >>> 13 & 0x3FF));
        return Float.intBitsToFloat(bits & 0xFFFFE000);
      }
    }
    return switch (type) {
      case "F64" -> value;
      case "F32" -> (float) value;
      default -> Float.intBitsToFloat(bits & 0xFFFF0000);
    };
  }

  @ParameterizedTest
  @ValueSource(strings = {"F64", "F32", "BF16", "F16"})
  void pyTorchsModelPredictsTheSameHere(String type) throws IOException {
    Dataset data = images(200);
    Path path = folder.resolve("pytorch.safetensors");
    try (Device device = Device.of("cpu", 2)) {
      Map<String, Array> renamed = new HashMap<>();
      readFile(trained(device, data))
          .forEach(
              (name, array) -> {
                int leaf = name.lastIndexOf('.');
                renamed.put(PYTORCH.get(name.substring(0, leaf)) + name.substring(leaf), array);
              });
      Map<String, Array> tensors = writeFile(path, type, renamed);
      try (Trainer trainer =
          Trainer.of(layers()).batchSize(50).epochs(1).initFrom(path).on(device)) {
        trainer.prepare(data);
        try (Predictor predictor = Predictor.of(trainer.model(), device, 2)) {
          same(predictor, data, tensors, PYTORCH);
        }
      }
    }
  }
}
