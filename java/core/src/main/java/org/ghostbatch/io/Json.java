package org.ghostbatch.io;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/**
 * JSON (RFC 8259), strictly: no comments, no duplicate names, no NaN, at most {@value #MAX_DEPTH}
 * levels.
 *
 * <p>Values are {@link JsonObject}, {@code List<?>}, {@code String}, {@code Boolean}, {@code null},
 * and numbers: {@code BigDecimal}, so that none loses a digit, or {@code Long} or {@code
 * BigInteger} where that is an integer that is written without an exponent ({@code 10}, {@code
 * 1.0e1}).
 */
public final class Json {
  /** Levels of objects and arrays within one another. */
  public static final int MAX_DEPTH = 64;

  /**
   * Longest file that {@link #readObject} takes, in bytes; its values may take 40 times as many.
   */
  public static final int MAX_FILE = 1 << 24;

  // Longer numbers are an attack: making a BigInteger takes time quadratic in its digits.
  private static final int MAX_NUMBER_LENGTH = 1000;
  private static final int MAX_LONG_LENGTH = 18;

  private final String text;
  private int at;
  private int depth;

  private Json(String text) {
    this.text = text;
  }

  /**
   * The value that {@code text} spells. @throws IllegalArgumentException naming what was needed and
   * the offset
   */
  public static Object parse(String text) {
    Json json = new Json(text);
    json.skipSpace();
    Object value = json.value();
    json.skipSpace();
    if (json.at < text.length()) {
      throw json.needs("the end");
    }
    return value;
  }

