package org.ghostbatch.nn;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.UnaryOperator;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.io.SafeTensors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** State dicts as PyTorch's modules have them: names, order and shapes written out by hand. */
class WeightsTest {
  @TempDir Path folder;

  /** A tensor of a state dict, and the network's tensor that it is. */
  private record Named(String name, String ours, List<Integer> shape, boolean count) {}

  /** Collects modules in the order of their registration. */
  private static final class StateDict {
    final List<Named> tensors = new ArrayList<>();

    private StateDict add(String module, String ours, String leaf, Integer... shape) {
      boolean count = leaf.equals("num_batches_tracked");
      tensors.add(new Named(module + "." + leaf, ours + "." + leaf, List.of(shape), count));
      return this;
    }

    StateDict conv(String module, Object ours, int out, int in, int kernel, boolean bias) {
      add(module, "" + ours, "weight", out, in, kernel, kernel);
      return bias ? add(module, "" + ours, "bias", out) : this;
    }

    StateDict linear(String module, Object ours, int out, int in, boolean bias) {
      add(module, "" + ours, "weight", out, in);
      return bias ? add(module, "" + ours, "bias", out) : this;
    }

    StateDict norm(String module, Object ours, int channels) {
      for (String leaf : List.of("weight", "bias", "running_mean", "running_var")) {
        add(module, "" + ours, leaf, channels);
      }
      return add(module, "" + ours, "num_batches_tracked");
    }
  }

  /**
   * ResNet and wide ResNet for CIFAR; {@code side} and {@code head} differ between repositories.
   */
  private static StateDict resnet(int blocks, int width, String side, String head) {
    StateDict dict = new StateDict();
    int in = 16 * width;
    dict.conv("conv1", 0, in, 3, 3, false).norm("bn1", 1, in);
    int ours = 3;
    for (int stage = 1; stage <= 3; stage++) {
      int out = 8 * width << stage;
      for (int block = 0; block < blocks; block++, ours++) {
        String name = "layer" + stage + "." + block + ".";
        dict.conv(name + "conv1", ours + ".body.0", out, in, 3, false);
        dict.norm(name + "bn1", ours + ".body.1", out);
        dict.conv(name + "conv2", ours + ".body.3", out, out, 3, false);
        dict.norm(name + "bn2", ours + ".body.4", out);
        if (in != out) {
          dict.conv(name + side + ".0", ours + ".shortcut.0", out, in, 1, false);
          dict.norm(name + side + ".1", ours + ".shortcut.1", out);
        }
        in = out;
      }
    }
    return dict.linear(head, ours + 1, 10, in, true);
  }

  private static StateDict vgg11() {
    StateDict dict = new StateDict();
    int in = 3;
    int index = 0;
    for (int out : new int[] {64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0}) {
      if (out == 0) {
        index++;
        continue;
      }
      dict.conv("features." + index, index, out, in, 3, true);
      dict.norm("features." + (index + 1), index + 1, out);
      index += 3;
      in = out;
    }
    return dict.linear("classifier.0", index + 1, 10, 512, true);
  }

  private static StateDict alexnet() {
    StateDict dict = new StateDict();
    int[][] convolutions = {
      {0, 2, 3, 64, 11},
      {4, 7, 64, 192, 5},
      {8, 10, 192, 384, 3},
      {11, 13, 384, 256, 3},
      {14, 17, 256, 256, 3}
    };
    for (int[] c : convolutions) {
      dict.conv("features." + c[0], c[0], c[3], c[2], c[4], false);
      dict.norm("features." + c[1], c[1], c[3]);
    }
    dict.linear("classifier.0", 19, 4096, 256, false).norm("classifier.1", 20, 4096);
    dict.linear("classifier.4", 23, 4096, 4096, false).norm("classifier.5", 24, 4096);
    return dict.linear("classifier.8", 27, 10, 4096, true);
  }

  private static StateDict f1() {
    StateDict dict = new StateDict();
    for (int i = 0; i < 5; i++) {
      dict.linear("layers." + 3 * i, 3 * i + 1, 512, i == 0 ? 3072 : 512, true);
      dict.norm("layers." + (3 * i + 1), 3 * i + 2, 512);
    }
    return dict.linear("layers.15", 16, 10, 512, true);
  }

  private static StateDict hofferC1() {
    StateDict dict = new StateDict();
    dict.conv("features.0", 0, 64, 3, 5, false).norm("features.2", 2, 64);
    dict.conv("features.4", 4, 64, 64, 5, false).norm("features.6", 6, 64);
    dict.linear("classifier.0", 9, 384, 3136, false).norm("classifier.1", 10, 384);
    dict.linear("classifier.4", 13, 192, 384, false).norm("classifier.5", 14, 192);
    return dict.linear("classifier.8", 17, 10, 192, true);
  }

