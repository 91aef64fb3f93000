package org.ghostbatch.train;

/**
 * A figure that was measured after an epoch: a row of {@code measures.csv}.
 *
 * @param epoch number, from 1
 * @param updates since the start
 * @param name of the measure and of the figure, as in {@code sharpness_1e-3_strong}
 * @param value NaN where it is not known
 */
public record MeasureRow(int epoch, long updates, String name, double value) {
  /** Names of the columns of {@link #csv}. */
  public static final String CSV_HEADER = "epoch,updates,name,value";

  private static final String KIND = "measures";

  public MeasureRow {
    if (!Check.present(KIND, "a name", name).matches("[a-z][a-z0-9-]*_[A-Za-z0-9._-]+")) {
      throw Check.bad(
          KIND, "MEASURE_FIGURE of letters, digits, dots and dashes", "\"" + name + "\"");
    }
  }

  /** Whether it is a figure of this measure. */
  boolean isOf(String measure) {
    return name.startsWith(measure + "_");
  }

  /** The row as comma-separated values; what is not a number is an empty field. */
  public String csv() {
    return epoch + "," + updates + "," + name + "," + EpochRow.number(value);
  }

  /**
   * A row that {@link #csv} wrote.
   *
   * @throws IllegalArgumentException where it is none
   */
  static MeasureRow parse(String csv) {
    String[] fields = csv.split(",", -1);
    if (fields.length != 4) {
      throw Check.bad(KIND, "4 fields in a row", fields.length + " in \"" + csv + "\"");
    }
    try {
      return new MeasureRow(
          Integer.parseInt(fields[0]),
          Long.parseLong(fields[1]),
          fields[2],
          EpochRow.number(fields[3]));
    } catch (NumberFormatException e) {
      throw Check.bad(KIND, "numbers in a row", "\"" + csv + "\"");
    }
  }
}
