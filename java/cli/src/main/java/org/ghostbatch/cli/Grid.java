package org.ghostbatch.cli;

import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;

/** Equally spaced numbers, and the pictures of what was found at them. */
final class Grid {
  private Grid() {}

  /** Checks {@code --range} and {@code --points}, and makes the numbers of them. */
  static double[] of(double[] range, int points) {
    if (range.length != 2
        || !(range[0] < range[1])
        || !Double.isFinite(range[0])
        || !Double.isFinite(range[1])) {
      throw new UsageException(
          "--range needs two numbers, the lower first, got " + Arrays.toString(range));
    }
    if (points < 2) {
      throw new UsageException("--points needs 2 or more, got " + points);
    }
    double[] numbers = new double[points];
    // From both ends, so that a range around 0 has its points in pairs.
    Arrays.setAll(numbers, i -> (range[0] * (points - 1 - i) + range[1] * i) / (points - 1));
    return numbers;
  }

  /** {x, y} of rows of a table. */
  static double[][] curve(List<double[]> rows, int x, int y) {
    return rows.stream().map(row -> new double[] {row[x], row[y]}).toArray(double[][]::new);
  }

  /** A file that lies beside a table, with an ending of its own. */
  static Path beside(Path csv, String ending) {
    return csv.resolveSibling(csv.getFileName().toString().replaceFirst("\\.csv$", ending));
  }
}
