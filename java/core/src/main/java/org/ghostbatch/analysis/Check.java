package org.ghostbatch.analysis;

/** Argument checks with one form of text: "[kind] needs X, got Y". */
final class Check {
  private Check() {}

  static IllegalArgumentException bad(String kind, String needs, Object got) {
    return new IllegalArgumentException("[" + kind + "] needs " + needs + ", got " + got);
  }

  static <T> T present(String kind, String what, T value) {
    if (value == null) {
      throw bad(kind, what, "null");
    }
    return value;
  }

  static void range(String kind, String what, long value, long least, long most) {
    if (value < least || value > most) {
      throw bad(kind, what + " in [" + least + ", " + most + "]", value);
    }
  }
}
