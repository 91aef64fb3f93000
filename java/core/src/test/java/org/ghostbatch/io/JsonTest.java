package org.ghostbatch.io;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class JsonTest {
  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        " ",
        "{",
        "[",
        "{]",
        "[1,]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "nul",
        "nulll",
        "True",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x1",
        "NaN",
        "Infinity",
        "\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u123\"",
        "\"\n\"",
        "1 2",
        "{\"a\":1,\"a\":2}",
        "[1]]",
        "// c\n1",
        "\u0000",
        "1e99999999999",
        "\"\\u0661\\u\u0661\u0661\u0661\u0661\""
      })
  void refusesWhatIsNotJson(String text) {
    var error = assertThrows(IllegalArgumentException.class, () -> Json.parse(text));
    assertTrue(error.getMessage().startsWith("[json] needs "), error.getMessage());
    assertTrue(error.getMessage().contains(" at offset "), error.getMessage());
  }

  @Test
  void namesTheOffset() {
    var error =
        assertThrows(IllegalArgumentException.class, () -> Json.parse("{\"a\": [1, 2, x]}"));
    assertEquals("[json] needs a value, got 'x' at offset 13", error.getMessage());
  }

  @Test
  void refusesDepthAndLongNumbers() {
    assertDoesNotThrow(() -> Json.parse("[".repeat(64) + "]".repeat(64)));
    assertThrows(IllegalArgumentException.class, () -> Json.parse("[".repeat(65) + "]".repeat(65)));
    assertThrows(IllegalArgumentException.class, () -> Json.parse("[".repeat(1_000_000)));
    assertDoesNotThrow(() -> Json.parse("1".repeat(1000)));
    assertThrows(IllegalArgumentException.class, () -> Json.parse("1".repeat(1001)));
    assertThrows(
        IllegalArgumentException.class, () -> Json.parse(new byte[] {'"', (byte) 0xC3, '"'}));
  }

  @Test
  void whatIsWrittenIsNotTooDeepToRead() {
    Object deepest = List.of();
    for (int i = 1; i < Json.MAX_DEPTH; i++) {
      deepest = List.of(deepest);
    }
    assertEquals(deepest, Json.parse(Json.write(deepest)));
    Object deeper = List.of(deepest);
    assertThrows(IllegalArgumentException.class, () -> Json.write(deeper));
    assertThrows(IllegalArgumentException.class, () -> Json.writeIndented(deeper));
  }

  @Test
  void readsFilesAndNamesThoseThatItRefuses(@TempDir Path folder) throws IOException {
    Path file = Files.writeString(folder.resolve("a.json"), "{\"a\": \"\u00e9\"}");
    assertEquals("\u00e9", Json.readObject(file).getString("a"));
    for (String text : List.of("[]", "{", "")) {
      Files.writeString(file, text);
      String message =
          assertThrows(IllegalArgumentException.class, () -> Json.readObject(file)).getMessage();
      assertTrue(message.endsWith(", in " + file), message);
    }
    assertThrows(UncheckedIOException.class, () -> Json.readObject(folder.resolve("none")));
    assertThrows(UncheckedIOException.class, () -> Json.readObject(folder));
  }

  @Test
  void keepsNumbersExactly() {
    assertEquals(11L, Json.parse("11e00")); // was a decimal, and an integer once it was written
    assertEquals(10L, Json.parse("1.0e1"));
    assertEquals(Long.MAX_VALUE, Json.parse("9223372036854775807"));
    assertEquals(new BigInteger("9223372036854775808"), Json.parse("9223372036854775808"));
    assertEquals(
        new BigDecimal("0.1000000000000000000000000001"),
        Json.parse("0.1000000000000000000000000001"));
    JsonObject object =
        Json.parseObject(
            "{\"a\": 1e3, \"b\": 1.5, \"c\": 9223372036854775808, \"d\": 1e999999999}");
    assertEquals(1000, object.getInt("a"));
    assertThrows(IllegalArgumentException.class, () -> object.getLong("b"));
    assertThrows(IllegalArgumentException.class, () -> object.getLong("c"));
    assertThrows(IllegalArgumentException.class, () -> object.getLong("d"));
    assertThrows(IllegalArgumentException.class, () -> object.getDouble("d"));
    assertEquals(9223372036854775808.0, object.getDouble("c"));
  }

  @Test
  void doublesComeBackBitForBit() {
    var random = new Random(1);
    for (int i = 0; i < 20_000; i++) {
      double value = Double.longBitsToDouble(random.nextLong());
      if (Double.isFinite(value)) {
        double read = Json.parseObject(Json.write(new JsonObject().put("x", value))).getDouble("x");
        // JSON's integers have no negative zero, its decimals have no sign on zero in Java.
        assertEquals(value == 0 ? 0 : value, read);
      }
    }
    assertNull(Json.finiteOrNull(Double.NaN));
    assertEquals(1.5, Json.finiteOrNull(1.5));
    assertThrows(IllegalArgumentException.class, () -> Json.write(Double.NaN));
    assertThrows(
        IllegalArgumentException.class, () -> new JsonObject().put("x", Float.POSITIVE_INFINITY));
    assertThrows(IllegalArgumentException.class, () -> new JsonObject().put("x", new int[1]));
  }

  @Test
  void anyValueComesBack() {
    var random = new Random(2);
    for (int i = 0; i < 2000; i++) {
      Object value = value(random, 4);
      assertEquals(value, Json.parse(Json.write(value)));
      assertEquals(value, Json.parse(Json.writeIndented(value)));
    }
  }

  private static Object value(Random random, int depth) {
    switch (random.nextInt(depth > 0 ? 8 : 6)) {
      case 0:
        return null;
      case 1:
        return random.nextBoolean();
      case 2:
        return random.nextLong();
      case 3:
        return new BigDecimal(new BigInteger(80, random), random.nextInt(40) + 1);
      case 4, 5:
        char[] text = new char[random.nextInt(12)];
        for (int i = 0; i < text.length; i++) {
          text[i] = (char) (random.nextBoolean() ? random.nextInt(128) : random.nextInt(0x10000));
        }
        return new String(text);
      case 6:
        List<Object> items = new ArrayList<>();
        for (int i = random.nextInt(4); i > 0; i--) {
          items.add(value(random, depth - 1));
        }
        return items;
      default:
        var object = new JsonObject();
        for (int i = random.nextInt(4); i > 0; i--) {
          object.put("k\"" + random.nextInt(100), value(random, depth - 1));
        }
        return object;
    }
  }

  @Test
  void mutatedTextsGiveNothingButTheDocumentedError() {
    var random = new Random(3);
    String valid =
        "{\"a\": [1, -2.5e3, \"x\\u00e9\\n\", true, null], \"b\": {\"c\": {}}, \"d\": []}";
    for (int i = 0; i < 50_000; i++) {
      var text = new StringBuilder(valid);
      for (int edits = 1 + random.nextInt(3); edits > 0; edits--) {
        text.setCharAt(random.nextInt(text.length()), (char) random.nextInt(128));
      }
      try {
        Json.parse(text.substring(0, 1 + random.nextInt(text.length())));
      } catch (IllegalArgumentException e) {
        assertTrue(e.getMessage().startsWith("[json] needs "), e.getMessage());
      }
    }
  }

  @Test
  void indentedTextIsForPeople() {
    var object =
        new JsonObject()
            .put("a", List.of(1, 2))
            .put("b", new JsonObject().put("c", null))
            .put("d", List.of());
    assertEquals(
        "{\n  \"a\": [1, 2],\n  \"b\": {\n    \"c\": null\n  },\n  \"d\": []\n}\n",
        Json.writeIndented(object));
    assertEquals("{\"a\":[1,2],\"b\":{\"c\":null},\"d\":[]}", object.toString());
  }

  @Test
  void membersAreReadByType() {
    JsonObject object =
        Json.parseObject(
            "{\"s\":\"t\",\"b\":true,\"o\":{},\"l\":[1],\"n\":null,\"i\":7,\"big\":3000000000}");
    assertEquals("t", object.getString("s"));
    assertTrue(object.getBoolean("b"));
    assertEquals(new JsonObject(), object.getObject("o"));
    assertEquals(List.of(1L), object.getList("l"));
    assertTrue(object.isNull("n"));
    assertEquals(7, object.getInt("i"));
    assertEquals(3_000_000_000L, object.getLong("big"));
    assertThrows(IllegalArgumentException.class, () -> object.getInt("big"));
    var error = assertThrows(IllegalArgumentException.class, () -> object.getString("i"));
    assertEquals("[json] needs a string at \"i\", got 7", error.getMessage());
    assertThrows(IllegalArgumentException.class, () -> object.get("missing"));
    assertThrows(IllegalArgumentException.class, () -> object.requireOnly(Set.of("s")));
    assertEquals(Arrays.asList("s", "b", "o", "l", "n", "i", "big"), List.copyOf(object.names()));
    assertThrows(IllegalArgumentException.class, () -> Json.parseObject("[]"));
  }
}
