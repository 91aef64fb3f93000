package org.ghostbatch.data;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.stream.IntStream;
import org.ghostbatch.io.Hashes;
import org.ghostbatch.random.Shuffle;

/**
 * Labelled samples of one shape, [H, W, C] each, numbered from 0.
 *
 * <p>Make one of your own arrays with {@link #of(byte[], SampleShape, int[])} and its siblings, or
 * implement this interface: six methods, and {@link #streaming} where the data does not fit into
 * memory. Methods are called by one thread at a time. The content must not change while it is in
 * use.
 */
public interface Dataset {
  /** Number of samples. */
  int count();

  /** Shape of each sample. */
  SampleShape shape();

  /** Element type of the samples. */
  ElementType type();

  /** Names of the classes; label i means the name at i. */
  List<String> classNames();

  /** Label of a sample, in [0, classes). */
  int label(int index);

  /**
   * Writes samples indices[from .. to) one after another to {@code target}, from its position on,
   * and advances it.
   *
   * <p>Each sample is {@link #sampleBytes} bytes: its elements in [H, W, C] order, floats in the
   * byte order of {@code target}.
   */
  void read(int[] indices, int from, int to, ByteBuffer target);

  /** Number of classes. */
  default int classes() {
    return classNames().size();
  }

  /** Bytes of one sample. */
  default int sampleBytes() {
    return Math.multiplyExact(shape().elements(), type().bytes());
  }

  /**
   * False: training copies the data into native memory once. True: every batch is read when it is
   * needed.
   */
  default boolean streaming() {
    return false;
  }

  /**
   * How values are normalized when a network is trained on this data; measured over all samples
   * unless known.
   */
  default Normalization normalization() {
    return Normalization.measure(this);
  }

  /**
   * SHA-256, in hexadecimal, of the shape, the type, the number of classes, all labels and all
   * values. Reads the data once; a streaming data set may return the name and version of its source
   * instead.
   */
  default String fingerprint() {
    MessageDigest digest = Hashes.of("SHA-256");
    ByteBuffer header = ByteBuffer.allocate(24).order(ByteOrder.LITTLE_ENDIAN);
    header
        .putInt(count())
        .putInt(shape().height())
        .putInt(shape().width())
        .putInt(shape().channels());
    header.putInt(type().bytes()).putInt(classes());
    digest.update(header.flip());
    int[] indices = new int[Math.max(1, Math.min(count(), (1 << 20) / sampleBytes()))];
    ByteBuffer rows = DatasetRows.buffer(this, indices.length).order(ByteOrder.LITTLE_ENDIAN);
    ByteBuffer labels = ByteBuffer.allocate(4 * indices.length).order(ByteOrder.LITTLE_ENDIAN);
    for (int first = 0; first < count(); first += indices.length) {
      int read = DatasetRows.read(this, first, indices, rows);
      labels.clear();
      for (int i = 0; i < read; i++) {
        labels.putInt(label(first + i));
      }
      digest.update(labels.flip());
      digest.update(rows.flip());
    }
    return HexFormat.of().formatHex(digest.digest());
  }

  /**
   * The first {@code n} samples in stored order (not a random choice: sorted data gives the first
   * classes only).
   */
  default Dataset take(int n) {
    if (n < 1 || n > count()) {
      throw new IllegalArgumentException(
          "[dataset] needs 1 to " + count() + " samples to take, got " + n);
    }
    return n == count() ? this : new Subset(this, IntStream.range(0, n).toArray());
  }

  /** The samples at these indices, in this order; one may come more than once. */
  default Dataset select(int... indices) {
    return new Subset(this, Check.present("dataset", "indices", indices).clone());
  }

  /** The training part and the validation part of a data set. */
  record Split(Dataset train, Dataset validation) {}

  /**
   * Sets round(fraction count) samples aside for validation, chosen by {@code seed}; both parts
   * keep the stored order.
   *
   * @param fraction above 0 and below 1, such that neither part is empty
   */
  default Split split(double fraction, long seed) {
    long held = Math.round(fraction * count());
    if (!(fraction > 0 && fraction < 1) || held < 1 || held >= count()) {
      throw new IllegalArgumentException(
          "[dataset] needs a validation fraction in (0, 1) that leaves both parts samples, got "
              + fraction
              + " of "
              + count());
    }
    // An epoch number that no training reaches keeps this choice apart from the order of every
    // epoch.
    int[] order = Shuffle.permutation(count(), seed, -1);
    int[] validation = Arrays.copyOf(order, (int) held);
    int[] train = Arrays.copyOfRange(order, (int) held, count());
    Arrays.sort(validation);
    Arrays.sort(train);
    return new Split(new Subset(this, train), new Subset(this, validation));
  }

  /**
   * The same samples with these names of the classes, which also say how many classes there are.
   */
  default Dataset withClassNames(List<String> names) {
    return new Named(this, names);
  }

  /** The same samples, normalized in training as given. */
  default Dataset withNormalization(Normalization normalization) {
    return new Normalized(this, normalization);
  }

  /**
   * Bytes 0..255, samples one after another, each [H, W, C]. Neither array is copied; classes are 0
   * to the largest label, named by their numbers (see {@link #withClassNames}).
   *
   * @throws IllegalArgumentException where the length is not labels.length H W C, or a label is
   *     negative
   */
  static Dataset of(byte[] values, SampleShape shape, int[] labels) {
    return of(ByteBuffer.wrap(Check.present("dataset", "values", values)), shape, labels);
  }

  /**
   * As {@link #of(byte[], SampleShape, int[])}, of the bytes between position and limit, heap or
   * direct.
   */
  static Dataset of(ByteBuffer values, SampleShape shape, int[] labels) {
    return new BytesDataset(values, shape, labels);
  }

  /** As {@link #of(byte[], SampleShape, int[])}, of floats, which must be finite. */
  static Dataset of(float[] values, SampleShape shape, int[] labels) {
    return of(FloatBuffer.wrap(Check.present("dataset", "values", values)), shape, labels);
  }

  /**
   * As {@link #of(float[], SampleShape, int[])}, of the floats between position and limit, heap or
   * direct.
   */
  static Dataset of(FloatBuffer values, SampleShape shape, int[] labels) {
    return new FloatsDataset(values, shape, labels);
  }
}
