package org.ghostbatch.data;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Files as numpy.save writes them. */
class NpyTest {
  @TempDir Path folder;

  private static String header(String type, boolean fortran, String shape) {
    return "{'descr': '"
        + type
        + "', 'fortran_order': "
        + (fortran ? "True" : "False")
        + ", 'shape': "
        + shape
        + ", }";
  }

  /** Padded with spaces to a multiple of 64, as the format says. */
  private static byte[] file(int version, String header, byte[] data) throws IOException {
    int start = version == 1 ? 10 : 12;
    int length = (start + header.length() + 1 + 63) / 64 * 64 - start;
    ByteBuffer bytes =
        ByteBuffer.allocate(start + length + data.length).order(ByteOrder.LITTLE_ENDIAN);
    bytes.put((byte) 0x93).put("NUMPY".getBytes(StandardCharsets.US_ASCII));
    bytes.put((byte) version).put((byte) 0);
    if (version == 1) {
      bytes.putShort((short) length);
    } else {
      bytes.putInt(length);
    }
    bytes.put(header.getBytes(StandardCharsets.UTF_8));
    while (bytes.position() < start + length - 1) {
      bytes.put((byte) ' ');
    }
    return bytes.put((byte) '\n').put(data).array();
  }

  private static byte[] numbers(String type, double... values) {
    int size = type.charAt(type.length() - 1) - '0';
    boolean real = type.contains("f");
    ByteBuffer bytes = ByteBuffer.allocate(size * values.length).order(ByteOrder.LITTLE_ENDIAN);
    for (double value : values) {
      switch (size) {
        case 1 -> bytes.put((byte) value);
        case 2 -> bytes.putShort((short) (long) value);
        case 4 -> {
          if (real) {
            bytes.putFloat((float) value);
          } else {
            bytes.putInt((int) (long) value);
          }
        }
        default -> {
          if (real) {
            bytes.putDouble(value);
          } else {
            bytes.putLong((long) value);
          }
        }
      }
    }
    return bytes.array();
  }

  private static double[] ramp(int count) {
    return IntStream.range(0, count).mapToDouble(i -> i * 7 % 128).toArray();
  }

  private Dataset read(byte[] x, byte[] y) throws IOException {
    return Npy.read(
        Files.write(folder.resolve("x.npy"), x), Files.write(folder.resolve("y.npy"), y));
  }

  private static byte[] labels(int count) throws IOException {
    return file(1, header("<i8", false, "(" + count + ",)"), numbers("<i8", new double[count]));
  }

  private static float[] values(Dataset data) {
    ByteBuffer bytes =
        ByteBuffer.allocate(data.count() * data.sampleBytes()).order(ByteOrder.LITTLE_ENDIAN);
    data.read(IntStream.range(0, data.count()).toArray(), 0, data.count(), bytes);
    float[] values = new float[data.count() * data.shape().elements()];
    for (int i = 0; i < values.length; i++) {
      values[i] = data.type() == ElementType.U8 ? bytes.get(i) & 0xFF : bytes.getFloat(4 * i);
    }
    return values;
  }

