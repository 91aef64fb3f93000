package org.ghostbatch.data;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Collections;
import java.util.List;
import java.util.stream.DoubleStream;
import org.ghostbatch.device.LoadSpec;

/**
 * What is done to every value before the network sees it: (scale value - mean[c]) / std[c].
 *
 * @param scale 1/255 for bytes, 1 for floats
 * @param mean per channel, in units of the scaled values
 * @param std per channel, above 0
 */
public record Normalization(double scale, List<Double> mean, List<Double> std) {
  /**
   * Channels up to which each is normalized by its own figures; samples with more are left as they
   * are.
   */
  public static final int MAX_CHANNELS = 16;

  public Normalization {
    mean = copy("means", mean);
    std = copy("standard deviations", std);
    if (!Double.isFinite(scale) || scale == 0) {
      throw new IllegalArgumentException(
          "[normalization] needs a finite scale other than 0, got " + scale);
    }
    if (mean.isEmpty() || mean.size() != std.size()) {
      throw new IllegalArgumentException(
          "[normalization] needs as many means as standard deviations, got "
              + mean.size()
              + " and "
              + std.size());
    }
    for (double value : mean) {
      if (!Double.isFinite(value)) {
        throw new IllegalArgumentException("[normalization] needs finite means, got " + mean);
      }
    }
    for (double value : std) {
      if (!Double.isFinite(value) || value <= 0) {
        throw new IllegalArgumentException(
            "[normalization] needs finite standard deviations > 0, got " + std);
      }
    }
    if (mean.size() > MAX_CHANNELS && !(isAll(mean, 0) && isAll(std, 1))) {
      throw new IllegalArgumentException(
          "[normalization] needs at most "
              + MAX_CHANNELS
              + " channels, or mean 0 and std 1, got "
              + mean.size());
    }
  }

  /** The spec of a loader that normalizes so. */
  public LoadSpec of(LoadSpec load) {
    boolean each = mean.size() <= MAX_CHANNELS;
    return load.withNormalization(scale, each ? mean : List.of(), each ? std : List.of());
  }

  private static List<Double> copy(String what, List<Double> values) {
    for (Double value : Check.present("normalization", what, values)) {
      Check.present("normalization", what, value);
    }
    return List.copyOf(values);
  }

  /** Of bytes: values / 255, then the mean and standard deviation of each channel. */
  public static Normalization ofBytes(List<Double> mean, List<Double> std) {
    return new Normalization(1.0 / 255, mean, std);
  }

  /** Leaves values as they are, bytes divided by 255. */
  public static Normalization none(ElementType type, int channels) {
    return new Normalization(
        scale(type), Collections.nCopies(channels, 0.0), Collections.nCopies(channels, 1.0));
  }

  /**
   * Mean and standard deviation of each channel over all samples, in double; a channel that never
   * varies gets std 1.
   *
   * <p>Reads the data once. More than {@value #MAX_CHANNELS} channels give {@link #none}.
   */
  public static Normalization measure(Dataset data) {
    int channels = data.shape().channels();
    ElementType type = data.type();
    if (channels > MAX_CHANNELS || data.count() == 0) {
      return none(type, channels);
    }
    double scale = scale(type);
    double[] shift = new double[channels];
    double[] sum = new double[channels];
    double[] squares = new double[channels];
    int elements = data.shape().elements();
    int[] indices = new int[Math.max(1, Math.min(data.count(), (1 << 20) / elements))];
    ByteBuffer rows = DatasetRows.buffer(data, indices.length).order(ByteOrder.nativeOrder());
    for (int first = 0; first < data.count(); first += indices.length) {
      int count = DatasetRows.read(data, first, indices, rows);
      // Sums are taken of the differences to the first sample's first values, so that data far from
      // 0 loses nothing.
      if (first == 0) {
        for (int c = 0; c < channels; c++) {
          shift[c] = value(rows, type, c);
        }
      }
      int values = count * elements;
      for (int i = 0, c = 0; i < values; i++, c = c + 1 == channels ? 0 : c + 1) {
        double difference = value(rows, type, i) - shift[c];
        sum[c] += difference;
        squares[c] += difference * difference;
      }
    }
    double n = (double) data.count() * data.shape().height() * data.shape().width();
    double[] mean = new double[channels];
    double[] std = new double[channels];
    for (int c = 0; c < channels; c++) {
      double average = sum[c] / n;
      double deviation = Math.sqrt(Math.max(0, squares[c] / n - average * average));
      mean[c] = scale * (shift[c] + average);
      std[c] = deviation > 0 ? scale * deviation : 1;
    }
    return new Normalization(
        scale, DoubleStream.of(mean).boxed().toList(), DoubleStream.of(std).boxed().toList());
  }

  private static double value(ByteBuffer rows, ElementType type, int index) {
    return type == ElementType.U8 ? rows.get(index) & 0xFF : rows.getFloat(4 * index);
  }

  private static double scale(ElementType type) {
    return type == ElementType.U8 ? 1.0 / 255 : 1;
  }

  private static boolean isAll(List<Double> values, double value) {
    return values.stream().allMatch(v -> v == value);
  }
}