  /** LeNet as people write it: batch norms numbered on behind linear layers. */
  private static StateDict lenet() {
    StateDict dict = new StateDict();
    dict.conv("conv1", 0, 32, 3, 5, false).norm("bn1", 1, 32);
    dict.conv("conv2", 4, 64, 32, 5, false).norm("bn2", 5, 64);
    return dict.linear("fc1", 9, 512, 4096, false)
        .norm("bn3", 10, 512)
        .linear("fc2", 12, 10, 512, true);
  }

  private static final Map<String, StateDict> DICTS = new LinkedHashMap<>();

  static {
    DICTS.put("resnet20", resnet(3, 1, "downsample", "fc"));
    DICTS.put("resnet110", resnet(18, 1, "shortcut", "linear"));
    DICTS.put("wrn-16-4", resnet(2, 4, "downsample", "fc"));
    DICTS.put("vgg11", vgg11());
    DICTS.put("alexnet", alexnet());
    DICTS.put("f1", f1());
    DICTS.put("hoffer-c1", hofferC1());
    DICTS.put("lenet", lenet());
  }

  /** Element i of a tensor: 23 bits in [1, 2) that hardly any other element has. */
  private static float value(Named tensor, int i) {
    int bits = (tensor.ours.hashCode() ^ i * 0x9E3779B9) * 0x85EBCA6B;
    return Float.intBitsToFloat((bits ^ bits >>> 13) * 0xC2B2AE35 >>> 9 | 0x3F800000);
  }

  private static SafeTensors.Writer writer(Iterable<Named> tensors, UnaryOperator<String> name) {
    SafeTensors.Writer writer = SafeTensors.writer().metadata("format", "pt");
    for (Named tensor : tensors) {
      if (tensor.count) {
        writer.longs(name.apply(tensor.name), new long[] {391});
        continue;
      }
      float[] values = new float[tensor.shape.stream().reduce(1, Math::multiplyExact)];
      for (int i = 0; i < values.length; i++) {
        values[i] = value(tensor, i);
      }
      long[] shape = tensor.shape.stream().mapToLong(Integer::longValue).toArray();
      writer.floats(name.apply(tensor.name), values, shape);
    }
    return writer;
  }

  private static void check(StateDict dict, Network network, Weights weights) {
    Map<String, Named> byOurs = new TreeMap<>();
    dict.tensors.stream().filter(t -> !t.count).forEach(t -> byOurs.put(t.ours, t));
    assertEquals(
        byOurs.size(), network.parameters().size() + 2 * network.statistics().size(), "tensors");
    for (Parameter parameter : network.parameters()) {
      Named tensor = byOurs.get(parameter.name());
      // [K, C, R, S] in the file, [K, R, S, C] in the vector; of a linear layer H and W for R and
      // S.
      int at = (int) parameter.offset();
      for (int k = 0; k < parameter.outer(); k++) {
        for (int cell = 0; cell < parameter.height() * parameter.width(); cell++) {
          for (int c = 0; c < parameter.channels(); c++, at++) {
            int row = k * parameter.channels() + c;
            int i = row * parameter.height() * parameter.width() + cell;
            if (weights.parameters()[at] != value(tensor, i)) {
              assertEquals(value(tensor, i), weights.parameters()[at], tensor.name + "[" + i + "]");
            }
          }
        }
      }
    }
    for (Statistics of : network.statistics()) {
      for (int c = 0; c < of.channels(); c++) {
        int at = (int) of.offset() + c;
        assertEquals(value(byOurs.get(of.name() + ".running_mean"), c), weights.statistics()[at]);
        assertEquals(
            value(byOurs.get(of.name() + ".running_var"), c),
            weights.statistics()[at + of.channels()]);
      }
    }
  }

