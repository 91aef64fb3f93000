package org.ghostbatch.boundary;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.Function;
import java.util.function.Supplier;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Tensor;

/**
 * One call in the making: a scenario draws valid values and passes each argument through a field
 * method; the field whose number is the target comes back changed, all others as they are.
 */
final class Call {
  /** Chooses no field: the valid call, which also counts the fields. */
  static final int NONE = -1;

  private static final int[] SIZES = {
    0,
    -1,
    1,
    2,
    3,
    7,
    17,
    255,
    8192,
    1 << 30,
    Integer.MAX_VALUE - 1,
    Integer.MAX_VALUE,
    Integer.MIN_VALUE
  };
  private static final long[] LONGS = {
    0,
    -1,
    1,
    5,
    1L << 31,
    (1L << 31) - 1,
    1L << 33,
    1L << 40,
    1L << 48,
    1L << 62,
    Long.MAX_VALUE,
    Long.MIN_VALUE
  };
  private static final double[] REALS = {
    0,
    -0.0,
    -1,
    1,
    0.5,
    1e-300,
    1e300,
    -1e38,
    Double.NaN,
    Double.POSITIVE_INFINITY,
    Double.NEGATIVE_INFINITY
  };
  private static final float[] VALUES = {
    Float.NaN, Float.POSITIVE_INFINITY, -Float.MAX_VALUE, 1e38f, 0f, Float.MIN_VALUE
  };

  final World world;
  private final SplittableRandom valid;
  private final SplittableRandom mutation;
  private final int target;
  private final List<Tensor> given = new ArrayList<>();
  private final Map<String, Integer> taken = new HashMap<>();
  private final List<AutoCloseable> own = new ArrayList<>();
  private int fields;
  private boolean specChanged;
  private String changed = "nothing";
  private Runnable rival;

  /** The same {@code validSeed} gives the same valid values, whatever the target. */
  Call(World world, long validSeed, long mutationSeed, int target) {
    this.world = world;
    this.valid = new SplittableRandom(validSeed);
    this.mutation = new SplittableRandom(mutationSeed);
    this.target = target;
  }

  int fields() {
    return fields;
  }

  /** What was changed, for messages. */
  String changed() {
    return changed;
  }

  /** Whether a field of a kernel's spec was changed, so that the kernel is not one to be kept. */
  boolean specChanged() {
    return specChanged;
  }

  /** What another thread does during the call, or null. */
  Runnable rival() {
    return rival;
  }

  void rival(String what, Runnable other) {
    changed = what;
    rival = other;
  }

  /** Frees what was made for this call alone. */
  void close() {
    for (int i = own.size() - 1; i >= 0; i--) {
      try {
        own.get(i).close();
      } catch (Exception e) {
        throw new IllegalStateException("[fuzz] cannot clean up after " + changed, e);
      }
    }
  }

  synchronized <T extends AutoCloseable> T own(T made) {
    own.add(made);
    return made;
  }

  // Valid values.

  int draw(int low, int high) {
    return valid.nextInt(low, high + 1);
  }

  boolean coin() {
    return valid.nextBoolean();
  }

  @SafeVarargs
  final <T> T pick(T... choices) {
    return choices[valid.nextInt(choices.length)];
  }

  // Fields.

  private boolean hit(String name) {
    if (fields++ != target) {
      return false;
    }
    changed = name;
    return true;
  }

  private void to(Object value) {
    changed += " -> " + value;
  }

  private int changedSize(int value) {
    int choice = mutation.nextInt(SIZES.length + 4);
    int to =
        choice < SIZES.length
            ? SIZES[choice]
            : switch (choice - SIZES.length) {
              case 0 -> value + 1;
              case 1 -> value - 1;
              case 2 -> 2 * value;
              default -> -value;
            };
    to(to);
    return to;
  }

  /** A number in a kernel's spec. */
  int size(String name, int value) {
    if (!hit(name)) {
      return value;
    }
    specChanged = true;
    return changedSize(value);
  }

  /** A number of rows, values, updates... */
  int count(String name, int value) {
    return hit(name) ? changedSize(value) : value;
  }

  long offset(String name, long value) {
    if (!hit(name)) {
      return value;
    }
    int choice = mutation.nextInt(LONGS.length + 3);
    long to = choice < LONGS.length ? LONGS[choice] : value + choice - LONGS.length - 1;
    to(to);
    return to;
  }

