package org.ghostbatch.data;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.zip.GZIPOutputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class MnistTest {
  @TempDir Path folder;

  private static byte[] images(int count, int height, int width) {
    byte[] pixels = new byte[count * height * width];
    new Random(count).nextBytes(pixels);
    return ByteBuffer.allocate(16 + pixels.length)
        .putInt(0x803)
        .putInt(count)
        .putInt(height)
        .putInt(width)
        .put(pixels)
        .array();
  }

  private static byte[] labels(int count) {
    ByteBuffer bytes = ByteBuffer.allocate(8 + count).putInt(0x801).putInt(count);
    for (int i = 0; i < count; i++) {
      bytes.put((byte) (i % 10));
    }
    return bytes.array();
  }

  private static byte[] gzip(byte[] bytes) throws IOException {
    var out = new ByteArrayOutputStream();
    try (var gzip = new GZIPOutputStream(out)) {
      gzip.write(bytes);
    }
    return out.toByteArray();
  }

  private void writeAll(Path to) throws IOException {
    Files.createDirectories(to);
    Files.write(to.resolve(Mnist.FILES.get(0)), images(20, 4, 3));
    Files.write(to.resolve(Mnist.FILES.get(1) + ".gz"), gzip(labels(20)));
    Files.write(to.resolve(Mnist.FILES.get(2) + ".gz"), gzip(images(10, 4, 3)));
    Files.write(to.resolve(Mnist.FILES.get(3)), labels(10));
  }

  private Dataset read(byte[] images, byte[] labels, String suffix) throws IOException {
    Path first = Files.write(folder.resolve("images" + suffix), images);
    return Mnist.read(first, Files.write(folder.resolve("labels" + suffix), labels));
  }

  private String refusal(byte[] images, byte[] labels, String suffix) {
    return assertThrows(IllegalArgumentException.class, () -> read(images, labels, suffix))
        .getMessage();
  }

  @Test
  void readsPlainAndPackedFiles() throws IOException {
    writeAll(folder);
    for (DataPair pair : List.of(Mnist.load(folder), Mnist.loadFashion(folder))) {
      assertEquals(20, pair.train().count());
      assertEquals(10, pair.test().count());
      assertEquals(new SampleShape(4, 3, 1), pair.test().shape());
      assertEquals(7, pair.train().label(17));
      assertEquals(10, pair.test().classes());
      ByteBuffer row = ByteBuffer.allocate(12);
      pair.train().read(new int[] {19}, 0, 1, row);
      assertEquals(ByteBuffer.wrap(images(20, 4, 3), 16 + 19 * 12, 12), row.flip());
    }
    assertEquals(List.of(0.1307), Mnist.load(folder).train().normalization().mean());
    assertEquals("ankle boot", Mnist.loadFashion(folder).test().classNames().get(9));
  }

  @Test
  void cutFilesAreRefusedAtEveryLength() throws IOException {
    byte[] images = images(12, 3, 3);
    byte[] labels = labels(12);
    for (int length = 0; length < images.length; length++) {
      String text = refusal(Arrays.copyOf(images, length), labels, "");
      assertTrue(text.startsWith("[mnist] needs ") && text.contains("images"), text);
    }
    for (int length = 0; length < labels.length; length++) {
      String text = refusal(images, Arrays.copyOf(labels, length), "");
      assertTrue(text.contains("labels, offset "), text);
    }
    byte[] packed = gzip(images);
    for (int length = 0; length < packed.length; length++) {
      refusal(Arrays.copyOf(packed, length), gzip(labels), ".gz");
    }
    read(packed, gzip(labels), ".gz");
  }

  @Test
  void longerFilesAreRefused() throws IOException {
    byte[] images = images(12, 3, 3);
    byte[] longer = Arrays.copyOf(images, images.length + 1);
    refusal(longer, labels(12), "");
    assertTrue(
        refusal(gzip(longer), gzip(labels(12)), ".gz").contains("needs the end, got more bytes"));
    refusal(images, Arrays.copyOf(labels(12), 21), "");
  }

  @Test
  void wrongHeadersAreRefusedWithoutTakingMemory() throws IOException {
    byte[] labels = labels(12);
    assertTrue(refusal(labels(12), labels, "").contains("0x00000803 of images, got 0x00000801"));
    assertTrue(refusal(images(12, 3, 3), images(12, 3, 3), "").contains("of labels"));
    assertTrue(refusal(images(11, 3, 3), labels, "").contains("needs 11 labels"));
    int[][] sizes = {
      {0, 3, 3},
      {-1, 3, 3},
      {12, 0, 3},
      {12, 3, -3},
      {Integer.MAX_VALUE, 3, 3},
      {12, 1 << 16, 1 << 16},
      {2_000_000_000, 1, 1},
      {Integer.MAX_VALUE, Integer.MAX_VALUE, Integer.MAX_VALUE},
      {13, 3, 3}
    };
    for (int[] size : sizes) {
      byte[] images = images(12, 3, 3);
      ByteBuffer.wrap(images).putInt(4, size[0]).putInt(8, size[1]).putInt(12, size[2]);
      refusal(images, labels, "");
      refusal(gzip(images), gzip(labels), ".gz");
    }
    byte[] wrong = labels(12);
    wrong[8 + 5] = 10;
    String text = refusal(images(12, 3, 3), wrong, "");
    assertTrue(
        text.contains("needs labels in [0, 10), got 10") && text.contains("offset 13"), text);
  }

  @Test
  void damagedGzipFilesAreRefusedOrTheSame() throws IOException {
    byte[] images = images(12, 3, 3);
    byte[] packed = gzip(images);
    byte[] labels = gzip(labels(12));
    String hash = read(packed, labels, ".gz").fingerprint();
    var random = new Random(6);
    for (int i = 0; i < 400; i++) {
      byte[] damaged = packed.clone();
      damaged[random.nextInt(damaged.length)] ^= (byte) (1 << random.nextInt(8));
      try {
        assertEquals(hash, read(damaged, labels, ".gz").fingerprint());
      } catch (IllegalArgumentException e) {
        assertTrue(e.getMessage().startsWith("[mnist] needs "), e.getMessage());
      }
    }
  }

  @Test
  void foldersAreFoundUnderTheirUsualNames() throws IOException {
    writeAll(folder.resolve("all/mnist"));
    writeAll(folder.resolve("all/FashionMNIST/raw"));
    writeAll(folder.resolve("own"));
    assertEquals("mnist", Datasets.load("mnist", folder.resolve("all")).name());
    assertEquals("mnist", Datasets.load("mnist", folder.resolve("own")).name());
    assertEquals(
        "bag", Datasets.load("fashion-mnist", folder.resolve("all")).test().classNames().get(8));
    for (Path missing : List.of(folder.resolve("all/none"), folder)) {
      var error =
          assertThrows(IllegalArgumentException.class, () -> Datasets.load("mnist", missing));
      for (String file : Mnist.FILES) {
        assertTrue(error.getMessage().contains(file), error.getMessage());
      }
      assertTrue(error.getMessage().contains(missing.toString()), error.getMessage());
    }
    Files.delete(folder.resolve("own").resolve(Mnist.FILES.get(3)));
    var error =
        assertThrows(
            IllegalArgumentException.class, () -> Datasets.load("mnist", folder.resolve("own")));
    assertTrue(
        error.getMessage().contains("t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz"),
        error.getMessage());
    assertThrows(IllegalArgumentException.class, () -> Datasets.load("imagenet", folder));
    assertThrows(
        UncheckedIOException.class,
        () -> Mnist.read(folder.resolve("none"), folder.resolve("none")));
  }

  @Test
  void folderComesFromPropertyThenEnvironment() {
    assertEquals(Path.of("a"), Datasets.defaultFolder(name -> "a", name -> "b"));
    assertEquals(Path.of("b"), Datasets.defaultFolder(name -> null, name -> "b"));
    assertEquals(Path.of("b"), Datasets.defaultFolder(name -> " ", name -> "b"));
    assertEquals(null, Datasets.defaultFolder(name -> null, name -> null));
  }

  @Test
  void readsTheRealFiles() {
    Path data = Datasets.defaultFolder(System::getProperty, System::getenv);
    assumeTrue(data != null, "no folder in GHOSTBATCH_DATA");
    assumeTrue(
        Files.isDirectory(data.resolve("mnist"))
            || DataFiles.find(data, Mnist.FILES.get(0)) != null,
        "no MNIST in the folder of GHOSTBATCH_DATA");
    DataPair pair = Datasets.load("mnist");
    assertEquals(60_000, pair.train().count());
    assertEquals(10_000, pair.test().count());
    assertEquals(new SampleShape(28, 28, 1), pair.train().shape());
    assertEquals(
        List.of(5, 0, 4),
        List.of(pair.train().label(0), pair.train().label(1), pair.train().label(2)));
    Normalization measured = Normalization.measure(pair.train());
    assertEquals(measured.mean().get(0), pair.normalization().mean().get(0), 5e-5);
    assertEquals(measured.std().get(0), pair.normalization().std().get(0), 5e-5);
  }

  @Test
  void gzipBombsEndBeforeMemory() throws IOException {
    // A file that says how much it holds is read so far, and no further.
    var packed = new ByteArrayOutputStream();
    try (var out = new GZIPOutputStream(packed)) {
      out.write(new byte[] {0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4});
      for (int i = 0; i < 300; i++) {
        out.write(new byte[1 << 20]);
      }
    }
    Path images = Files.write(folder.resolve("bomb.gz"), packed.toByteArray());
    var error = assertThrows(IllegalArgumentException.class, () -> Mnist.read(images, images));
    assertTrue(
        error.getMessage().contains("needs the end, got more bytes (" + images + ", offset 20)"),
        error.getMessage());
    // One that says more than its packed bytes can hold is not begun.
    packed.reset();
    try (var out = new GZIPOutputStream(packed)) {
      out.write(new byte[] {0, 0, 8, 3, 0, 0, 127, -1, 0, 0, 1, 0, 0, 0, 0, -128});
    }
    Path claim = Files.write(folder.resolve("claim.gz"), packed.toByteArray());
    error = assertThrows(IllegalArgumentException.class, () -> Mnist.read(claim, claim));
    assertTrue(error.getMessage().contains("a file of at least "), error.getMessage());
  }
}
