package org.ghostbatch.train;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

/**
 * How well classes were predicted: the confusion matrix and what follows from it.
 *
 * @param confusion rows are labels, columns predictions, entries counts of samples
 * @param k of top-k
 * @param inTopK samples whose label is among the k largest logits; ties go to the lower class
 */
public record ClassificationMetrics(List<List<Long>> confusion, int k, long inTopK) {
  public ClassificationMetrics {
    confusion = confusion.stream().map(List::copyOf).toList();
    long samples = 0;
    for (List<Long> row : confusion) {
      if (row.size() != confusion.size()) {
        throw needs("a square matrix", confusion.size() + " rows and a row of " + row.size());
      }
      for (long count : row) {
        if (count < 0) {
          throw needs("counts >= 0", Long.toString(count));
        }
        samples += count;
      }
    }
    if (confusion.isEmpty() || k < 1 || k > confusion.size()) {
      throw needs("k in [1, " + confusion.size() + "]", Integer.toString(k));
    }
    if (inTopK < 0 || inTopK > samples) {
      throw needs("at most " + samples + " samples in the top " + k, Long.toString(inTopK));
    }
  }

  /** Of labels and predicted classes. */
  public static ClassificationMetrics of(int classes, int[] labels, int[] predictions) {
    if (labels.length != predictions.length) {
      throw needs("as many predictions as labels", predictions.length + " and " + labels.length);
    }
    var counter = new Counter(classes, 1);
    for (int i = 0; i < labels.length; i++) {
      counter.add(labels[i], predictions[i]);
    }
    return counter.result();
  }

  /**
   * Of labels and logits, sample by sample [N, classes]. A logit that is not a number counts as the
   * lowest.
   */
  public static ClassificationMetrics of(int classes, int k, int[] labels, float[] logits) {
    var counter = new Counter(classes, k);
    counter.add(labels, labels.length, logits);
    return counter.result();
  }

  /** Number of classes. */
  public int classes() {
    return confusion.size();
  }

  /** Number of samples. */
  public long samples() {
    return confusion.stream().flatMap(List::stream).mapToLong(Long::longValue).sum();
  }

  /** Samples of class {@code label} that were taken for class {@code prediction}. */
  public long count(int label, int prediction) {
    return confusion.get(label).get(prediction);
  }

  /** Samples of class {@code c}. */
  public long support(int c) {
    return confusion.get(c).stream().mapToLong(Long::longValue).sum();
  }

  /** Part of the samples whose prediction is the label; 0 without samples. */
  public double accuracy() {
    return ratio(IntStream.range(0, classes()).mapToLong(c -> count(c, c)).sum(), samples());
  }

  /** Part of the samples whose label is among the k largest logits; 0 without samples. */
  public double topKAccuracy() {
    return ratio(inTopK, samples());
  }

  /** Of the samples predicted as {@code c}, the part that is; 0 where none was. */
  public double precision(int c) {
    return ratio(
        count(c, c), IntStream.range(0, classes()).mapToLong(label -> count(label, c)).sum());
  }

  /** Of the samples of class {@code c}, the part that was predicted so; 0 where there is none. */
  public double recall(int c) {
    return ratio(count(c, c), support(c));
  }

  /** 2 precision recall / (precision + recall); 0 where both are. */
  public double f1(int c) {
    double sum = precision(c) + recall(c);
    return sum == 0 ? 0 : 2 * precision(c) * recall(c) / sum;
  }

  /** The mean of F1 over all classes. */
  public double macroF1() {
    return IntStream.range(0, classes()).mapToDouble(this::f1).average().orElse(0);
  }

  private static double ratio(long part, long whole) {
    return whole == 0 ? 0 : (double) part / whole;
  }

  /** Counts batch by batch. Not thread-safe. */
  public static final class Counter {
    private final int classes;
    private final int k;
    private final long[] counts;
    private long inTopK;

    /**
     * @throws IllegalArgumentException unless k is in [1, classes] and classes in [1, 4096]
     */
    public Counter(int classes, int k) {
      if (classes < 1 || classes > 4_096) {
        throw needs("1 to 4096 classes", Integer.toString(classes));
      }
      if (k < 1 || k > classes) {
        throw needs("k in [1, " + classes + "]", Integer.toString(k));
      }
      this.classes = classes;
      this.k = k;
      this.counts = new long[classes * classes];
    }

    /** Adds a sample by its predicted class, which alone counts as the top k. */
    public void add(int label, int prediction) {
      check("labels", label);
      check("predictions", prediction);
      counts[label * classes + prediction]++;
      inTopK += label == prediction ? 1 : 0;
    }

    /** Adds the first {@code rows} samples of labels and logits [rows, classes]. */
    public void add(int[] labels, int rows, float[] logits) {
      if (rows < 0 || rows > labels.length || (long) rows * classes > logits.length) {
        throw needs(
            rows + " labels and " + (long) rows * classes + " logits",
            labels.length + " and " + logits.length);
      }
      for (int row = 0; row < rows; row++) {
        int label = labels[row];
        check("labels", label);
        int from = row * classes;
        int prediction = 0;
        int above = 0;
        float own = lowestIfNan(logits[from + label]);
        for (int c = 0; c < classes; c++) {
          float logit = lowestIfNan(logits[from + c]);
          if (logit > lowestIfNan(logits[from + prediction])) {
            prediction = c;
          }
          if (logit > own || logit == own && c < label) {
            above++;
          }
        }
        counts[label * classes + prediction]++;
        inTopK += above < k ? 1 : 0;
      }
    }

    /** What was counted so far. */
    public ClassificationMetrics result() {
      List<List<Long>> rows = new ArrayList<>();
      for (int label = 0; label < classes; label++) {
        rows.add(Arrays.stream(counts, label * classes, (label + 1) * classes).boxed().toList());
      }
      return new ClassificationMetrics(rows, k, inTopK);
    }

    private void check(String what, int value) {
      if (value < 0 || value >= classes) {
        throw needs(what + " in [0, " + classes + ")", Integer.toString(value));
      }
    }

    private static float lowestIfNan(float logit) {
      return Float.isNaN(logit) ? Float.NEGATIVE_INFINITY : logit;
    }
  }

  private static IllegalArgumentException needs(String needed, String got) {
    return new IllegalArgumentException("[metrics] needs " + needed + ", got " + got);
  }
}
