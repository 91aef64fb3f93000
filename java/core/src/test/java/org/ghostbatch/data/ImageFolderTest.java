package org.ghostbatch.data;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.awt.image.BufferedImage;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Folders of images as data sets. */
class ImageFolderTest {
  private static final int TRAIN = 37;
  private static final int TEST = 9;

  @TempDir Path folder;

  /** Three classes; names in an order that is not the one of creation. */
  @BeforeEach
  void write() throws IOException {
    var random = new Random(1);
    for (String half : List.of("train", "test")) {
      int count = half.equals("train") ? TRAIN : TEST;
      for (int i = 0; i < count; i++) {
        String kind = List.of("zebra", "Ant", "bee").get(i % 3);
        String end = List.of(".png", ".jpg", ".JPEG", ".Png").get(i % 4);
        write(half + "/" + kind + "/" + (997 * i % 1000) + end, 20, 24, random.nextInt());
      }
    }
    // None of these is a sample.
    Files.createDirectory(folder.resolve("train/.hidden"));
    Files.writeString(folder.resolve("train/readme.txt"), "no class");
    Files.writeString(folder.resolve("train/bee/notes.txt"), "no image");
    Files.writeString(folder.resolve("test/bee/.a.png"), "left by an editor");
  }

  private void write(String name, int height, int width, long seed) throws IOException {
    write(name, new BufferedImage(width, height, BufferedImage.TYPE_3BYTE_BGR), seed);
  }

  private void write(String name, BufferedImage image, long seed) throws IOException {
    var random = new Random(seed);
    int base = random.nextInt(1 << 24);
    for (int i = 0; i < image.getWidth() * image.getHeight(); i++) {
      int noise = random.nextInt(16);
      image.setRGB(i % image.getWidth(), i / image.getWidth(), base ^ noise * 0x010101);
    }
    Path file = folder.resolve(name);
    Files.createDirectories(file.getParent());
    String format = name.toLowerCase().endsWith("png") ? "png" : "jpg";
    assertTrue(ImageIO.write(image, format, file.toFile()));
  }

  private DataPair load(DataOptions options) {
    return Datasets.load("folder:" + folder, options);
  }

  private static byte[] all(Dataset data) {
    ByteBuffer values = ByteBuffer.allocate(data.count() * data.sampleBytes());
    data.read(IntStream.range(0, data.count()).toArray(), 0, data.count(), values);
    assertFalse(values.hasRemaining());
    return values.array();
  }

  @Test
  void samplesAreSortedByClassAndName() throws IOException {
    DataPair pair = load(DataOptions.defaults());
    assertEquals("folder:" + folder, pair.name());
    assertEquals(List.of("Ant", "bee", "zebra"), pair.train().classNames());
    assertEquals(pair.train().classNames(), pair.test().classNames());
    assertEquals(TRAIN, pair.train().count());
    assertEquals(TEST, pair.test().count());
    assertEquals(new SampleShape(20, 24, 3), pair.train().shape());
    assertEquals(ElementType.U8, pair.train().type());
    List<Path> files = new ArrayList<>();
    for (String kind : pair.train().classNames()) {
      var names = new TreeSet<String>();
      try (var list = Files.list(folder.resolve("train/" + kind))) {
        list.map(path -> path.getFileName().toString())
            .filter(name -> !name.endsWith(".txt"))
            .forEach(names::add);
      }
      names.forEach(name -> files.add(folder.resolve("train/" + kind).resolve(name)));
    }
    for (int i = 0; i < TRAIN; i++) {
      ByteBuffer row = ByteBuffer.allocate(20 * 24 * 3);
      pair.train().read(new int[] {i}, 0, 1, row);
      assertArrayEquals(ImageFile.read(files.get(i), pair.train().shape()), row.array());
      String kind = files.get(i).getParent().getFileName().toString();
      assertEquals(kind, pair.train().classNames().get(pair.train().label(i)));
    }
  }

  @Test
  void sameBitsInMemoryStreamedAndOnAnyNumberOfThreads() {
    for (int[] size : new int[][] {{0, 0}, {8, 8}, {40, 31}}) {
      DataOptions options = DataOptions.defaults().withImageSize(size[0], size[1]);
      DataPair first = load(options.withThreads(1));
      assertFalse(first.train().streaming());
      for (int threads : new int[] {1, 2, 7}) {
        for (long memory : new long[] {0, 1000, Long.MAX_VALUE}) {
          DataPair pair = load(options.withThreads(threads).withMemory(memory));
          assertEquals(memory < Long.MAX_VALUE, pair.train().streaming());
          assertEquals(pair.train().streaming(), pair.test().streaming());
          assertArrayEquals(all(first.train()), all(pair.train()));
          assertArrayEquals(all(first.test()), all(pair.test()));
          assertEquals(first.normalization(), pair.normalization());
          assertEquals(first.train().fingerprint(), pair.train().fingerprint());
        }
      }
    }
  }

