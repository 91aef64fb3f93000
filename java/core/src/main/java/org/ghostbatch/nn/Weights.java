package org.ghostbatch.nn;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.ghostbatch.io.SafeTensors;

/**
 * Parameters and running statistics of a network from a safetensors file: one of ours, or what
 * PyTorch saved of the same architecture. Layouts are PyTorch's (see {@link Parameter}); f64, f32,
 * bf16 and f16 convert.
 *
 * <p>Where the file has the network's own names, they decide. Otherwise layers are matched by kind
 * and order: the file's convolutions in turn to the network's, and so linear layers and batch
 * norms. Order is that of the values in the file, PyTorch's order of modules; but where names
 * ascend in it, because the writer sorted them, it is that of {@link ModuleOrder}. {@code
 * num_batches_tracked} is passed over.
 *
 * @param parameters the parameter vector, in the network's order and layout; not copied
 * @param statistics the vector of running statistics; not copied
 */
public record Weights(double[] parameters, double[] statistics) {
  static final String MEAN = "running_mean";
  static final String VARIANCE = "running_var";

  private static final String FORM = "weights";
  private static final String WEIGHT = "weight";
  private static final String COUNT = "num_batches_tracked";
  private static final int MAX_LENGTH = Integer.MAX_VALUE - 8; // of an array

  /** A tensor that the network needs: its place, and for parameters the way to it. */
  private record Slot(String name, List<Long> shape, Parameter parameter, long offset) {
    static Slot of(Parameter parameter) {
      List<Long> shape = parameter.shape().stream().map(Integer::longValue).toList();
      return new Slot(parameter.name(), shape, parameter, parameter.offset());
    }

    static Slot of(String name, int channels, long offset) {
      return new Slot(name, List.of((long) channels), null, offset);
    }

    SafeTensors.Values into(Weights weights) {
      int from = (int) offset;
      return parameter == null
          ? (index, value) -> weights.statistics[from + index] = value
          : (index, value) -> weights.parameters[from + parameter.inVector(index)] = value;
    }
  }

  /**
   * The weights that a file has for this network.
   *
   * @throws IllegalArgumentException naming the first tensor that does not fit, with the name and
   *     shape that the network needs and those that the file has
   */
  public static Weights read(Path path, Network network) {
    try (SafeTensors file = SafeTensors.open(path)) {
      return read(file, path, network);
    }
  }

  static Weights read(SafeTensors file, Path path, Network network) {
    Map<String, List<Slot>> layers = layers(network);
    boolean own = network.parameters().stream().allMatch(p -> file.entries().containsKey(p.name()));
    Map<String, String> modules = own ? Map.of() : match(layers, file, path);
    Map<Slot, String> names = new LinkedHashMap<>();
    Set<String> left = new HashSet<>(file.entries().keySet());
    layers.forEach(
        (layer, slots) -> {
          String module = own ? layer : modules.get(layer);
          if (module == null) {
            int rank = slots.get(0).shape.size();
            throw Check.bad(
                FORM,
                tensor(slots.get(0).name, slots.get(0).shape),
                "no further weight of " + rank + " dimensions in " + path);
          }
          for (Slot slot : slots) {
            String name = module.isEmpty() ? leaf(slot.name) : module + "." + leaf(slot.name);
            requireShape(file, path, slot, name);
            names.put(slot, name);
            left.remove(name);
          }
        });
    left.stream()
        .filter(name -> !leaf(name).equals(COUNT))
        .min(Comparator.comparingLong(name -> file.entry(name).begin()))
        .ifPresent(
            name -> {
              throw Check.bad(
                  FORM,
                  "no more tensors than its " + network + " has",
                  tensor(name, file.entry(name).shape()) + " in " + path);
            });
    // Only now is memory taken for what the network claims: the file has it all.
    var weights = new Weights(vector(network.parameterCount()), vector(network.statisticsCount()));
    names.forEach((slot, name) -> file.forEach(name, slot.into(weights)));
    return weights;
  }

  private static double[] vector(long length) {
    if (length > MAX_LENGTH) {
      throw Check.bad(FORM, "a network of at most " + MAX_LENGTH + " parameters", length);
    }
    return new double[(int) length];
  }

  /** The network's layers with weights, in the order of their paths: each its weight first. */
  private static Map<String, List<Slot>> layers(Network network) {
    Map<String, List<Slot>> layers = new TreeMap<>(new ModuleOrder());
    for (Parameter parameter : network.parameters()) {
      layers
          .computeIfAbsent(module(parameter.name()), name -> new ArrayList<>())
          .add(Slot.of(parameter));
    }
    for (Statistics of : network.statistics()) {
      List<Slot> slots = layers.get(of.name());
      slots.add(Slot.of(of.name() + "." + MEAN, of.channels(), of.offset()));
      slots.add(Slot.of(of.name() + "." + VARIANCE, of.channels(), of.offset() + of.channels()));
    }
    return layers;
  }

  private static String module(String tensor) {
    return tensor.substring(0, Math.max(0, tensor.lastIndexOf('.')));
  }