  private static Network network(String model) {
    return Network.of(Models.byName(model, 10), new SampleShape(32, 32, 3));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "resnet20",
        "resnet110",
        "wrn-16-4",
        "vgg11",
        "alexnet",
        "f1",
        "hoffer-c1",
        "lenet"
      })
  void takesPyTorchsNames(String model) {
    Path path = folder.resolve("pt.safetensors");
    StateDict dict = DICTS.get(model);
    Network network = network(model);
    // As Python's writer sorts them; in PyTorch's order; from DataParallel; under names of ours.
    Map<String, Named> sorted = new TreeMap<>();
    dict.tensors.forEach(tensor -> sorted.put(tensor.name, tensor));
    writer(sorted.values(), name -> name).write(path);
    check(dict, network, Weights.read(path, network));
    if (network.parameterCount() > 5_000_000) {
      return; // That will do: a second a file.
    }
    writer(dict.tensors, name -> name).write(path);
    check(dict, network, Weights.read(path, network));
    writer(sorted.values(), name -> "module." + name).write(path);
    check(dict, network, Weights.read(path, network));
    Map<String, String> ours = new TreeMap<>();
    dict.tensors.forEach(tensor -> ours.put(tensor.name, tensor.ours));
    writer(sorted.values(), ours::get).write(path);
    check(dict, network, Weights.read(path, network));
  }

  @Test
  void namesSortAsNetworksRun() {
    List<String> order =
        List.of(
            "bn",
            "bn1",
            "conv1",
            "stem.0",
            "block1.layer.0.conv1",
            "block1.layer.0.conv2",
            "block1.layer.0.residual",
            "block1.layer.0.downsample.0",
            "block1.layer.2",
            "block1.layer.010",
            "block1.layer.10.x",
            "block1.skip",
            "block2",
            "block10",
            "layer1",
            "fc",
            "fc2",
            "head");
    List<String> sorted = new ArrayList<>(order);
    sorted.sort(Comparator.reverseOrder());
    sorted.sort(new Weights.ModuleOrder());
    assertEquals(order, sorted);
  }

  @Test
  void orderOfTheFileCountsWhereNamesDoNot() {
    StateDict dict = new StateDict();
    dict.linear("zeta", 1, 8, 12, true).linear("alpha", 3, 8, 8, true).linear("mu", 5, 8, 8, true);
    Network network =
        Network.of(
            Sequential.of(
                Flatten.of(), Linear.of(8), ReLU.of(), Linear.of(8), ReLU.of(), Linear.of(8)),
            new SampleShape(2, 2, 3));
    Path path = folder.resolve("pt.safetensors");
    writer(dict.tensors, name -> name).write(path);
    check(dict, network, Weights.read(path, network));
  }

  @Test
  void namesTheFirstTensorThatDoesNotFit() {
    StateDict dict = DICTS.get("resnet20");
    refused(
        "[weights] needs \"0.weight\" of [64, 3, 3, 3], got \"conv1.weight\" of [16, 3, 3, 3] in ",
        dict.tensors,
        "wrn-16-4");
    refused(
        "[weights] needs \"6.body.0.weight\" of [16, 16, 3, 3], got \"layer2.0.conv1.weight\" of [32,"
            + " 16, 3, 3] in ",
        dict.tensors,
        "resnet44");
    refused("[weights] needs \"0.bias\" of [64], got no \"conv1.bias\" in ", lenetWide(), "c1");
    refused(
        "[weights] needs no more tensors than its network of 272474 parameters",
        more(),
        "resnet20");
    refused(
        "[weights] needs \"12.weight\" of [10, 512], got no further weight of 2 dimensions in ",
        DICTS.get("lenet").tensors.stream().filter(t -> !t.name.startsWith("fc2")).toList(),
        "lenet");
    refused(
        "[weights] needs \"1.running_mean\" of [16], got no \"bn1.running_mean\" in ",
        dict.tensors.stream().filter(t -> !t.name.equals("bn1.running_mean")).toList(),
        "resnet20");
    refused(
        "[weights] needs modules that have a weight, got \"fc\" in ",
        dict.tensors.stream().filter(t -> !t.name.equals("fc.weight")).toList(),
        "resnet20");
    refused(
        "[weights] needs \"0.weight\" of [64, 3, 5, 5], got no further weight of 4 dimensions",
        DICTS.get("f1").tensors,
        "c1");
  }

  private static List<Named> lenetWide() {
    return new StateDict()
        .conv("conv1", 0, 64, 3, 5, false)
        .conv("conv2", 1, 64, 64, 5, false)
        .norm("bn1", 1, 64)
        .norm("bn2", 1, 64)
        .norm("bn3", 1, 384)
        .norm("bn4", 1, 192)
        .linear("fc1", 1, 384, 4096, true)
        .linear("fc2", 1, 192, 384, true)
        .linear("fc3", 1, 10, 192, true)
        .tensors;
  }

  private static List<Named> more() {
    List<Named> tensors = new ArrayList<>(DICTS.get("resnet20").tensors);
    tensors.add(new Named("fc.scale", "12.scale", List.of(10), false));
    return tensors;
  }

  private void refused(String message, List<Named> tensors, String model) {
    Path path = folder.resolve("pt.safetensors");
    writer(tensors, name -> name).write(path);
    String got =
        assertThrows(IllegalArgumentException.class, () -> Weights.read(path, network(model)))
            .getMessage();
    assertEquals(message, got.substring(0, Math.min(got.length(), message.length())));
  }
}