  @Test
  void readsRowsInAnyOrderToAnyPlace() {
    DataPair memory = load(DataOptions.defaults());
    DataPair streamed = load(DataOptions.defaults().withMemory(0).withThreads(3));
    int[] indices = {-1, 5, 36, 0, 5, 99};
    for (boolean direct : new boolean[] {false, true}) {
      List<ByteBuffer> both = new ArrayList<>();
      for (DataPair pair : List.of(memory, streamed)) {
        int bytes = 4 * 1440 + 10;
        ByteBuffer target = direct ? ByteBuffer.allocateDirect(bytes) : ByteBuffer.allocate(bytes);
        target.position(7);
        pair.train().read(indices, 1, 5, target);
        assertEquals(7 + 4 * 1440, target.position());
        both.add(target.rewind());
        assertThrows(
            IndexOutOfBoundsException.class, () -> pair.train().read(indices, 0, 2, target));
        assertThrows(
            IllegalArgumentException.class,
            () -> pair.train().read(indices, 1, 5, ByteBuffer.allocate(4 * 1440 - 1)));
      }
      assertEquals(both.get(0), both.get(1));
    }
  }

  @Test
  void greyWhereAllAre() throws IOException {
    Path other = folder.resolve("grey");
    for (String name : List.of("train/a/1.png", "train/b/1.jpg", "test/a/1.jpg", "test/b/1.png")) {
      write("grey/" + name, new BufferedImage(6, 6, BufferedImage.TYPE_BYTE_GRAY), 1);
    }
    assertEquals(
        new SampleShape(6, 6, 1),
        Datasets.load("folder:" + other, DataOptions.defaults()).train().shape());
    write("grey/test/a/2.png", 6, 6, 1);
    DataPair mixed = Datasets.load("folder:" + other, DataOptions.defaults());
    assertEquals(new SampleShape(6, 6, 3), mixed.train().shape());
  }

  @Test
  void greyAndColourAsAsked() throws IOException {
    for (String name : List.of("train/a/1.png", "train/b/1.jpg", "test/a/1.jpg", "test/b/1.png")) {
      write("grey/" + name, new BufferedImage(6, 6, BufferedImage.TYPE_BYTE_GRAY), 1);
      write("colour/" + name, 6, 6, 1);
    }
    for (String kind : List.of("grey", "colour")) {
      for (int channels : new int[] {1, 3}) {
        for (long memory : new long[] {0, 1 << 20}) {
          DataPair pair =
              Datasets.load(
                  "folder:" + folder.resolve(kind),
                  DataOptions.defaults().withChannels(channels).withMemory(memory));
          SampleShape shape = new SampleShape(6, 6, channels);
          assertEquals(shape, pair.train().shape());
          byte[] jpeg = ImageFile.read(folder.resolve(kind + "/train/b/1.jpg"), shape);
          assertArrayEquals(
              jpeg, Arrays.copyOfRange(all(pair.train()), jpeg.length, 2 * jpeg.length));
        }
      }
    }
    for (int channels : new int[] {2, 4}) {
      var error =
          assertThrows(
              IllegalArgumentException.class,
              () -> load(DataOptions.defaults().withChannels(channels)));
      contains(error.getMessage(), "1 or 3 channels", "got " + channels);
    }
  }

  @Test
  void normalizationIsThatOfTheTrainingImages() {
    DataPair pair = load(DataOptions.defaults());
    assertEquals(Normalization.measure(pair.train()), pair.normalization());
    assertNotEquals(Normalization.measure(pair.test()), pair.normalization());
  }

  @Test
  void fingerprintsTellFoldersApart() throws IOException {
    var hashes = new TreeSet<String>();
    hashes.add(load(DataOptions.defaults()).train().fingerprint());
    hashes.add(load(DataOptions.defaults()).test().fingerprint());
    hashes.add(load(DataOptions.defaults().withImageSize(8, 8)).train().fingerprint());
    Dataset data = load(DataOptions.defaults().withMemory(0)).train();
    hashes.add(data.take(5).fingerprint());
    hashes.add(data.split(0.2, 1).train().fingerprint());
    assertEquals(
        data.fingerprint(),
        data.withNormalization(Normalization.none(ElementType.U8, 3)).fingerprint());
    Files.move(folder.resolve("train/zebra/0.png"), folder.resolve("train/zebra/1.png"));
    hashes.add(load(DataOptions.defaults()).train().fingerprint());
    write("train/zebra/1.png", 20, 24, 99);
    hashes.add(load(DataOptions.defaults()).train().fingerprint());
    assertEquals(7, hashes.size());
  }

  private String refused(DataOptions options) {
    var error = assertThrows(IllegalArgumentException.class, () -> load(options));
    return error.getMessage();
  }

  private static void contains(String text, Object... parts) {
    for (Object part : parts) {
      assertTrue(text.contains(part.toString()), part + " in: " + text);
    }
  }

  @Test
  void imagesOfSeveralSizesNeedOne() throws IOException {
    write("test/bee/other.png", 24, 20, 1);
    contains(
        refused(DataOptions.defaults()),
        "[folder] needs a size (--image-size)",
        "24x20 in ",
        "20x24 in " + folder.resolve("test/bee/other.png"));
    assertEquals(
        new SampleShape(16, 16, 3),
        load(DataOptions.defaults().withImageSize(16, 16)).train().shape());
  }