  @ParameterizedTest
  @CsvSource({
    "|u1, 1, '(5, 3, 2, 4)', 3x2x4",
    "<f4, 2, '(5, 3, 2)', 3x2x1",
    "<f8, 3, '(5, 6)', 1x1x6",
    "<u1, 2, '(5,6)', 1x1x6"
  })
  void readsFeatures(String type, int version, String shape, String sample) throws IOException {
    int elements = SampleShape.parse(sample).elements();
    double[] ramp = ramp(5 * elements);
    Dataset data = read(file(version, header(type, false, shape), numbers(type, ramp)), labels(5));
    assertEquals(SampleShape.parse(sample), data.shape());
    assertEquals(type.contains("u") ? ElementType.U8 : ElementType.F32, data.type());
    assertEquals(5, data.count());
    float[] values = values(data);
    for (int i = 0; i < ramp.length; i++) {
      assertEquals((float) ramp[i], values[i]);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8"})
  void readsLabels(String type) throws IOException {
    double[] all = {3, 0, 127, 1};
    byte[] x = file(1, header("|u1", false, "(4, 2)"), new byte[8]);
    for (String shape : List.of("(4,)", "(4, 1)")) {
      Dataset data = read(x, file(1, header(type, false, shape), numbers(type, all)));
      for (int i = 0; i < 4; i++) {
        assertEquals((int) all[i], data.label(i));
      }
    }
    if (type.startsWith("<")) {
      double[] large = {300, 255, 128, 129};
      Dataset data = read(x, file(3, header(type, false, "(4,)"), numbers(type, large)));
      assertEquals(300, data.label(0));
      assertEquals(129, data.label(3));
    }
  }

  @Test
  void readsWhatNumpyWrote() throws IOException {
    // numpy.save of numpy.arange(6, dtype='<f4').reshape(2, 3), NumPy 2.4.
    byte[] numpy =
        HexFormat.of()
            .parseHex(
                "934e554d5059010076007b276465736372273a20273c6634272c2027666f727472616e5f6f726465"
                    + "72273a2046616c73652c20277368617065273a2028322c2033292c207d2020202020202020202020"
                    + "20202020202020202020202020202020202020202020202020202020202020202020202020202020"
                    + "202020202020200a000000000000803f0000004000004040000080400000a040");
    assertArrayEquals(new float[] {0, 1, 2, 3, 4, 5}, values(read(numpy, labels(2))));
  }

  private Path pair(int trainLabel, int testLabel) throws IOException {
    for (String half : List.of("train", "test")) {
      double[] labels = {0, half.equals("train") ? trainLabel : testLabel};
      double[] ramp = half.equals("train") ? new double[] {1, 2, 3, 6} : new double[] {5, 5, 5, 5};
      Files.write(
          folder.resolve(half + "_x.npy"),
          file(1, header("<f4", false, "(2, 2)"), numbers("<f4", ramp)));
      Files.write(
          folder.resolve(half + "_y.npy"),
          file(1, header("<i4", false, "(2,)"), numbers("<i4", labels)));
    }
    return folder;
  }

  @Test
  void aFolderIsAPair() throws IOException {
    DataPair data = Datasets.load("npy:" + pair(1, 4));
    assertEquals("npy:" + folder, data.name());
    assertEquals(5, data.train().classes());
    assertEquals(data.train().classNames(), data.test().classNames());
    assertEquals(List.of(2.0, 4.0), data.normalization().mean());
    assertEquals(List.of(1.0, 2.0), data.normalization().std());
    Files.delete(folder.resolve("test_y.npy"));
    var error = assertThrows(UncheckedIOException.class, () -> Datasets.load("npy:" + folder));
    contains(error.getMessage(), "[npy] needs the file " + folder.resolve("test_y.npy"));
  }

  private static void contains(String text, Object... parts) {
    for (Object part : parts) {
      assertTrue(text.contains(part.toString()), part + " in: " + text);
    }
  }

  private void refused(byte[] x, byte[] y, Object... parts) {
    var error = assertThrows(IllegalArgumentException.class, () -> read(x, y));
    contains(error.getMessage(), parts);
    contains(error.getMessage(), "[npy] needs ", ", got ", folder.resolve(""), ", offset ");
  }

  @Test
  void refusesOtherHeaders() throws IOException {
    byte[] y = labels(2);
    byte[] good = file(1, header("|u1", false, "(2, 3)"), new byte[6]);
    byte[] magic = good.clone();
    magic[1] = 'n';
    refused(magic, y, "\\x93NUMPY", "x.npy, offset 0");
    byte[] version = good.clone();
    version[6] = 4;
    refused(version, y, "version 1.0, 2.0 or 3.0, got 4.0", "offset 6");
    refused("text".getBytes(), y, "8 bytes of the magic text", "only 4", "offset 4");
    for (String header :
        List.of(
            "",
            "{}",
            "{'descr': '|u1', 'shape': (2, 3)}",
            "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (2, 3)}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), 'more': 1}",
            "{'descr': '|u1', 'fortran_order': false, 'shape': (2, 3)}",
            "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (2, 3)}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3)",
            "{'descr': '|u1' 'fortran_order': False, 'shape': (2, 3)}",
            "__import__('os')")) {
      refused(file(1, header, new byte[6]), y, "a header {'descr'", "offset 10");
    }
    for (String type : List.of(">f4", "<f2", "|b1", "<c8", "<U3", "|O", "|f4", "", "=i4")) {
      refused(file(1, header(type, false, "(2, 3)"), new byte[6]), y, "a little-endian type");
    }
    refused(file(1, header("|u1", true, "(2, 3)"), new byte[6]), y, "C order", "got Fortran order");
    for (String shape :
        List.of("(0, 3)", "(2, 0)", "(99999999999, 1)", "(65536, 65536)", "(, 2)", "(2, , 3)")) {
      refused(file(1, header("|u1", false, shape), new byte[6]), y, "a shape of sizes >= 1");
    }
    for (String shape : List.of("()", "(6,)", "(2, 3, 1, 1, 1)")) {
      refused(file(1, header("|u1", false, shape), new byte[6]), y, "[N, H, W, C]");
    }
    refused(file(1, header("<i4", false, "(2, 3)"), new byte[24]), y, "features of type u1");
    byte[] long2 = file(2, header("|u1", false, "(2, 3)"), new byte[6]);
    ByteBuffer.wrap(long2).order(ByteOrder.LITTLE_ENDIAN).putInt(8, -1);
    refused(long2, y, "a header of at most 10000 bytes, got 4294967295", "offset");
    byte[] spaces = new byte[9_000];
    Arrays.fill(spaces, (byte) ' ');
    byte[] slow = file(1, "{" + new String(spaces) + "'", new byte[0]);
    refused(slow, y, "a header {'descr'"); // at once
  }

  @Test
  void refusesOtherLengths() throws IOException {
    byte[] y = labels(2);
    for (String type : List.of("|u1", "<f4", "<f8")) {
      int size = type.charAt(2) - '0';
      byte[] good = file(1, header(type, false, "(2, 3)"), new byte[6 * size]);
      for (int length = 0; length < good.length; length++) {
        byte[] cut = Arrays.copyOf(good, length);
        refused(cut, y, "x.npy");
      }
      refused(Arrays.copyOf(good, good.length + 1), y, "a file of " + good.length + " bytes");
    }
    // Claims two gigabytes: refused before any of them is allocated.
    byte[] claim = file(1, header("<f8", false, "(2, 1000000000)"), new byte[8]);
    refused(claim, y, "a file of 16000000128 bytes", "got 136");
  }

  @Test
  void refusesOtherValues() throws IOException {
    byte[] y = labels(2);
    for (double wrong : new double[] {Double.NaN, Double.POSITIVE_INFINITY, 1e300}) {
      byte[] x = file(1, header("<f8", false, "(2, 3)"), numbers("<f8", 1, 2, 3, 4, wrong, 6));
      refused(x, y, "finite 32-bit floats, got " + wrong, "x.npy, offset " + (128 + 4 * 8));
    }
    byte[] x = file(1, header("|u1", false, "(3, 2)"), new byte[6]);
    refused(
        x,
        file(1, header("<i4", false, "(3,)"), numbers("<i4", 0, -1, 0)),
        "labels in [0, 65536), got -1",
        "y.npy, offset 132");
    refused(
        x,
        file(1, header("<u8", false, "(3,)"), numbers("<i8", 0, 0, -1)),
        "got 18446744073709551615");
    refused(x, labels(4), "labels of shape [3], one a sample, got [4]", "y.npy");
    refused(x, file(1, header("<f4", false, "(3,)"), new byte[12]), "labels of an integer type");
    refused(x, file(1, header("|u1", false, "(3, 2)"), new byte[6]), "labels of shape [3]");
  }

  @Test
  void damageIsRefusedOrReadAlike() throws IOException {
    var random = new Random(3);
    byte[] good = file(1, header("<f4", false, "(4, 3)"), numbers("<f4", ramp(12)));
    for (int i = 0; i < 400; i++) {
      var x = new ByteArrayOutputStream();
      byte[] damaged = good.clone();
      damaged[random.nextInt(80)] = (byte) random.nextInt();
      x.write(damaged, 0, random.nextInt(8) == 0 ? random.nextInt(damaged.length) : damaged.length);
      try {
        assertEquals(4, read(x.toByteArray(), labels(4)).count());
      } catch (IllegalArgumentException e) {
        assertTrue(e.getMessage().startsWith("[npy] needs "), e.getMessage());
      }
    }
  }
}
