package org.ghostbatch.device;

/** Argument checks with one form of text: "[kernel] needs X, got Y". */
final class Check {
  /** As in the native library: a dimension fits 32 bits, a buffer has at most 2^48 elements. */
  private static final long MAX_ELEMENTS = 1L << 48;

  private Check() {}

  static IllegalArgumentException bad(String kernel, String needs, Object got) {
    return new IllegalArgumentException("[" + kernel + "] needs " + needs + ", got " + got);
  }

  static <T> T present(String kernel, String what, T value) {
    if (value == null) {
      throw bad(kernel, what, "null");
    }
    return value;
  }

  static void positive(String kernel, String what, long value) {
    if (value < 1 || value > Integer.MAX_VALUE) {
      throw bad(kernel, what + " in [1, 2147483647]", value);
    }
  }

  static void range(String kernel, String what, long value, long low, long high) {
    if (value < low || value > high) {
      throw bad(kernel, what + " in [" + low + ", " + high + "]", value);
    }
  }

  static void finite(String kernel, String what, double value) {
    if (!Double.isFinite(value)) {
      throw bad(kernel, "a finite " + what, value);
    }
  }

  /** Product of positive factors, an error where it passes 2^48. */
  static long product(String kernel, String what, long a, long b, long c, long d) {
    long product = 1;
    for (int i = 0; i < 4; i++) {
      long factor = i == 0 ? a : i == 1 ? b : i == 2 ? c : d;
      if (factor > MAX_ELEMENTS / product) {
        throw bad(
            kernel, what + " of at most 2^48 elements", a + " x " + b + " x " + c + " x " + d);
      }
      product *= factor;
    }
    return product;
  }

  static void activation(String kernel, DataType type) {
    present(kernel, "a data type", type);
    if (type != DataType.F32 && type != DataType.F64 && type != DataType.BF16) {
      throw bad(kernel, "activations of f32, f64 or bf16", type);
    }
  }
}
