package org.ghostbatch.data;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;

/**
 * MNIST and data sets of its format, such as Fashion-MNIST: 28x28x1 bytes, 10 classes, in IDX
 * files.
 *
 * <p>A folder holds {@code train-images-idx3-ubyte}, {@code train-labels-idx1-ubyte}, {@code
 * t10k-images-idx3-ubyte} and {@code t10k-labels-idx1-ubyte}, each as it is or with {@code .gz}.
 * Other image sizes are read too.
 *
 * @see <a href="https://web.archive.org/web/2024/http://yann.lecun.com/exdb/mnist/">the file
 *     format</a>
 */
public final class Mnist {
  static final List<String> FILES =
      List.of(
          "train-images-idx3-ubyte",
          "train-labels-idx1-ubyte",
          "t10k-images-idx3-ubyte",
          "t10k-labels-idx1-ubyte");

  private static final String KIND = "mnist";
  private static final int IMAGES_MAGIC = 0x803; // bytes, 3 dimensions
  private static final int LABELS_MAGIC = 0x801; // bytes, 1 dimension
  private static final int CLASSES = 10;
  private static final Normalization DIGITS =
      Normalization.ofBytes(List.of(0.1307), List.of(0.3081));
  private static final Normalization FASHION =
      Normalization.ofBytes(List.of(0.2860), List.of(0.3530));
  private static final List<String> DIGIT_NAMES =
      List.of("0", "1", "2", "3", "4", "5", "6", "7", "8", "9");
  private static final List<String> FASHION_NAMES =
      List.of(
          "t-shirt/top",
          "trouser",
          "pullover",
          "dress",
          "coat",
          "sandal",
          "shirt",
          "sneaker",
          "bag",
          "ankle boot");

  private Mnist() {}

  /**
   * The digits of a folder, with mean 0.1307 and standard deviation 0.3081.
   *
   * @throws IllegalArgumentException naming file, offset and what was expected
   * @throws java.io.UncheckedIOException where a file cannot be read
   */
  public static DataPair load(Path folder) {
    return load("mnist", folder, DIGIT_NAMES, DIGITS);
  }

  /**
   * The clothes of Fashion-MNIST, in files of the same names, with mean 0.2860 and standard
   * deviation 0.3530.
   */
  public static DataPair loadFashion(Path folder) {
    return load("fashion-mnist", folder, FASHION_NAMES, FASHION);
  }

  private static DataPair load(
      String name, Path folder, List<String> names, Normalization normalization) {
    Path[] paths =
        FILES.stream().map(file -> DataFiles.require(KIND, folder, file)).toArray(Path[]::new);
    Dataset train = read(paths[0], paths[1]).withClassNames(names).withNormalization(normalization);
    Dataset test = read(paths[2], paths[3]).withClassNames(names).withNormalization(normalization);
    return new DataPair(name, train, test, normalization);
  }

  /** One pair of IDX files; images of any size, labels 0 to 9. */
  static Dataset read(Path images, Path labels) {
    record Images(byte[] values, SampleShape shape, int count) {}
    Images read =
        DataFiles.read(
            KIND,
            images,
            in -> {
              requireMagic(in, IMAGES_MAGIC, "images");
              int count = readSize(in, "the number of images");
              int height = readSize(in, "the height");
              int width = readSize(in, "the width");
              // Each product is checked before the next, so that none overflows.
              long pixels = (long) height * width;
              if (pixels > Integer.MAX_VALUE || pixels * count > Integer.MAX_VALUE - 16) {
                throw in.invalid(
                    "at most 2147483631 pixels", count + " images of " + height + "x" + width);
              }
              byte[] values = readAll(in, 16, (int) pixels * count, "images");
              return new Images(values, new SampleShape(height, width, 1), count);
            });
    int[] numbers =
        DataFiles.read(
            KIND,
            labels,
            in -> {
              requireMagic(in, LABELS_MAGIC, "labels");
              int count = readSize(in, "the number of labels");
              if (count != read.count()) {
                throw in.invalid(
                    read.count() + " labels, one an image", Integer.toString(count), 4);
              }
              byte[] values = readAll(in, 8, count, "labels");
              int[] result = new int[count];
              for (int i = 0; i < count; i++) {
                result[i] = values[i] & 0xFF;
                if (result[i] >= CLASSES) {
                  throw in.invalid("labels in [0, 10)", Integer.toString(result[i]), 8 + i);
                }
              }
              return result;
            });
    return Dataset.of(read.values(), read.shape(), numbers);
  }

  private static void requireMagic(DataFiles.Input in, int needed, String what) throws IOException {
    int magic = in.readInt("the magic number");
    if (magic != needed) {
      throw in.invalid(
          String.format("the magic number 0x%08x of %s", needed, what),
          String.format("0x%08x", magic),
          0);
    }
  }

  private static int readSize(DataFiles.Input in, String what) throws IOException {
    int size = in.readInt(what);
    if (size < 1) {
      throw in.invalid(what + " >= 1", Integer.toString(size), in.offset() - 4);
    }
    return size;
  }

  private static byte[] readAll(DataFiles.Input in, int header, int length, String what)
      throws IOException {
    in.requireSize((long) header + length, length + " bytes of " + what);
    in.requireHeap(length);
    byte[] values = in.read(length, what);
    in.requireEnd();
    return values;
  }
}
