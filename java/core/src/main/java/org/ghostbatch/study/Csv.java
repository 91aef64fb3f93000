package org.ghostbatch.study;

import java.util.Arrays;
import java.util.stream.Collectors;

/** Rows of comma-separated values (RFC 4180); what is not a number is an empty field. */
final class Csv {
  private Csv() {}

  static String row(Object... values) {
    return Arrays.stream(values).map(Csv::field).collect(Collectors.joining(","));
  }

  private static String field(Object value) {
    if (value == null || value instanceof Double number && !Double.isFinite(number)) {
      return "";
    }
    String text = value.toString();
    boolean plain = text.chars().noneMatch(c -> c == ',' || c == '"' || c == '\n' || c == '\r');
    return plain ? text : '"' + text.replace("\"", "\"\"") + '"';
  }
}
