package org.ghostbatch.io;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SafeTensorsTest {
  @TempDir Path folder;

  /** Writes a file of a header and some bytes of values, and opens it. */
  private void open(String header, int values) throws IOException {
    byte[] json = header.getBytes(StandardCharsets.UTF_8);
    ByteBuffer bytes = ByteBuffer.allocate(8 + json.length + values).order(ByteOrder.LITTLE_ENDIAN);
    bytes.putLong(json.length).put(json);
    Path file = Files.write(folder.resolve("crafted.safetensors"), bytes.array());
    SafeTensors.open(file).close();
  }

  private static String tensor(String type, String shape, String offsets) {
    return "{\"x\":{\"dtype\":\""
        + type
        + "\",\"shape\":"
        + shape
        + ",\"data_offsets\":"
        + offsets
        + "}}";
  }

  @Test
  void acceptsCraftedFiles() throws IOException {
    open("{}", 0);
    open("{}      ", 0);
    open(tensor("F32", "[2,3]", "[0,24]"), 24);
    open(tensor("F64", "[]", "[0,8]"), 8);
    open(tensor("F32", "[0,5]", "[0,0]"), 0);
    open("{\"__metadata__\":{\"a\":\"b\"}}", 0);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "F8_E5M2 | [4] | [0,4] | 4",
        "F16 | [2] | [0,3] | 3",
        "F32 | [2] | [0,4] | 4",
        "F32 | [1] | [4,8] | 8",
        "F32 | [1] | [0,4] | 5",
        "F32 | [1] | [0,4] | 3",
        "F32 | [1] | [4,0] | 4",
        "F32 | [1] | [0] | 4",
        "F32 | [1] | [0,4,8] | 4",
        "F32 | [-1] | [0,4] | 4",
        "F32 | [1.0] | [0,4] | 4",
        "F32 | [\"1\"] | [0,4] | 4",
        "F32 | 1 | [0,4] | 4",
        "F32 | [4611686018427387904,4] | [0,0] | 0",
        "F32 | [99999999999999999999] | [0,4] | 4",
        "U8 | [9223372036854775807] | [0,9223372036854775807] | 4",
      })
  void refusesWrongTensors(String type, String shape, String offsets, int values) {
    var error =
        assertThrows(
            IllegalArgumentException.class, () -> open(tensor(type, shape, offsets), values));
    assertTrue(error.getMessage().contains("crafted.safetensors"), error.getMessage());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "[]",
        " {}",
        "{",
        "{\"x\":1}",
        "{\"x\":{\"dtype\":\"U8\",\"shape\":[0]}}",
        "{\"x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"more\":1}}",
        "{\"x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
            + "\"x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
        "{\"__metadata__\":{\"a\":1}}",
        "{\"__metadata__\":[]}"
      })
  void refusesWrongHeaders(String header) {
    assertThrows(IllegalArgumentException.class, () -> open(header, 0));
  }

  @Test
  void refusesOverlapsAndGaps() {
    String two =
        "{\"x\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
            + "\"y\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[%d,%d]}}";
    for (int from : new int[] {0, 2, 3, 5}) {
      assertThrows(
          IllegalArgumentException.class, () -> open(String.format(two, from, from + 4), from + 4));
    }
  }

  @ParameterizedTest
  @ValueSource(longs = {-1, Long.MIN_VALUE, Long.MAX_VALUE, 0, 1, 100_000_001, 1000})
  void refusesWrongHeaderLengths(long length) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(100).order(ByteOrder.LITTLE_ENDIAN).putLong(length);
    Path file = Files.write(folder.resolve("x"), bytes.array());
    assertThrows(IllegalArgumentException.class, () -> SafeTensors.open(file));
  }

  private static SafeTensors.Writer sample() {
    return SafeTensors.writer()
        .metadata("network", "{\"quoted\": \"\u00e9\"}")
        .bytes("u8", new byte[] {1, -1, 3}, 3)
        .floats("f32", new float[] {1, -0f, Float.NaN, 4, 5, Float.MIN_VALUE}, 2, 3)
        .doubles("f64", new double[] {Math.PI}, 1, 1, 1)
        .longs("i64", new long[] {Long.MIN_VALUE, 7}, 2)
        .bfloats("bf16", new float[] {1, -2.5f, 3.1415927f}, 3)
        .floats("empty", new float[0], 0, 4)
        .doubles("scalar", new double[] {2});
  }

  @Test
  void comesBackAsWritten() throws IOException {
    Path file = folder.resolve("a.safetensors");
    sample().write(file);
    try (var tensors = SafeTensors.open(file)) {
      assertEquals(Map.of("network", "{\"quoted\": \"\u00e9\"}"), tensors.metadata());
      assertEquals(
          Set.of("u8", "f32", "f64", "i64", "bf16", "empty", "scalar"), tensors.entries().keySet());
      assertEquals(List.of(2L, 3L), tensors.entry("f32").shape());
      assertArrayEquals(new byte[] {1, -1, 3}, tensors.bytes("u8"));
      assertArrayEquals(
          new float[] {1, -0f, Float.NaN, 4, 5, Float.MIN_VALUE}, tensors.floats("f32"));
      assertArrayEquals(
          new double[] {1, -0.0, Double.NaN, 4, 5, Float.MIN_VALUE}, tensors.doubles("f32"));
      assertArrayEquals(new double[] {Math.PI}, tensors.doubles("f64"));
      assertArrayEquals(new long[] {Long.MIN_VALUE, 7}, tensors.longs("i64"));
      assertArrayEquals(new float[] {1, -2.5f, 3.140625f}, tensors.floats("bf16"));
      assertArrayEquals(new float[0], tensors.floats("empty"));
      assertEquals(List.of(), tensors.entry("scalar").shape());
      for (var entry : tensors.entries().values()) {
        assertEquals(0, entry.begin() % entry.type().bytes());
      }
      assertThrows(IllegalArgumentException.class, () -> tensors.floats("f64"));
      assertThrows(IllegalArgumentException.class, () -> tensors.longs("f32"));
      assertThrows(IllegalArgumentException.class, () -> tensors.floats("missing"));
      tensors.close();
      assertThrows(IllegalStateException.class, () -> tensors.floats("f32"));
    }
    assertThrows(UncheckedIOException.class, () -> SafeTensors.open(folder.resolve("none")));
  }

  @Test
  void tensorsLargerThanAChunkComeBack() {
    var random = new Random(1);
    for (int length : new int[] {1 << 18, (1 << 18) + 1, 3 * (1 << 18) - 1}) {
      float[] values = new float[length];
      double[] doubles = new double[length];
      for (int i = 0; i < length; i++) {
        values[i] = random.nextFloat();
        doubles[i] = random.nextDouble();
      }
      Path file = folder.resolve("large");
      SafeTensors.writer().floats("x", values, length).doubles("y", doubles, length).write(file);
      try (var tensors = SafeTensors.open(file)) {
        assertArrayEquals(values, tensors.floats("x"));
        assertArrayEquals(doubles, tensors.doubles("y"));
      }
    }
  }

  @Test
  void cutFilesAreRefusedAtEveryLength() throws IOException {
    Path file = folder.resolve("a.safetensors");
    sample().write(file);
    byte[] whole = Files.readAllBytes(file);
    for (int length = 0; length < whole.length; length++) {
      Path cut = Files.write(folder.resolve("cut"), Arrays.copyOf(whole, length));
      assertThrows(IllegalArgumentException.class, () -> SafeTensors.open(cut), "length " + length);
    }
  }

  @Test
  void damagedFilesGiveNothingButTheDocumentedErrors() throws IOException {
    Path file = folder.resolve("a.safetensors");
    sample().write(file);
    byte[] whole = Files.readAllBytes(file);
    var random = new Random(5);
    for (int i = 0; i < 600; i++) {
      byte[] damaged = whole.clone();
      for (int edits = 1 + random.nextInt(3); edits > 0; edits--) {
        damaged[random.nextInt(damaged.length)] = (byte) random.nextInt(256);
      }
      Path path = Files.write(folder.resolve("damaged"), damaged);
      try (var tensors = SafeTensors.open(path)) {
        for (String name : tensors.entries().keySet()) {
          tensors.doubles(name);
        }
      } catch (IllegalArgumentException e) {
        assertTrue(e.getMessage().startsWith("["), e.getMessage());
      }
    }
  }

  @Test
  void writerRefusesWhatDoesNotFit() {
    var writer = SafeTensors.writer().floats("x", new float[6], 2, 3).metadata("a", "b");
    assertThrows(IllegalArgumentException.class, () -> writer.floats("x", new float[1], 1));
    assertThrows(IllegalArgumentException.class, () -> writer.floats("y", new float[6], 2, 2));
    assertThrows(IllegalArgumentException.class, () -> writer.floats("y", new float[6], -2, -3));
    assertThrows(
        IllegalArgumentException.class, () -> writer.floats("y", new float[0], Long.MAX_VALUE, 4));
    assertThrows(
        IllegalArgumentException.class, () -> writer.bytes("__metadata__", new byte[0], 0));
    assertThrows(IllegalArgumentException.class, () -> writer.metadata("a", "c"));
  }

  @Test
  void halvesAreIeee754() {
    Map<Integer, Float> halves =
        Map.of(
            0x0001, 0x1p-24f,
            0x03FF, 0x3FFp-24f,
            0x0400, 0x1p-14f,
            0x3C00, 1f,
            0x3555, 0.333251953125f,
            0xC500, -5f,
            0x7BFF, 65504f,
            0xFC00, Float.NEGATIVE_INFINITY,
            0x8000, -0f);
    halves.forEach((bits, value) -> assertEquals(value, SafeTensors.half(bits.shortValue())));
    assertTrue(Float.isNaN(SafeTensors.half((short) 0x7E01)));
  }

  @Test
  void bf16RoundsToNearestEven() {
    assertEquals((short) 0x3F80, SafeTensors.narrow(1));
    assertEquals(
        (short) 0x3F80, SafeTensors.narrow(Float.intBitsToFloat(0x3F808000))); // tie to even, down
    assertEquals(
        (short) 0x3F82, SafeTensors.narrow(Float.intBitsToFloat(0x3F818000))); // tie to even, up
    assertEquals((short) 0x3F81, SafeTensors.narrow(Float.intBitsToFloat(0x3F808001)));
    assertEquals((short) 0x7F80, SafeTensors.narrow(Float.MAX_VALUE));
    assertTrue(
        Float.isNaN(SafeTensors.widen(SafeTensors.narrow(Float.intBitsToFloat(0x7F800001)))));
    assertTrue(
        Float.isNaN(SafeTensors.widen(SafeTensors.narrow(Float.intBitsToFloat(0xFFFFFFFF)))));
  }
}
