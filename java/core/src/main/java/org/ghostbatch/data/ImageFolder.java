package org.ghostbatch.data;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.TreeSet;
import java.util.stream.IntStream;
import org.ghostbatch.io.Hashes;

/**
 * Images in folders, {@code train/CLASS/*.png|jpg|jpeg} and {@code test/CLASS/...}: classes are the
 * sorted names of the folders, the same in both; samples are sorted by class and name. Names that
 * begin with a dot are passed over.
 *
 * <p>Samples are bytes [H, W, C], grey where all images are, else red, green and blue, or what the
 * options say. Without a size given, all images must have the same; with one, each is scaled so
 * that it covers the size, and cut around its centre. Images are decoded by several threads: once,
 * where all of them fit into the memory granted, else batch by batch. Every header is read when the
 * data is loaded.
 *
 * <p>The normalization is measured on 10,000 training images spread evenly, or on all where there
 * are fewer. The fingerprint is of the names and lengths of the files, the labels and the shape.
 */
public final class ImageFolder {
  private static final String KIND = "folder";
  private static final int MEASURED = 10_000;
  private static final int MAX_ARRAY = Integer.MAX_VALUE - 16;

  private ImageFolder() {}

  /**
   * The data of a folder.
   *
   * @throws IllegalArgumentException where folders or images are missing or differ, or a file is no
   *     image, naming it
   * @throws UncheckedIOException where something cannot be read
   */
  public static DataPair load(Path folder, DataOptions options) {
    Check.present(KIND, "a folder", folder);
    Check.present(KIND, "options", options);
    if (options.channels() == 2 || options.channels() > 3) {
      throw Check.bad(KIND, "samples of 1 or 3 channels", options.channels());
    }
    Half train = Half.list(folder, "train");
    Half test = Half.list(folder, "test");
    sameClasses(train, test);
    Heads heads = new Heads(options);
    long[] trainSizes = heads.read(train);
    long[] testSizes = heads.read(test);
    SampleShape shape = heads.shape();
    long bytes = (long) (train.count() + test.count()) * shape.elements();
    boolean keeps =
        bytes <= options.memory()
            && (long) Math.max(train.count(), test.count()) * shape.elements() <= MAX_ARRAY;
    var trainData = new Images(train, shape, trainSizes, options.threads(), keeps);
    var testData = new Images(test, shape, testSizes, options.threads(), keeps);
    return new DataPair("folder:" + folder, trainData, testData, trainData.normalization());
  }

  private static void sameClasses(Half train, Half test) {
    if (train.classes.equals(test.classes)) {
      return;
    }
    var onlyTrain = new TreeSet<>(train.classes);
    test.classes.forEach(onlyTrain::remove);
    var onlyTest = new TreeSet<>(test.classes);
    train.classes.forEach(onlyTest::remove);
    throw Check.bad(
        KIND,
        "the same class folders for training and test",
        onlyTrain + " only in " + train.folder + " and " + onlyTest + " only in " + test.folder);
  }

  /** The files of one half of the data. */
  private record Half(Path folder, List<String> classes, String[] names, int[] labels) {
    static Half list(Path parent, String half) {
      Path folder = parent.resolve(half);
      if (!Files.isDirectory(folder)) {
        throw Check.bad(
            KIND,
            "the folders train and test in " + parent,
            Files.isDirectory(parent) ? "no " + half : "no such folder");
      }
      List<String> classes = names(folder, true);
      if (classes.isEmpty()) {
        throw Check.bad(KIND, "a folder for each class in " + folder, "none");
      }
      List<String> files = new ArrayList<>();
      int[] ends = new int[classes.size()];
      for (int c = 0; c < ends.length; c++) {
        List<String> own = names(folder.resolve(classes.get(c)), false);
        if (own.isEmpty()) {
          throw Check.bad(
              KIND,
              "images (.png, .jpg, .jpeg) in each class folder",
              "none in " + folder.resolve(classes.get(c)));
        }
        files.addAll(own);
        ends[c] = files.size();
      }
      int[] labels = new int[files.size()];
      for (int c = 0; c < ends.length; c++) {
        Arrays.fill(labels, c == 0 ? 0 : ends[c - 1], ends[c], c);
      }
      return new Half(folder, classes, files.toArray(String[]::new), labels);
    }

    /** Sorted names of the folders, or of the images, in a folder. */
    private static List<String> names(Path folder, boolean folders) {
      List<String> names = new ArrayList<>();
      try (DirectoryStream<Path> entries = Files.newDirectoryStream(folder)) {
        for (Path entry : entries) {
          String name = entry.getFileName().toString();
          boolean wanted = folders ? Files.isDirectory(entry) : isImage(name);
          if (wanted && !name.startsWith(".")) {
            names.add(name);
          }
        }
      } catch (IOException | java.nio.file.DirectoryIteratorException e) {
        throw new UncheckedIOException(
            "[folder] cannot read " + folder + ": " + e.getMessage(),
            e instanceof IOException io ? io : new IOException(e));
      }
      names.sort(null);
      return names;
    }