  /** As {@link #parse(String)}, of UTF-8. */
  public static Object parse(byte[] utf8) {
    try {
      return parse(StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(utf8)).toString());
    } catch (CharacterCodingException e) {
      throw new IllegalArgumentException("[json] needs UTF-8, got other bytes", e);
    }
  }

  /** As {@link #parse(String)}, of a text that must be an object. */
  public static JsonObject parseObject(String text) {
    return object(parse(text));
  }

  /** As {@link #parse(byte[])}, of UTF-8 that must be an object. */
  public static JsonObject parseObject(byte[] utf8) {
    return object(parse(utf8));
  }

  private static JsonObject object(Object value) {
    if (value instanceof JsonObject object) {
      return object;
    }
    throw new IllegalArgumentException("[json] needs an object, got another value");
  }

  /**
   * The object in a file.
   *
   * @throws UncheckedIOException where the file cannot be read
   * @throws IllegalArgumentException naming the file, what was needed and the offset
   */
  public static JsonObject readObject(Path file) {
    byte[] text;
    try (InputStream in = Files.newInputStream(file)) {
      text = in.readNBytes(MAX_FILE + 1);
    } catch (IOException e) {
      throw new UncheckedIOException("[json] cannot read " + file + ": " + e.getMessage(), e);
    }
    try {
      if (text.length > MAX_FILE) {
        throw new IllegalArgumentException("[json] needs at most " + MAX_FILE + " bytes, got more");
      }
      return parseObject(text);
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException(e.getMessage() + ", in " + file, e);
    }
  }

  /** The value on one line. */
  public static String write(Object value) {
    var out = new StringBuilder();
    write(value, out, -1, 0);
    return out.toString();
  }

  /** The value on lines of its own, two spaces a level, with a line feed at the end. */
  public static String writeIndented(Object value) {
    var out = new StringBuilder();
    write(value, out, 0, 0);
    return out.append('\n').toString();
  }

  /** The number, or null where it is infinite or not a number, for which JSON has no word. */
  public static Double finiteOrNull(double value) {
    return Double.isFinite(value) ? value : null;
  }

  static void checkValue(Object value) {
    if (value == null
        || value instanceof JsonObject
        || value instanceof String
        || value instanceof Boolean) {
      return;
    }
    if (value instanceof List<?> items) {
      items.forEach(Json::checkValue);
    } else if (value instanceof Number number) {
      if ((number instanceof Double || number instanceof Float)
          && !Double.isFinite(number.doubleValue())) {
        throw new IllegalArgumentException("[json] needs finite numbers, got " + number);
      }
    } else {
      throw new IllegalArgumentException(
          "[json] needs an object, list, string, number, boolean or null, got "
              + value.getClass().getName());
    }
  }

  // Writing.

  /**
   * @param level of indentation, below 0 for none
   * @param depth objects and lists around the value
   */
  private static void write(Object value, StringBuilder out, int level, int depth) {
    if (depth == MAX_DEPTH && (value instanceof JsonObject || value instanceof List)) {
      throw new IllegalArgumentException("[json] needs at most " + MAX_DEPTH + " levels, got more");
    }
    if (value instanceof JsonObject object) {
      List<String> names = List.copyOf(object.names());
      out.append('{');
      for (int i = 0; i < names.size(); i++) {
        separate(out, i, level);
        writeString(names.get(i), out);
        out.append(level < 0 ? ":" : ": ");
        write(object.get(names.get(i)), out, level < 0 ? -1 : level + 1, depth + 1);
      }
      close(out, names.isEmpty(), level);
      out.append('}');
    } else if (value instanceof List<?> items) {
      // Lists of plain values stay on one line.
      boolean flat =
          items.stream().noneMatch(item -> item instanceof JsonObject || item instanceof List);
      int inner = flat ? -1 : level;
      out.append('[');
      for (int i = 0; i < items.size(); i++) {
        separate(out, i, inner);
        if (i > 0 && flat && level >= 0) {
          out.append(' ');
        }
        write(items.get(i), out, inner < 0 ? -1 : inner + 1, depth + 1);
      }
      close(out, items.isEmpty(), inner);
      out.append(']');
    } else if (value instanceof String string) {
      writeString(string, out);
    } else {
      checkValue(value);
      out.append(value);
    }
  }

  private static void separate(StringBuilder out, int index, int level) {
    if (index > 0) {
      out.append(',');
    }
    if (level >= 0) {
      newLine(out, level + 1);
    }
  }

  private static void close(StringBuilder out, boolean empty, int level) {
    if (level >= 0 && !empty) {
      newLine(out, level);
    }
  }

  private static void newLine(StringBuilder out, int level) {
    out.append('\n').append("  ".repeat(level));
  }

  private static void writeString(String string, StringBuilder out) {
    out.append('"');
    for (int i = 0; i < string.length(); i++) {
      char c = string.charAt(i);
      switch (c) {
        case '"' -> out.append("\\\"");
        case '\\' -> out.append("\\\\");
        case '\n' -> out.append("\\n");
        case '\r' -> out.append("\\r");
        case '\t' -> out.append("\\t");
        default -> {
          if (c < 0x20 || Character.isSurrogate(c) && !paired(string, i)) {
            out.append(String.format("\\u%04x", (int) c));
          } else {
            out.append(c);
          }
        }
      }
    }
    out.append('"');
  }

  private static boolean paired(String string, int i) {
    return Character.isHighSurrogate(string.charAt(i))
        ? i + 1 < string.length() && Character.isLowSurrogate(string.charAt(i + 1))
        : i > 0 && Character.isHighSurrogate(string.charAt(i - 1));
  }

  // Reading.

  private Object value() {
    char c = peek();
    return switch (c) {
      case '{' -> object();
      case '[' -> list();
      case '"' -> string();
      case 't' -> word("true", true);
      case 'f' -> word("false", false);
      case 'n' -> word("null", null);
      default -> {
        if (c == '-' || isDigit(c)) {
          yield number();
        }
        throw needs("a value");
      }
    };
  }

  private JsonObject object() {
    enter();
    var object = new JsonObject();
    skipSpace();
    if (peek() == '}') {
      return leave(object);
    }
    while (true) {
      int start = at;
      if (peek() != '"') {
        throw needs("a name in quotes");
      }
      String name = string();
      if (object.has(name)) {
        at = start;
        throw needs("each name once");
      }
      skipSpace();
      if (peek() != ':') {
        throw needs("':'");
      }
      at++;
      skipSpace();
      object.put(name, value());
      skipSpace();
      if (peek() == '}') {
        return leave(object);
      }
      if (peek() != ',') {
        throw needs("',' or '}'");
      }
      at++;
      skipSpace();
    }
  }

  private List<Object> list() {
    enter();
    skipSpace();
    if (peek() == ']') {
      return leave(List.of());
    }
    var items = new ArrayList<>(1); // most lists are short, and a file can hold millions of them
    while (true) {
      items.add(value());
      skipSpace();
      if (peek() == ']') {
        return leave(Collections.unmodifiableList(items));
      }
      if (peek() != ',') {
        throw needs("',' or ']'");
      }
      at++;
      skipSpace();
    }
  }

  private void enter() {
    if (++depth > MAX_DEPTH) {
      throw needs("at most " + MAX_DEPTH + " levels");
    }
    at++;
  }

  private <T> T leave(T value) {
    depth--;
    at++;
    return value;
  }

  private String string() {
    var out = new StringBuilder();
    at++;
    while (true) {
      char c = peek();
      if (c == '"') {
        at++;
        return out.toString();
      }
      if (c < 0x20) {
        throw needs("a closing quote");
      }
      at++;
      if (c != '\\') {
        out.append(c);
        continue;
      }
      char escape = peek();
      switch (escape) {
        case '"', '\\', '/' -> out.append(escape);
        case 'b' -> out.append('\b');
        case 'f' -> out.append('\f');
        case 'n' -> out.append('\n');
        case 'r' -> out.append('\r');
        case 't' -> out.append('\t');
        case 'u' -> {
          int code = 0;
          for (int i = 1; i <= 4; i++) {
            int digit = at + i < text.length() ? hex(text.charAt(at + i)) : -1;
            if (digit < 0) {
              throw needs("four hexadecimal digits");
            }
            code = code << 4 | digit;
          }
          out.append((char) code);
          at += 4;
        }
        default -> throw needs("an escape");
      }
      at++;
    }
  }

  private static int hex(char c) {
    return c < 128 ? Character.digit(c, 16) : -1;
  }

  private Object word(String word, Object value) {
    if (!text.startsWith(word, at)) {
      throw needs("a value");
    }
    at += word.length();
    return value;
  }

  private Number number() {
    int start = at;
    boolean integer = true;
    if (peek() == '-') {
      at++;
    }
    if (peek() == '0') {
      at++;
    } else {
      digits();
    }
    if (peek() == '.') {
      integer = false;
      at++;
      digits();
    }
    if (peek() == 'e' || peek() == 'E') {
      integer = false;
      at++;
      if (peek() == '+' || peek() == '-') {
        at++;
      }
      digits();
    }
    String digits = text.substring(start, at);
    if (digits.length() > MAX_NUMBER_LENGTH) {
      at = start;
      throw needs("numbers of at most " + MAX_NUMBER_LENGTH + " characters");
    }
    BigInteger value;
    if (integer && digits.length() <= MAX_LONG_LENGTH) {
      return Long.parseLong(digits);
    } else if (integer) {
      value = new BigInteger(digits);
    } else {
      BigDecimal decimal;
      try {
        decimal = new BigDecimal(digits);
      } catch (NumberFormatException e) {
        at = start;
        throw needs("an exponent of at most 32 bits");
      }
      if (decimal.scale() != 0) {
        return decimal;
      }
      value = decimal.unscaledValue();
    }
    return value.bitLength() < Long.SIZE ? (Number) value.longValue() : value;
  }

  private void digits() {
    if (!isDigit(peek())) {
      throw needs("a digit");
    }
    while (isDigit(peek())) {
      at++;
    }
  }

  private static boolean isDigit(char c) {
    return c >= '0' && c <= '9';
  }

  private void skipSpace() {
    while (at < text.length() && " \t\n\r".indexOf(text.charAt(at)) >= 0) {
      at++;
    }
  }

  /** The character at the offset; a NUL, which no rule accepts, at the end. */
  private char peek() {
    return at < text.length() ? text.charAt(at) : '\0';
  }

  private IllegalArgumentException needs(String what) {
    String got = at < text.length() ? "'" + text.charAt(at) + "'" : "the end";
    return new IllegalArgumentException(
        "[json] needs " + what + ", got " + got + " at offset " + at);
  }
}
