package org.ghostbatch.data;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

/**
 * CIFAR-10 and CIFAR-100 in their binary versions: 32x32x3 bytes; records of one label byte (two in
 * CIFAR-100: coarse, then fine, which is the one used) and the red, green and blue planes.
 *
 * <p>A folder holds {@code data_batch_1.bin} to {@code data_batch_5.bin} and {@code
 * test_batch.bin}, or {@code train.bin} and {@code test.bin}, each as it is or with {@code .gz}.
 *
 * @see <a href="https://www.cs.toronto.edu/~kriz/cifar.html">the file format</a>
 */
public final class Cifar {
  static final List<String> FILES_10 =
      List.of(
          "data_batch_1.bin",
          "data_batch_2.bin",
          "data_batch_3.bin",
          "data_batch_4.bin",
          "data_batch_5.bin",
          "test_batch.bin");
  static final List<String> FILES_100 = List.of("train.bin", "test.bin");

  /** Where CIFAR-100 keeps the names of its fine classes. */
  static final String NAMES_100 = "fine_label_names.txt";

  private static final String KIND = "cifar";
  private static final SampleShape SHAPE = new SampleShape(32, 32, 3);
  private static final int PLANE = 32 * 32;
  private static final int MAX_NAMES_BYTES = 1 << 16;
  private static final int MAX_SAMPLES = Integer.MAX_VALUE / (3 * PLANE);
  private static final Normalization NORMALIZATION_10 =
      Normalization.ofBytes(List.of(0.4914, 0.4822, 0.4465), List.of(0.2470, 0.2435, 0.2616));
  private static final Normalization NORMALIZATION_100 =
      Normalization.ofBytes(List.of(0.5071, 0.4865, 0.4409), List.of(0.2673, 0.2564, 0.2762));
  private static final List<String> NAMES_10 =
      List.of(
          "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck");

  private Cifar() {}

  /**
   * CIFAR-10 of a folder.
   *
   * @throws IllegalArgumentException naming file, offset and what was expected
   * @throws java.io.UncheckedIOException where a file cannot be read
   */
  public static DataPair load10(Path folder) {
    return load("cifar10", folder, FILES_10, 1, NAMES_10, NORMALIZATION_10);
  }

  /**
   * CIFAR-100 of a folder, with its fine classes, named as {@code fine_label_names.txt} of the
   * folder says.
   */
  public static DataPair load100(Path folder) {
    return load("cifar100", folder, FILES_100, 2, names100(folder), NORMALIZATION_100);
  }

  private static List<String> names100(Path folder) {
    Path path = folder.resolve(NAMES_100);
    if (!Files.isRegularFile(path)) {
      return IntStream.range(0, 100).mapToObj(Integer::toString).toList();
    }
    return DataFiles.read(
        KIND,
        path,
        in -> {
          if (in.size() > MAX_NAMES_BYTES) {
            throw in.invalid("at most " + MAX_NAMES_BYTES + " bytes", Long.toString(in.size()));
          }
          byte[] text = new byte[(int) in.size()];
          in.read(text, 0, text.length, "names");
          List<String> names =
              new String(text, StandardCharsets.UTF_8)
                  .lines()
                  .map(String::strip)
                  .filter(line -> !line.isEmpty())
                  .toList();
          if (names.size() != 100) {
            throw in.invalid("100 names", Integer.toString(names.size()));
          }
          return names;
        });
  }

  private static DataPair load(
      String name,
      Path folder,
      List<String> files,
      int labelBytes,
      List<String> names,
      Normalization normalization) {
    Path[] paths =
        files.stream().map(file -> DataFiles.require(KIND, folder, file)).toArray(Path[]::new);
    int last = paths.length - 1;
    Dataset train = read(labelBytes, names.size(), Arrays.copyOf(paths, last));
    Dataset test = read(labelBytes, names.size(), paths[last]);
    return new DataPair(
        name,
        train.withClassNames(names).withNormalization(normalization),
        test.withClassNames(names).withNormalization(normalization),
        normalization);
  }

  /** The records of files, one after another; the last of the label bytes is the label. */
  static Dataset read(int labelBytes, int classes, Path... paths) {
    var samples = new Records(labelBytes, classes);
    for (int f = 0; f < paths.length; f++) {
      int filesLeft = paths.length - f;
      DataFiles.read(
          KIND,
          paths[f],
          in -> {
            samples.add(in, filesLeft);
            return null;
          });
    }
    return samples.dataset();
  }

  /** Samples as they are read: one record at a time, so that the set is in memory once. */
  private static final class Records {
    private final int labelBytes;
    private final int classes;
    private final byte[] record;
    private byte[] values = {};
    private int[] labels = {};
    private int count;

    Records(int labelBytes, int classes) {
      this.labelBytes = labelBytes;
      this.classes = classes;
      this.record = new byte[labelBytes + 3 * PLANE];
    }

    /** All of a file, with {@code filesLeft - 1} more of about its size to come. */
    void add(DataFiles.Input in, int filesLeft) throws IOException {
      int before = count;
      if (in.size() / record.length > MAX_SAMPLES / filesLeft - count) {
        throw in.invalid(
            "files of at most " + MAX_SAMPLES + " records together", in.size() + " bytes");
      }
      grow(in, count + in.size() / record.length * filesLeft);
      while (in.readRecord(record, "records")) {
        if (count == labels.length) {
          if (count == MAX_SAMPLES) {
            throw in.invalid("at most " + MAX_SAMPLES + " records", "more");
          }
          grow(
              in,
              Math.min(
                  MAX_SAMPLES,
                  count + count / 2 + 1L)); // packed files hold more than their size tells
        }
        labels[count] = record[labelBytes - 1] & 0xFF;
        if (labels[count] >= classes) {
          throw in.invalid(
              "labels in [0, " + classes + ")",
              Integer.toString(labels[count]),
              in.offset() - record.length + labelBytes - 1);
        }
        interleave(record, labelBytes, values, count++ * 3 * PLANE);
      }
      if (count == before) {
        throw in.invalid("whole records of " + record.length + " bytes", "none");
      }
    }

    private void grow(DataFiles.Input in, long samples) {
      if (samples <= labels.length) {
        return;
      }
      // While values move to their new place, they are there twice.
      in.requireHeap((samples + count) * 3L * PLANE);
      int size = (int) samples;
      values = Arrays.copyOf(values, size * 3 * PLANE);
      labels = Arrays.copyOf(labels, size);
    }

    Dataset dataset() {
      if (count < labels.length) {
        values = Arrays.copyOf(values, count * 3 * PLANE);
        labels = Arrays.copyOf(labels, count);
      }
      return Dataset.of(values, SHAPE, labels);
    }
  }

  /** Planes [C, H, W] to [H, W, C]. */
  private static void interleave(byte[] source, int from, byte[] target, int to) {
    for (int c = 0; c < 3; c++) {
      for (int i = 0; i < PLANE; i++) {
        target[to + 3 * i + c] = source[from + c * PLANE + i];
      }
    }
  }
}
