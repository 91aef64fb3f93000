package org.ghostbatch.train;

import java.util.Locale;

/**
 * An epoch of training: a row of {@code metrics.csv}.
 *
 * @param epoch number, from 1
 * @param updates since the start
 * @param samples trained on since the start, each epoch's anew
 * @param batch size of the updates
 * @param learningRate of the last update
 * @param trainLoss mean over the epoch's samples, while the weights changed
 * @param trainAccuracy likewise, in 0..1
 * @param testLoss after the epoch; NaN without test data
 * @param testAccuracy likewise, in 0..1
 * @param weightDistance Euclidean distance of the parameters to their start
 * @param gradientNorm mean over the epoch's updates, before clipping
 * @param imagesPerSecond of the training phase, loading included
 * @param seconds since the start
 */
public record EpochRow(
    int epoch,
    long updates,
    long samples,
    int batch,
    double learningRate,
    double trainLoss,
    double trainAccuracy,
    double testLoss,
    double testAccuracy,
    double weightDistance,
    double gradientNorm,
    double imagesPerSecond,
    double seconds) {
  /** Names of the columns of {@link #csv}. */
  public static final String CSV_HEADER =
      "epoch,updates,samples,batch,learning_rate,train_loss,train_accuracy,test_loss,test_accuracy,weight_distance,"
          + "gradient_norm,images_per_second,seconds";

  /** The row as comma-separated values; what is not a number is an empty field. */
  public String csv() {
    return String.join(
        ",",
        Integer.toString(epoch),
        Long.toString(updates),
        Long.toString(samples),
        Integer.toString(batch),
        number(learningRate),
        number(trainLoss),
        number(trainAccuracy),
        number(testLoss),
        number(testAccuracy),
        number(weightDistance),
        number(gradientNorm),
        Double.isFinite(imagesPerSecond) ? String.format(Locale.ROOT, "%.1f", imagesPerSecond) : "",
        String.format(Locale.ROOT, "%.3f", seconds));
  }

  private static String number(double value) {
    return Double.isFinite(value) ? Double.toString(value) : "";
  }
}
