package org.ghostbatch.analysis;

import org.ghostbatch.device.SignMatrix;
import org.ghostbatch.device.Tensor;

/**
 * The directions in which a loss is maximized around x: all of R^n, or x + A z for z in R^p and a
 * random A.
 */
abstract class Directions implements AutoCloseable {
  /** Of z. */
  abstract int dimension();

  /** The coordinates of x: x itself, or A+ x for the pseudo-inverse A+. */
  abstract double[] center();

  /** Writes x + A z. */
  abstract void move(Tensor z, Tensor point);

  /** Writes A' g. */
  abstract void pull(Tensor gradient, Tensor pulled);

  @Override
  public void close() {}

  /** All of R^n. */
  static final class Full extends Directions {
    private final Objective f;

    Full(Objective f) {
      this.f = f;
    }

    @Override
    int dimension() {
      return Math.toIntExact(f.dimension());
    }

    @Override
    double[] center() {
      return f.start().toDoubles();
    }

    @Override
    void move(Tensor z, Tensor point) {
      f.vectors().copy(f.start(), point);
      f.vectors().axpy(1, z, point);
    }

    @Override
    void pull(Tensor gradient, Tensor pulled) {
      f.vectors().copy(gradient, pulled);
    }
  }

  /**
   * The range of a random matrix of signs, made anew whenever it is needed. Its columns are as long
   * as those of standard normal numbers, and as good as orthogonal.
   */
  static final class Random extends Directions {
    private final Objective f;
    private final SignMatrix matrix;
    private final int columns;
    private final double[] small;

    Random(Objective f, int columns, long seed) {
      this.f = f;
      this.columns = columns;
      this.small = new double[columns];
      this.matrix = f.device().signMatrix(f.dimension(), columns, seed);
    }

    @Override
    int dimension() {
      return columns;
    }

    /** (A'A)^-1 A'x. */
    @Override
    double[] center() {
      double[] center = new double[columns];
      matrix.multiplyTransposed(f.lanes(), f.start(), center);
      solve(matrix.gram(f.lanes()), center);
      return center;
    }

    @Override
    void move(Tensor z, Tensor point) {
      f.vectors().copy(f.start(), point);
      z.copyTo(0, small);
      matrix.multiply(f.lanes(), small, point);
    }

    @Override
    void pull(Tensor gradient, Tensor pulled) {
      matrix.multiplyTransposed(f.lanes(), gradient, small);
      pulled.copyFrom(small);
    }

    @Override
    public void close() {
      matrix.close();
    }
  }

  /** b becomes the solution of G x = b, for G symmetric and positive definite, by Cholesky. */
  static void solve(double[] gram, double[] b) {
    int p = b.length;
    double[] l = gram.clone();
    for (int j = 0; j < p; j++) {
      for (int i = j; i < p; i++) {
        double sum = l[i * p + j];
        for (int k = 0; k < j; k++) {
          sum -= l[i * p + k] * l[j * p + k];
        }
        if (i == j && !(sum > 0)) {
          throw Check.bad(
              "sharpness", "a subspace of independent directions", "dependent ones: fewer of them");
        }
        l[i * p + j] = i == j ? Math.sqrt(sum) : sum / l[j * p + j];
      }
    }
    for (int i = 0; i < p; i++) {
      for (int k = 0; k < i; k++) {
        b[i] -= l[i * p + k] * b[k];
      }
      b[i] /= l[i * p + i];
    }
    for (int i = p - 1; i >= 0; i--) {
      for (int k = i + 1; k < p; k++) {
        b[i] -= l[k * p + i] * b[k];
      }
      b[i] /= l[i * p + i];
    }
  }
}