  @Test
  void foldersMustBeThereAlikeAndFull() throws IOException {
    Files.createDirectory(folder.resolve("test/cat"));
    contains(
        refused(DataOptions.defaults()),
        "[folder] needs images (.png, .jpg, .jpeg) in each class folder",
        "none in " + folder.resolve("test/cat"));
    write("test/cat/1.png", 20, 24, 1);
    write("train/dog/1.png", 20, 24, 1);
    contains(
        refused(DataOptions.defaults()),
        "the same class folders",
        "[dog] only in " + folder.resolve("train"),
        "[cat] only in " + folder.resolve("test"));
    for (String wrong : List.of("train/bee", "nowhere")) {
      Path path = folder.resolve(wrong);
      var error =
          assertThrows(IllegalArgumentException.class, () -> Datasets.load("folder:" + path));
      contains(error.getMessage(), "the folders train and test in " + path, "got no ");
    }
    Path empty = Files.createDirectories(folder.resolve("empty/train")).getParent();
    Files.createDirectory(empty.resolve("test"));
    var error =
        assertThrows(IllegalArgumentException.class, () -> Datasets.load("folder:" + empty));
    contains(error.getMessage(), "a folder for each class in " + empty.resolve("train"));
  }

  @Test
  void damagedFilesAreNamedBeforeTraining() throws IOException {
    Path text = Files.writeString(folder.resolve("train/bee/a.png"), "this is text");
    for (int threads : new int[] {1, 4}) {
      // Of several, always the first.
      Files.writeString(folder.resolve("train/zebra/b.png"), "text");
      Files.writeString(folder.resolve("train/bee/b.jpg"), "text");
      contains(
          refused(DataOptions.defaults().withThreads(threads)),
          "a PNG or JPEG image, got another (" + text + ", offset 0)");
    }
    Files.delete(folder.resolve("train/zebra/b.png"));
    Files.delete(folder.resolve("train/bee/b.jpg"));
    Files.delete(text);
    Files.createSymbolicLink(text, folder.resolve("nowhere"));
    var error = assertThrows(UncheckedIOException.class, () -> load(DataOptions.defaults()));
    contains(error.getMessage(), "[image] cannot read " + text);
  }

  @Test
  void damageWithinAnImageIsFoundWhenItIsRead() throws IOException {
    Path file = folder.resolve("test/Ant/997.jpg"); // i = 1
    byte[] whole = Files.readAllBytes(file);
    Files.write(file, Arrays.copyOf(whole, whole.length - 40));
    contains(refused(DataOptions.defaults()), file, "the end of the image");
    Dataset test = load(DataOptions.defaults().withMemory(0)).test();
    var error = assertThrows(IllegalArgumentException.class, () -> all(test));
    contains(error.getMessage(), file, "the end of the image");
    Files.write(file, whole);
    assertEquals(TEST * 1440, all(test).length);
  }

  @Test
  void namesAreChecked() {
    for (String name : List.of("folder:a", "npy:b c", "mnist", "strokes")) {
      assertEquals(name, Datasets.check(name));
    }
    for (String name : List.of("", "folder:", "npy:", "Folder:a", "cifar", "folder:\0")) {
      var error = assertThrows(IllegalArgumentException.class, () -> Datasets.check(name));
      contains(error.getMessage(), "folder:PATH or npy:PATH", "cifar100");
    }
    assertThrows(IllegalArgumentException.class, () -> Datasets.check(null));
  }

  @Test
  void optionsAreChecked() {
    DataOptions options = DataOptions.defaults();
    for (Runnable wrong :
        List.<Runnable>of(
            () -> options.withImageSize(0, 3),
            () -> options.withImageSize(-1, -1),
            () -> options.withImageSize(1, 1 << 15),
            () -> options.withThreads(0),
            () -> options.withMemory(-1),
            () -> options.withProgress(null))) {
      assertThrows(IllegalArgumentException.class, wrong::run);
    }
  }

  @Test
  void workersDoEachTaskOnceAndTellTheFirstFailure() {
    for (int threads : new int[] {1, 2, 9}) {
      for (int tasks : new int[] {0, 1, 5, 1000}) {
        var done = new AtomicInteger[tasks];
        for (int i = 0; i < tasks; i++) {
          done[i] = new AtomicInteger();
        }
        Workers.run(threads, tasks, () -> i -> done[i].incrementAndGet());
        for (AtomicInteger count : done) {
          assertEquals(1, count.get());
        }
      }
      for (int round = 0; round < 50; round++) {
        var error =
            assertThrows(
                IllegalStateException.class,
                () ->
                    Workers.run(
                        threads,
                        500,
                        () ->
                            i -> {
                              if (i >= 100 && i % 3 == 0) {
                                throw new IllegalStateException("task " + i);
                              }
                            }));
        assertEquals("task 102", error.getMessage());
      }
    }
  }
}