  double real(String name, double value) {
    if (!hit(name)) {
      return value;
    }
    specChanged = true;
    int choice = mutation.nextInt(REALS.length + 1);
    double to = choice < REALS.length ? REALS[choice] : -value;
    to(to);
    return to;
  }

  boolean flag(String name, boolean value) {
    if (!hit(name)) {
      return value;
    }
    specChanged = true;
    to(!value);
    return !value;
  }

  /** Another of the values, or null. */
  @SafeVarargs
  final <T> T option(String name, T value, T... values) {
    if (!hit(name)) {
      return value;
    }
    specChanged = true;
    int choice = mutation.nextInt(values.length + 1);
    T to = choice < values.length ? values[choice] : null;
    to(to);
    return to;
  }

  /** An argument that may be an ordinary object, or null. */
  <T> T present(String name, T value) {
    if (!hit(name)) {
      return value;
    }
    to(null);
    return null;
  }

  /** Indices, labels or offsets; {@code end} is the first number that is too large. */
  int[] ints(String name, int[] values, int end) {
    if (!hit(name)) {
      return values;
    }
    int[] some = values.clone();
    int at = some.length == 0 ? 0 : mutation.nextInt(some.length);
    int choice = some.length == 0 ? 0 : mutation.nextInt(10);
    to(name + " " + choice + " at " + at);
    switch (choice) {
      case 0 -> {
        return null;
      }
      case 1 -> {
        return new int[0];
      }
      case 2 -> {
        return Arrays.copyOf(some, some.length - 1);
      }
      case 3 -> some[at] = -1;
      case 4 -> some[at] = end;
      case 5 -> some[at] = Integer.MIN_VALUE;
      case 6 -> some[at] = Integer.MAX_VALUE;
      case 7 -> some[at] = some[some.length - 1 - at];
      case 8 -> some[at] = mutation.nextInt(end);
      default -> {
        return Arrays.copyOf(some, some.length + 1);
      }
    }
    return some;
  }

  float[] floats(String name, float[] values) {
    if (!hit(name)) {
      return values;
    }
    int choice = mutation.nextInt(5);
    to(name + " " + choice);
    if (choice == 0) {
      return null;
    }
    if (choice == 1) {
      return new float[0];
    }
    if (choice == 2 && values != null && values.length > 0) {
      return Arrays.copyOf(values, values.length - 1);
    }
    float[] some = values == null ? new float[3] : values.clone();
    if (some.length > 0) {
      some[mutation.nextInt(some.length)] = VALUES[mutation.nextInt(VALUES.length)];
    }
    return some;
  }

  byte[] bytes(String name, byte[] values) {
    if (!hit(name)) {
      return values;
    }
    int choice = mutation.nextInt(4);
    to(name + " " + choice);
    return switch (choice) {
      case 0 -> null;
      case 1 -> new byte[0];
      case 2 -> Arrays.copyOf(values, values.length - 1);
      default -> Arrays.copyOf(values, values.length + 1);
    };
  }

  /** Bytes of a file: one is changed, or the end is missing. */
  byte[] file(String name, byte[] content, int header) {
    if (!hit(name)) {
      return content;
    }
    if (mutation.nextInt(4) == 0) {
      int length = mutation.nextInt(content.length);
      to(length + " bytes");
      return Arrays.copyOf(content, length);
    }
    byte[] some = content.clone();
    int at = mutation.nextInt(4) == 0 ? mutation.nextInt(some.length) : mutation.nextInt(header);
    some[at] =
        mutation.nextInt(3) == 0
            ? (byte) ('0' + mutation.nextInt(10))
            : (byte) mutation.nextInt(256);
    to("byte " + at + " = " + some[at]);
    return some;
  }

  /** A tensor of exactly so many elements, another one for every role of the call. */
  Tensor tensor(String role, Bench bench, DataType type, long elements) {
    String key = bench.device.name() + type + elements;
    int index = taken.merge(key, 1, Integer::sum) - 1;
    Tensor plain = bench.tensor(type, elements, index);
    Tensor result = hit(role) ? changedTensor(bench, type, elements, plain) : plain;
    if (result != null) {
      given.add(result);
    }
    return result;
  }

  /** As {@link #tensor}, or null where the call needs none; then it may come with one. */
  Tensor optional(String role, Bench bench, DataType type, long elements, boolean wanted) {
    if (wanted) {
      return tensor(role, bench, type, elements);
    }
    if (!hit(role)) {
      return null;
    }
    to("one that is not wanted");
    return bench.tensor(type, elements, 0);
  }

