package org.ghostbatch.analysis;

import java.util.Arrays;
import java.util.Comparator;
import java.util.stream.IntStream;

/**
 * Eigenvalues and eigenvectors of a symmetric tridiagonal matrix, by QR steps with implicit shifts
 * (Golub & Van Loan, Matrix Computations, section 8.3). O(k^3) for k rows.
 */
final class Tridiagonal {
  /** QR steps that an eigenvalue takes at most; two or three are usual. */
  private static final int MOST_STEPS = 100;

  /** Ascending. */
  final double[] values;

  /** Component i of the unit eigenvector of values[j] is vectors[i][j]. */
  final double[][] vectors;

  private final double[] diagonal;
  private final double[] beside;
  private final double[][] rotated;

  /**
   * @param diagonal k elements, finite
   * @param beside the k - 1 elements beside it, or more, finite
   */
  Tridiagonal(double[] diagonal, double[] beside) {
    int k = diagonal.length;
    this.diagonal = diagonal.clone();
    this.beside = Arrays.copyOf(beside, Math.max(0, k - 1));
    this.rotated = new double[k][k];
    for (int i = 0; i < k; i++) {
      rotated[i][i] = 1;
    }
    diagonalize();
    int[] order =
        IntStream.range(0, k)
            .boxed()
            .sorted(Comparator.comparingDouble(i -> this.diagonal[i]))
            .mapToInt(i -> i)
            .toArray();
    values = new double[k];
    vectors = new double[k][k];
    for (int j = 0; j < k; j++) {
      values[j] = this.diagonal[order[j]];
      for (int i = 0; i < k; i++) {
        vectors[i][j] = rotated[i][order[j]];
      }
    }
  }

  private void diagonalize() {
    int last = diagonal.length - 1;
    int steps = 0;
    while (last > 0) {
      if (negligible(last - 1)) {
        beside[last - 1] = 0;
        last--;
        steps = 0;
        continue;
      }
      if (++steps > MOST_STEPS) {
        throw new ArithmeticException(
            "[eigenvalues] needs a finite matrix, got " + Arrays.toString(diagonal));
      }
      int first = last - 1;
      while (first > 0 && !negligible(first - 1)) {
        first--;
      }
      step(first, last);
    }
  }

  private boolean negligible(int i) {
    return Math.abs(beside[i]) <= 0x1p-53 * (Math.abs(diagonal[i]) + Math.abs(diagonal[i + 1]))
        || Math.abs(beside[i]) < Double.MIN_NORMAL;
  }

  /**
   * One QR step on rows [first, last], with Wilkinson's shift: a bulge chased down by rotations.
   */
  private void step(int first, int last) {
    double half = (diagonal[last - 1] - diagonal[last]) / 2;
    double b = beside[last - 1];
    double shift = diagonal[last] - b * b / (half + Math.copySign(Math.hypot(half, b), half));
    double x = diagonal[first] - shift;
    double y = beside[first];
    for (int i = first; i < last; i++) {
      double norm = Math.hypot(x, y);
      double cos = norm == 0 ? 1 : x / norm;
      double sin = norm == 0 ? 0 : y / norm;
      double upper = diagonal[i];
      double lower = diagonal[i + 1];
      double off = beside[i];
      diagonal[i] = cos * cos * upper + 2 * cos * sin * off + sin * sin * lower;
      diagonal[i + 1] = sin * sin * upper - 2 * cos * sin * off + cos * cos * lower;
      beside[i] = cos * sin * (lower - upper) + (cos * cos - sin * sin) * off;
      if (i > first) {
        beside[i - 1] = norm;
      }
      if (i < last - 1) {
        x = beside[i];
        y = sin * beside[i + 1];
        beside[i + 1] *= cos;
      }
      for (double[] row : rotated) {
        double left = row[i];
        row[i] = cos * left + sin * row[i + 1];
        row[i + 1] = cos * row[i + 1] - sin * left;
      }
    }
  }
}
