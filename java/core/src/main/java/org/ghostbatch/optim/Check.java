package org.ghostbatch.optim;

/** Checks of numbers, with the texts that go with them. */
final class Check {
  private Check() {}

  static void present(String kind, String what, Object value) {
    if (value == null) {
      throw new IllegalArgumentException("[" + kind + "] needs " + what + ", got null");
    }
  }

  static void notNegative(String kind, String what, double value) {
    if (!(value >= 0) || Double.isInfinite(value)) {
      throw new IllegalArgumentException(
          "[" + kind + "] needs a finite " + what + " >= 0, got " + value);
    }
  }

  static void positive(String kind, String what, double value) {
    if (!(value > 0) || Double.isInfinite(value)) {
      throw new IllegalArgumentException(
          "[" + kind + "] needs a finite " + what + " > 0, got " + value);
    }
  }

  static void fraction(String kind, String what, double value) {
    if (!(value >= 0 && value < 1)) {
      throw new IllegalArgumentException(
          "[" + kind + "] needs " + what + " in [0, 1), got " + value);
    }
  }

  /** In [0, 1), and above 0 for Nesterov's. */
  static void momentum(double momentum, boolean nesterov) {
    fraction("optimizer", "momentum", momentum);
    if (nesterov && momentum == 0) {
      throw new IllegalArgumentException("[optimizer] needs a momentum > 0 for Nesterov, got 0.0");
    }
  }

  static int integer(String kind, String what, String text) {
    try {
      return Integer.parseInt(text.strip());
    } catch (NumberFormatException e) {
      throw new IllegalArgumentException(
          "[" + kind + "] needs " + what + " as an integer, got \"" + text + "\"");
    }
  }

  static double number(String kind, String what, String text) {
    try {
      return Double.parseDouble(text.strip());
    } catch (NumberFormatException e) {
      throw new IllegalArgumentException(
          "[" + kind + "] needs " + what + " as a number, got \"" + text + "\"");
    }
  }
}