  private Tensor changedTensor(Bench bench, DataType type, long elements, Tensor plain) {
    int choice = mutation.nextInt(16);
    switch (choice) {
      case 0 -> {
        to(null);
        return null;
      }
      case 1 -> {
        to("closed");
        Tensor closed = bench.device.tensor(type, elements);
        closed.close();
        return closed;
      }
      case 2 -> {
        to("another type");
        DataType other = DataType.values()[(type.ordinal() + 1 + mutation.nextInt(4)) % 5];
        return bench.tensor(other, elements, 0);
      }
      case 3 -> {
        to("one element less");
        return elements == 1 ? null : bench.tensor(type, elements - 1, 0);
      }
      case 4 -> {
        to("more elements");
        return bench.tensor(type, elements + 1 + mutation.nextInt(40), 0);
      }
      case 5 -> {
        to("of another device");
        return world.other(bench).tensor(type == DataType.BF16 ? DataType.F32 : type, elements, 0);
      }
      case 6, 7 -> {
        to("the same as another");
        for (Tensor other : given) {
          if (other.type() == type && other.elements() >= elements) {
            return other;
          }
        }
        return plain;
      }
      case 8, 9, 10 -> {
        long first = 1 + mutation.nextInt(33);
        to("a slice from " + first);
        return bench.tensor(type, elements + 40, 0).slice(first, elements);
      }
      case 11 -> {
        to("a slice of a closed one");
        Tensor whole = bench.device.tensor(type, elements + 1);
        Tensor slice = whole.slice(1, elements);
        whole.close();
        return slice;
      }
      case 12, 13 -> {
        if (type == DataType.U8 || type == DataType.S32) {
          to("random numbers");
          Tensor some = own(bench.device.tensor(type, elements));
          int[] numbers = new int[(int) elements];
          for (int i = 0; i < numbers.length; i++) {
            numbers[i] = type == DataType.U8 ? mutation.nextInt(256) : mutation.nextInt();
          }
          some.copyFrom(numbers);
          return some;
        }
        float value = VALUES[mutation.nextInt(VALUES.length)];
        to("holding " + value);
        Tensor some = own(bench.device.tensor(type, elements));
        float[] numbers = new float[(int) elements];
        Arrays.fill(numbers, 1f);
        for (int i = mutation.nextInt(numbers.length);
            i < numbers.length;
            i += 1 + mutation.nextInt(7)) {
          numbers[i] = value;
        }
        some.copyFrom(numbers);
        return some;
      }
      case 14 -> {
        Tensor raced = own(bench.device.tensor(type, elements));
        rival(changed + " -> closed by another thread", raced::close);
        return raced;
      }
      default -> {
        Tensor raced = own(bench.device.tensor(type, elements));
        rival(changed + " -> used by another thread", () -> use(raced));
        return raced;
      }
    }
  }

  /**
   * The object that is called, or handed over: shared, or a fresh one that is closed, being closed,
   * or null (where it is an argument).
   */
  <T extends AutoCloseable> Supplier<T> object(
      String name,
      boolean argument,
      Supplier<T> shared,
      Supplier<T> fresh,
      Function<World, T> elsewhere) {
    if (!hit(name)) {
      return shared;
    }
    int choice = mutation.nextInt(argument ? 4 : 2);
    switch (choice) {
      case 0 -> {
        to("closed");
        return () -> {
          T made = fresh.get();
          close(made);
          return made;
        };
      }
      case 1 -> {
        T made = own(fresh.get());
        rival(changed + " -> closed by another thread", () -> close(made));
        return () -> made;
      }
      case 2 -> {
        to(null);
        return () -> null;
      }
      default -> {
        to("of another device");
        return elsewhere == null ? () -> null : () -> elsewhere.apply(world);
      }
    }
  }

  private static void use(Tensor tensor) {
    for (int i = 0; i < 20; i++) {
      if (tensor.type() == DataType.U8 || tensor.type() == DataType.S32) {
        tensor.toInts();
      } else {
        tensor.toDoubles();
      }
    }
  }

  private static void close(AutoCloseable made) {
    try {
      made.close();
    } catch (RuntimeException e) {
      throw e;
    } catch (Exception e) {
      throw new IllegalStateException(e);
    }
  }
}
