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
 * @param seconds since the start, all parts of a resumed run together, without measures
 * @param validationLoss after the epoch, on what the spec sets aside; NaN without
 * @param validationAccuracy likewise, in 0..1
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
    double seconds,
    double validationLoss,
    double validationAccuracy) {
  /** Names of the columns of {@link #csv}. */
  public static final String CSV_HEADER =
      "epoch,updates,samples,batch,learning_rate,train_loss,train_accuracy,test_loss,test_accuracy,weight_distance,"
          + "gradient_norm,images_per_second,seconds";

  private static final String VALIDATION_HEADER = ",validation_loss,validation_accuracy";

  /** Names of the columns, with those of validation at the end where a run has it. */
  static String csvHeader(boolean validation) {
    return validation ? CSV_HEADER + VALIDATION_HEADER : CSV_HEADER;
  }

  /** The row with the columns of {@link #csvHeader}. */
  String csv(boolean validation) {
    return validation
        ? csv() + "," + number(validationLoss) + "," + number(validationAccuracy)
        : csv();
  }

  /**
   * A row that {@link #csv(boolean)} wrote, with validation or without.
   *
   * @throws IllegalArgumentException where it is none
   */
  static EpochRow parse(String csv) {
    String[] fields = csv.split(",", -1);
    if (fields.length != 13 && fields.length != 15) {
      throw Check.bad("metrics", "13 or 15 fields in a row", fields.length + " in \"" + csv + "\"");
    }
    try {
      return new EpochRow(
          Integer.parseInt(fields[0]),
          Long.parseLong(fields[1]),
          Long.parseLong(fields[2]),
          Integer.parseInt(fields[3]),
          number(fields[4]),
          number(fields[5]),
          number(fields[6]),
          number(fields[7]),
          number(fields[8]),
          number(fields[9]),
          number(fields[10]),
          number(fields[11]),
          number(fields[12]),
          fields.length == 13 ? Double.NaN : number(fields[13]),
          fields.length == 13 ? Double.NaN : number(fields[14]));
    } catch (NumberFormatException e) {
      throw Check.bad("metrics", "numbers in a row", "\"" + csv + "\"");
    }
  }

  static double number(String field) {
    return field.isEmpty() ? Double.NaN : Double.parseDouble(field);
  }

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

  static String number(double value) {
    return Double.isFinite(value) ? Double.toString(value) : "";
  }
}
