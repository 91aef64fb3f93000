package org.ghostbatch.data;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.zip.GZIPOutputStream;
import org.ghostbatch.ForkedJvm;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CifarTest {
  @TempDir Path folder;

  /** Records whose value at plane c, pixel i of record r is a known one. */
  private static byte[] records(int labelBytes, int count) {
    ByteBuffer bytes = ByteBuffer.allocate(count * (labelBytes + 3072));
    for (int r = 0; r < count; r++) {
      for (int l = 0; l < labelBytes; l++) {
        bytes.put((byte) (labelBytes == 2 && l == 0 ? 19 : r));
      }
      for (int c = 0; c < 3; c++) {
        for (int i = 0; i < 1024; i++) {
          bytes.put(value(r, c, i));
        }
      }
    }
    return bytes.array();
  }

  private static byte value(int record, int channel, int pixel) {
    return (byte) (31 * record + 7 * channel + pixel);
  }

  private static void check(Dataset data, int index, int record) {
    ByteBuffer row = ByteBuffer.allocate(3072);
    data.read(new int[] {index}, 0, 1, row);
    assertEquals(record, data.label(index));
    for (int i = 0; i < 1024; i++) {
      for (int c = 0; c < 3; c++) {
        assertEquals(value(record, c, i), row.get(3 * i + c));
      }
    }
  }

  @Test
  void readsCifar10() throws IOException {
    Path files = Files.createDirectories(folder.resolve("cifar-10-batches-bin"));
    for (int i = 0; i < 6; i++) {
      Files.write(files.resolve(Cifar.FILES_10.get(i)), records(1, i + 1));
    }
    DataPair pair = Datasets.load("cifar10", folder);
    assertEquals(15, pair.train().count());
    assertEquals(6, pair.test().count());
    assertEquals(new SampleShape(32, 32, 3), pair.train().shape());
    assertEquals("truck", pair.train().classNames().get(9));
    check(pair.train(), 0, 0);
    check(pair.train(), 2, 1);
    check(pair.train(), 14, 4);
    check(pair.test(), 5, 5);
    assertEquals(0.4914, pair.test().normalization().mean().get(0));
    Files.delete(files.resolve("data_batch_3.bin"));
    var error =
        assertThrows(IllegalArgumentException.class, () -> Datasets.load("cifar10", folder));
    assertTrue(error.getMessage().contains("data_batch_3.bin"), error.getMessage());
  }

  @Test
  void readsCifar100WithItsFineLabels() throws IOException {
    Files.write(folder.resolve("train.bin"), records(2, 100));
    Files.write(folder.resolve("test.bin"), records(2, 3));
    DataPair pair = Datasets.load("cifar100", folder);
    check(pair.train(), 99, 99);
    check(pair.test(), 2, 2);
    assertEquals(100, pair.test().classes());
    String names =
        IntStream.range(0, 100)
            .mapToObj(i -> "n" + i)
            .collect(Collectors.joining("\n", "", "\n\n"));
    Files.writeString(folder.resolve("fine_label_names.txt"), names);
    assertEquals("n42", Cifar.load100(folder).train().classNames().get(42));
    Files.writeString(folder.resolve("fine_label_names.txt"), "apple\n");
    assertThrows(IllegalArgumentException.class, () -> Cifar.load100(folder));
  }

  @Test
  void refusesWrongFiles() throws IOException {
    byte[] whole = records(1, 2);
    for (int length : new int[] {0, 1, 3072, 3074, 6145}) {
      Path file = Files.write(folder.resolve("x.bin"), Arrays.copyOf(whole, length));
      var error = assertThrows(IllegalArgumentException.class, () -> Cifar.read(1, 10, file));
      assertTrue(error.getMessage().contains("x.bin"), error.getMessage());
    }
    whole[3073] = 10;
    Path file = Files.write(folder.resolve("x.bin"), whole);
    var error = assertThrows(IllegalArgumentException.class, () -> Cifar.read(1, 10, file));
    assertTrue(
        error.getMessage().contains("got 10") && error.getMessage().contains("offset 3073"),
        error.getMessage());
    // A record of the other format is shifted by a byte, which its labels show sooner or later, its
    // length at once.
    Path other = Files.write(folder.resolve("y.bin"), records(2, 2));
    assertThrows(IllegalArgumentException.class, () -> Cifar.read(1, 10, other));
  }

  /** Reads a file as CIFAR-10; prints why it could not. */
  public static final class Reader {
    private Reader() {}

    public static void main(String[] arguments) {
      try {
        Cifar.read(1, 10, Path.of(arguments[0]));
      } catch (IllegalArgumentException e) {
        System.out.println(e.getMessage());
        System.exit(3);
      }
    }
  }

  @Test
  void aGzipBombEndsBeforeTheHeap() throws Exception {
    // 400 MB of valid records in 400 KB, for a heap of 64 MB.
    Path bomb = folder.resolve("bomb.bin.gz");
    try (var out = new GZIPOutputStream(Files.newOutputStream(bomb), 1 << 16)) {
      byte[] records = new byte[100 * 3073];
      for (int i = 0; i < 1300; i++) {
        out.write(records);
      }
    }
    assertTrue(Files.size(bomb) < 1 << 20);
    ForkedJvm.End end =
        ForkedJvm.named("cifar-bomb").with("-Xmx64m").run(60, Reader.class, bomb.toString());
    assertEquals(3, end.exit(), end.toString());
    assertTrue(end.output().contains("three quarters of the heap (-Xmx)"), end.output());
    assertTrue(end.output().contains(bomb + ", offset "), end.output());
  }

  @Test
  void namesFilesAreBounded() throws IOException {
    Files.write(folder.resolve("train.bin"), records(2, 100));
    Files.write(folder.resolve("test.bin"), records(2, 3));
    Path names = folder.resolve("fine_label_names.txt");
    Files.write(names, new byte[70_000]);
    var error = assertThrows(IllegalArgumentException.class, () -> Cifar.load100(folder));
    assertTrue(error.getMessage().contains("at most 65536 bytes"), error.getMessage());
    Files.write(names, new byte[] {(byte) 0xFF, (byte) 0xFE}); // no UTF-8
    error = assertThrows(IllegalArgumentException.class, () -> Cifar.load100(folder));
    assertTrue(error.getMessage().contains("100 names, got 1 (" + names), error.getMessage());
  }
}
