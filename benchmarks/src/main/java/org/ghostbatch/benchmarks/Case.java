package org.ghostbatch.benchmarks;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.StringJoiner;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * What is measured: one kernel, or one pass of a network, at one shape.
 *
 * @param suite {@code kernels}, {@code step} or {@code limits}
 * @param name of a kernel ({@code gbn}, {@code conv}, ...), of a network of {@link
 *     org.ghostbatch.nn.Models}, or of a limit ({@code fma}, {@code copy})
 * @param shape of a kernel: see {@link Kernels}; of a network: its batch; of a copy: bytes read and
 *     written
 * @param precision f32 or bf16
 * @param direction of a kernel: {@code forward}, {@code backward} or {@code both}, of convolutions
 *     {@code backward-data} and {@code backward-weights}; of a network: {@code train} or {@code
 *     evaluate}
 * @param ghost rows of a ghost; 0: the whole batch
 * @param threads that share the work
 * @param spelling of a peer that has several ways; else empty
 */
public record Case(
    String suite,
    String name,
    String shape,
    String precision,
    String direction,
    int ghost,
    int threads,
    String spelling) {

  public Case {
    for (String word : List.of(suite, name, shape, precision, direction, spelling)) {
      if (word.chars().anyMatch(c -> c <= ' ' || c == '=')) {
        throw new IllegalArgumentException(
            "[bench] needs words without spaces and '=', got \"" + word + "\"");
      }
    }
    if (ghost < 0 || threads < 1) {
      throw new IllegalArgumentException(
          "[bench] needs a ghost >= 0 and 1 or more threads, got " + ghost + " and " + threads);
    }
  }

  Case withSpelling(String spelling) {
    return new Case(suite, name, shape, precision, direction, ghost, threads, spelling);
  }

  /** The numbers of the shape, as many as named. */
  public int[] sizes(String... names) {
    String[] words = shape.split(",", -1);
    if (words.length != names.length) {
      throw new IllegalArgumentException(
          "[bench] needs --shape " + String.join(",", names) + " for " + name + ", got " + shape);
    }
    return Stream.of(words).mapToInt(word -> size(word, names)).toArray();
  }

  private int size(String word, String... names) {
    if (word.matches("[1-9][0-9]{0,8}")) {
      return Integer.parseInt(word);
    }
    throw new IllegalArgumentException(
        "[bench] needs whole numbers from 1 as --shape "
            + String.join(",", names)
            + ", got "
            + shape);
  }

  /** The case on one line, as {@link #of} reads it. */
  public String line() {
    return new StringJoiner(" ")
        .add("suite=" + suite)
        .add("name=" + name)
        .add("shape=" + shape)
        .add("precision=" + precision)
        .add("direction=" + direction)
        .add("ghost=" + ghost)
        .add("threads=" + threads)
        .add("spelling=" + spelling)
        .toString();
  }

  public static Case of(String line) {
    Map<String, String> words = words(line);
    return new Case(
        words.get("suite"),
        words.get("name"),
        words.get("shape"),
        words.get("precision"),
        words.get("direction"),
        Integer.parseInt(words.get("ghost")),
        Integer.parseInt(words.get("threads")),
        words.get("spelling"));
  }

  /** name=value, separated by spaces. */
  static Map<String, String> words(String line) {
    return Stream.of(line.split(" "))
        .map(word -> word.split("=", 2))
        .collect(
            Collectors.toMap(word -> word[0], word -> word[1], (a, b) -> b, LinkedHashMap::new));
  }

  @Override
  public String toString() {
    return Stream.of(
            name, shape, precision, direction, ghost == 0 ? "" : "ghost " + ghost, spelling)
        .filter(word -> !word.isEmpty())
        .collect(Collectors.joining(" "));
  }
}
