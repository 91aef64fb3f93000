package org.ghostbatch.data;

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
}