    private static boolean isImage(String name) {
      String lower = name.toLowerCase(Locale.ROOT);
      return lower.endsWith(".png") || lower.endsWith(".jpg") || lower.endsWith(".jpeg");
    }

    int count() {
      return labels.length;
    }

    Path path(int index) {
      return folder.resolve(classes.get(labels[index])).resolve(names[index]);
    }
  }

  /** What the headers of all images say together. */
  private static final class Heads {
    private final DataOptions options;
    private boolean colour;
    private ImageHeader first;
    private Path firstPath;

    Heads(DataOptions options) {
      this.options = options;
    }

    /** Reads the headers of one half; the lengths of its files. */
    long[] read(Half split) {
      long[] sizes = new long[split.count()];
      ImageHeader[] headers = new ImageHeader[split.count()];
      Workers.run(
          options.threads(),
          split.count(),
          () ->
              i -> {
                Path path = split.path(i);
                headers[i] = ImageDecoder.header(path);
                try {
                  sizes[i] = Files.size(path);
                } catch (IOException e) {
                  throw new UncheckedIOException(
                      "[image] cannot read " + path + ": " + e.getMessage(), e);
                }
              });
      for (int i = 0; i < headers.length; i++) {
        colour |= headers[i].channels() == 3;
        if (first == null) {
          first = headers[i];
          firstPath = split.path(i);
        }
        if (options.height() == 0
            && (headers[i].height() != first.height() || headers[i].width() != first.width())) {
          throw Check.bad(
              KIND,
              "a size (--image-size) for images of several sizes",
              "none, with "
                  + size(first)
                  + " in "
                  + firstPath
                  + " and "
                  + size(headers[i])
                  + " in "
                  + split.path(i));
        }
      }
      return sizes;
    }

    private static String size(ImageHeader header) {
      return header.width() + "x" + header.height();
    }

    SampleShape shape() {
      boolean own = options.height() == 0;
      int channels = colour ? 3 : 1;
      return new SampleShape(
          own ? first.height() : options.height(),
          own ? first.width() : options.width(),
          options.channels() == 0 ? channels : options.channels());
    }
  }

  /** One half of the data, decoded already or when it is read. */
  private static final class Images implements Dataset {
    private final Half split;
    private final SampleShape shape;
    private final long[] sizes;
    private final int threads;
    private final byte[] values; // null: decoded when read
    private final ThreadLocal<Worker> workers = ThreadLocal.withInitial(Worker::new);
    private Normalization normalization;

    Images(Half split, SampleShape shape, long[] sizes, int threads, boolean keeps) {
      this.split = split;
      this.shape = shape;
      this.sizes = sizes;
      this.threads = threads;
      this.values = keeps ? decoded() : null;
    }

    private final class Worker {
      private final ImageDecoder decoder = new ImageDecoder();
      private final byte[] sample = new byte[shape.elements()];
    }

    private byte[] decoded() {
      byte[] all = new byte[split.count() * shape.elements()];
      Workers.run(
          threads,
          split.count(),
          () -> {
            var decoder = new ImageDecoder();
            return i -> decoder.decode(split.path(i), shape, all, i * shape.elements());
          });
      return all;
    }

    @Override
    public int count() {
      return split.count();
    }

    @Override
    public SampleShape shape() {
      return shape;
    }

    @Override
    public ElementType type() {
      return ElementType.U8;
    }

    @Override
    public List<String> classNames() {
      return split.classes;
    }

    @Override
    public int label(int index) {
      return split.labels[index];
    }

    @Override
    public boolean streaming() {
      return values == null;
    }

    @Override
    public void read(int[] indices, int from, int to, ByteBuffer target) {
      MemoryDataset.checkRead(this, indices, from, to, target);
      int size = shape.elements();
      int start = target.position();
      if (values != null) {
        for (int i = from; i < to; i++) {
          target.put(values, indices[i] * size, size);
        }
        return;
      }
      Workers.run(
          threads,
          to - from,
          () -> {
            Worker worker = workers.get();
            return i -> {
              worker.decoder.decode(split.path(indices[from + i]), shape, worker.sample, 0);
              target.put(start + i * size, worker.sample);
            };
          });
      target.position(start + (to - from) * size);
    }

    @Override
    public Normalization normalization() {
      if (normalization == null) {
        int measured = Math.min(count(), MEASURED);
        int[] spread =
            IntStream.range(0, measured).map(i -> (int) ((long) i * count() / measured)).toArray();
        normalization = Normalization.measure(select(spread));
      }
      return normalization;
    }

    @Override
    public String fingerprint() {
      MessageDigest digest = Hashes.of("SHA-256");
      digest.update(
          (shape + " " + String.join("/", split.classes)).getBytes(StandardCharsets.UTF_8));
      for (int i = 0; i < count(); i++) {
        String line = "\n" + split.labels[i] + " " + split.names[i] + " " + sizes[i];
        digest.update(line.getBytes(StandardCharsets.UTF_8));
      }
      return HexFormat.of().formatHex(digest.digest());
    }

    @Override
    public String toString() {
      return split.folder + ": " + count() + " images as " + Objects.toString(shape);
    }
  }
}
