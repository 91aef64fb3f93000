package org.ghostbatch.train;

/**
 * How far the weights were from their start after an update: a row of {@code distances.csv}, which
 * has the first twenty updates, and from there ones about a tenth apart, as laws of the distance
 * are told apart over orders of magnitude of time.
 *
 * @param updates t, from 1
 * @param distance ||w_t - w_0||, Euclidean, over all parameters
 */
public record DistanceRow(long updates, double distance) {
  /** Names of the columns of {@link #csv}. */
  public static final String CSV_HEADER = "updates,weight_distance";

  private static final String KIND = "distances";

  /** The update to take next. */
  static long after(long updates) {
    return updates + Math.max(1, updates / 10);
  }

  /** The row as comma-separated values. */
  public String csv() {
    return updates + "," + EpochRow.number(distance);
  }

  /**
   * A row that {@link #csv} wrote.
   *
   * @throws IllegalArgumentException where it is none
   */
  static DistanceRow parse(String csv) {
    String[] fields = csv.split(",", -1);
    try {
      if (fields.length == 2) {
        return new DistanceRow(Long.parseLong(fields[0]), EpochRow.number(fields[1]));
      }
    } catch (NumberFormatException e) {
      // Said below.
    }
    throw Check.bad(KIND, "updates and a distance in a row", "\"" + csv + "\"");
  }
}