  private static String leaf(String tensor) {
    return tensor.substring(tensor.lastIndexOf('.') + 1);
  }

  private static String tensor(String name, List<Long> shape) {
    return "\"" + name + "\" of " + shape;
  }

  private static void requireShape(SafeTensors file, Path path, Slot slot, String name) {
    SafeTensors.Entry entry = file.entries().get(name);
    if (entry == null || !entry.shape().equals(slot.shape)) {
      throw Check.bad(
          FORM,
          tensor(slot.name, slot.shape),
          (entry == null ? "no \"" + name + "\"" : tensor(name, entry.shape())) + " in " + path);
    }
  }

  /** The file's module for each layer: the next of its kind, while there is one. */
  private static Map<String, String> match(
      Map<String, List<Slot>> layers, SafeTensors file, Path path) {
    Map<Integer, List<String>> kinds = new HashMap<>();
    for (String module : modules(file)) {
      SafeTensors.Entry weight =
          file.entries().get(module.isEmpty() ? WEIGHT : module + "." + WEIGHT);
      if (weight == null) {
        throw Check.bad(FORM, "modules that have a weight", "\"" + module + "\" in " + path);
      }
      kinds.computeIfAbsent(weight.shape().size(), rank -> new ArrayList<>()).add(module);
    }
    Map<String, String> matched = new HashMap<>();
    Map<Integer, Integer> taken = new HashMap<>();
    layers.forEach(
        (layer, slots) -> {
          int rank = slots.get(0).shape.size();
          int number = taken.merge(rank, 1, Integer::sum);
          List<String> candidates = kinds.getOrDefault(rank, List.of());
          if (number <= candidates.size()) {
            matched.put(layer, candidates.get(number - 1));
          }
        });
    return matched;
  }

  /** The file's modules, in order. */
  private static List<String> modules(SafeTensors file) {
    List<Map.Entry<String, SafeTensors.Entry>> entries = new ArrayList<>(file.entries().entrySet());
    entries.sort(Comparator.comparingLong(entry -> entry.getValue().begin()));
    Set<String> modules = new LinkedHashSet<>();
    Map<SafeTensors.Type, String> last = new EnumMap<>(SafeTensors.Type.class);
    boolean sorted = true;
    for (var entry : entries) {
      String name = entry.getKey();
      String before = last.put(entry.getValue().type(), name);
      sorted &= before == null || before.compareTo(name) < 0;
      if (!leaf(name).equals(COUNT)) {
        modules.add(module(name));
      }
    }
    List<String> ordered = new ArrayList<>(modules);
    if (sorted) {
      ordered.sort(new ModuleOrder());
    }
    return ordered;
  }

  /**
   * The order in which networks run, guessed from the names of their modules, part by part: {@code
   * conv1} and {@code bn1} before stages as {@code layer1}; the body of a block before its {@code
   * downsample} or {@code shortcut}; {@code fc}, {@code linear}, {@code classifier} or {@code head}
   * last. Otherwise alphabetical, numbers by their value.
   */
  static final class ModuleOrder implements Comparator<String> {
    private static final Set<String> STEMS = Set.of("stem", "conv", "bn", "norm");
    private static final Set<String> SIDES = Set.of("downsample", "shortcut", "skip");
    private static final Set<String> HEADS =
        Set.of("fc", "linear", "classifier", "head", "output", "logits");

    @Override
    public int compare(String a, String b) {
      String[] left = a.split("\\.", -1);
      String[] right = b.split("\\.", -1);
      for (int i = 0; i < Math.min(left.length, right.length); i++) {
        int order = part(left[i], right[i]);
        if (order != 0) {
          return order;
        }
      }
      return Integer.compare(left.length, right.length);
    }

    private static int part(String a, String b) {
      int order = Integer.compare(rank(a), rank(b));
      if (order != 0) {
        return order;
      }
      String leftStem = stem(a);
      String rightStem = stem(b);
      order = leftStem.compareTo(rightStem);
      return order != 0
          ? order
          : number(a.substring(leftStem.length()), b.substring(rightStem.length()));
    }

    private static int rank(String part) {
      String stem = stem(part);
      return STEMS.contains(stem) ? 0 : SIDES.contains(stem) ? 2 : HEADS.contains(stem) ? 3 : 1;
    }

    /** The part without the digits at its end. */
    private static String stem(String part) {
      int end = part.length();
      while (end > 0 && Character.isDigit(part.charAt(end - 1))) {
        end--;
      }
      return part.substring(0, end);
    }

    private static String withoutZeros(String digits) {
      int from = 0;
      while (from < digits.length() - 1 && digits.charAt(from) == '0') {
        from++;
      }
      return digits.substring(from);
    }

    /** Digits by value: the longer is the larger, once leading zeros are gone. */
    private static int number(String a, String b) {
      String left = withoutZeros(a);
      String right = withoutZeros(b);
      int order = Integer.compare(left.length(), right.length());
      return order != 0 ? order : left.compareTo(right);
    }
  }
}
