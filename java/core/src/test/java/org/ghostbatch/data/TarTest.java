package org.ghostbatch.data;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The reader of tar archives. */
class TarTest {
  private static final Path PATH = Path.of("a.tar");

  @TempDir Path folder;

  /** A header and its content, padded. */
  static byte[] entry(String name, char type, byte[] content) {
    return entry(name, type, String.format("%011o\0", content.length), content);
  }

  private static byte[] entry(String name, char type, String size, byte[] content) {
    byte[] bytes = new byte[512 + (content.length + 511) / 512 * 512];
    put(bytes, 0, name);
    put(bytes, 100, "0000644\0");
    put(bytes, 124, size);
    put(bytes, 136, "00000000000\0");
    put(bytes, 148, "        ");
    bytes[156] = (byte) type;
    put(bytes, 157, "/etc/passwd");
    put(bytes, 257, "ustar\00000");
    int sum = 0;
    for (int i = 0; i < 512; i++) {
      sum += bytes[i] & 0xFF;
    }
    put(bytes, 148, String.format("%06o\0 ", sum));
    System.arraycopy(content, 0, bytes, 512, content.length);
    return bytes;
  }

  private static void put(byte[] bytes, int at, String text) {
    byte[] coded = text.getBytes(StandardCharsets.UTF_8);
    System.arraycopy(coded, 0, bytes, at, coded.length);
  }

  static byte[] archive(byte[]... entries) {
    var out = new ByteArrayOutputStream();
    for (byte[] entry : entries) {
      out.writeBytes(entry);
    }
    out.writeBytes(new byte[1024]);
    return out.toByteArray();
  }

  private static Map<String, byte[]> read(byte[] archive) throws IOException {
    var files = new LinkedHashMap<String, byte[]>();
    Tar.read(
        new ByteArrayInputStream(archive),
        PATH,
        (name, size, content) -> {
          files.put(name, content.readAllBytes());
          assertEquals(size, files.get(name).length);
        });
    return files;
  }

  private static byte[] bytes(int length) {
    byte[] bytes = new byte[length];
    new Random(length).nextBytes(bytes);
    return bytes;
  }

  @Test
  void givesRegularFiles() throws IOException {
    Map<String, byte[]> files =
        read(
            archive(
                entry("top/", '5', new byte[0]),
                entry("top/a.bin", '0', bytes(1000)),
                entry("pax", 'x', bytes(100)),
                entry("top/empty", '0', new byte[0]),
                entry("top/link", '2', new byte[0]),
                entry("top/hard", '1', new byte[0]),
                entry("top/device", '3', new byte[0]),
                entry("top/deep/b", (char) 0, bytes(512)),
                entry("LongLink", 'L', bytes(200))));
    assertEquals(List.of("a.bin", "empty", "b"), List.copyOf(files.keySet()));
    assertArrayEquals(bytes(1000), files.get("a.bin"));
    assertArrayEquals(bytes(512), files.get("b"));
  }

  @Test
  void whatIsNotReadIsPassedOver() throws IOException {
    var names = new StringBuilder();
    Tar.read(
        new ByteArrayInputStream(archive(entry("a", '0', bytes(700)), entry("b", '0', bytes(5)))),
        PATH,
        (name, size, content) -> names.append(name).append(content.read() & 0xFF).append(' '));
    assertEquals(
        "a" + (bytes(700)[0] & 0xFF) + " b" + (bytes(5)[0] & 0xFF) + " ", names.toString());
  }

  @Test
  void readsWhatTarWrote() throws Exception {
    Path tar = Path.of("/usr/bin/tar");
    Path bin = Files.isExecutable(tar) ? tar : Path.of("/bin/tar");
    assumeTrue(Files.isExecutable(bin), "no tar");
    Path source =
        Files.createDirectories(folder.resolve("data/" + "x".repeat(70) + "/" + "y".repeat(70)));
    Files.write(source.resolve("one.bin"), bytes(3000));
    Files.write(folder.resolve("data/two.bin"), bytes(12));
    Files.createSymbolicLink(folder.resolve("data/link.bin"), Path.of("two.bin"));
    for (String format : List.of("ustar", "gnu", "pax")) {
      Path archive = folder.resolve(format + ".tar");
      var process =
          new ProcessBuilder(
                  bin.toString(), "--format=" + format, "-cf", archive.toString(), "data")
              .directory(folder.toFile())
              .inheritIO()
              .start();
      assertEquals(0, process.waitFor());
      Map<String, byte[]> files = read(Files.readAllBytes(archive));
      assertArrayEquals(bytes(12), files.get("two.bin"));
      // GNU and pax put a long name before the file; what remains of it here is its beginning.
      assertEquals(2, files.size(), format + ": " + files.keySet());
      if (format.equals("ustar")) {
        assertArrayEquals(bytes(3000), files.get("one.bin"));
      }
    }
  }

  private static void refused(byte[] archive, String... parts) {
    var error = assertThrows(IllegalArgumentException.class, () -> read(archive));
    for (String part : parts) {
      assertTrue(error.getMessage().contains(part), part + " in: " + error.getMessage());
    }
    assertTrue(error.getMessage().startsWith("[tar] needs "), error.getMessage());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"../evil", "a/../../evil", "/etc/evil", "a/..", "..\\evil", "C:evil", ".."})
  void namesThatLeadOutAreRefused(String name) {
    for (char type : new char[] {'0', '5', '2'}) {
      refused(
          archive(entry("a", '0', bytes(10)), entry(name, type, new byte[0])),
          "names inside the archive, got \"" + name,
          "(a.tar, offset 1024)");
    }
  }

  @Test
  void damageIsRefused() {
    byte[] good = archive(entry("a", '0', bytes(600)));
    for (int length : new int[] {0, 1, 511, 512, 513, 1000, 1111, 1112}) {
      refused(Arrays.copyOf(good, length), "(a.tar, offset ");
    }
    byte[] changed = good.clone();
    changed[0] ^= 1;
    refused(changed, "a header of checksum ", "offset 0");
    refused(
        archive(entry("a", '0', "notoctal\0\0\0\0", new byte[0])), "a size in octal", "offset 124");
    refused(archive(entry("a", '0', "77777777777\0", new byte[9])), "a file of 8589934591 bytes");
    refused(archive(entry("a", '0', "            ", new byte[0])), "a size in octal");
  }
}
