package org.ghostbatch.train;

import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;

/**
 * What a network says of a sample.
 *
 * @param label number of the most likely class, the first among equals
 * @param className its name
 * @param probabilities softmax of the outputs, one a class
 */
public record Prediction(int label, String className, float[] probabilities) {
  public Prediction {
    probabilities = probabilities.clone();
  }

  /** A copy. */
  @Override
  public float[] probabilities() {
    return probabilities.clone();
  }

  /** Probability of the most likely class. */
  public float probability() {
    return probabilities[label];
  }

  /** The k most likely classes, or all, the likeliest first; the lower class first among equals. */
  public int[] top(int k) {
    return IntStream.range(0, probabilities.length)
        .boxed()
        .sorted(Comparator.comparingDouble(c -> -probabilities[c]))
        .limit(k)
        .mapToInt(Integer::intValue)
        .toArray();
  }

  static Prediction of(float[] logits, int from, List<String> classNames) {
    int classes = classNames.size();
    int label = 0;
    for (int c = 1; c < classes; c++) {
      if (logits[from + c] > logits[from + label]) {
        label = c;
      }
    }
    double sum = 0;
    float[] probabilities = new float[classes];
    for (int c = 0; c < classes; c++) {
      sum += Math.exp((double) logits[from + c] - logits[from + label]);
    }
    for (int c = 0; c < classes; c++) {
      probabilities[c] = (float) (Math.exp((double) logits[from + c] - logits[from + label]) / sum);
    }
    return new Prediction(label, classNames.get(label), probabilities);
  }

  @Override
  public String toString() {
    return className + " (" + probability() + ")";
  }
}
