package org.ghostbatch.analysis;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;

/**
 * Lanczos' method on a Hessian, every vector made orthogonal to all before it, twice: after k steps
 * Q'HQ = T, tridiagonal. Closing frees Q.
 */
final class Lanczos implements AutoCloseable {
  /** What is left of a vector, below which it is rounding and the space is closed under H. */
  private static final double NOTHING = 1e-10;

  private final Hessian hessian;
  private final Objective f;
  private final VectorKernels vectors;
  private final List<Tensor> basis = new ArrayList<>();
  private double[] diagonal = new double[16];
  private double[] beside = new double[16];
  private int steps;
  private Tridiagonal tridiagonal;

  Lanczos(Hessian hessian, Objective f) {
    this.hessian = hessian;
    this.f = f;
    this.vectors = f.vectors();
    basis.add(f.vector());
  }

  /** The first vector, to be written before the first step; its length does not matter. */
  Tensor first() {
    return basis.get(0);
  }

  /** Steps done, the rows of T. */
  int steps() {
    return steps;
  }

  /** One step; false where the space is closed: T has exact eigenvalues of H. */
  boolean advance() {
    if (steps == 0) {
      vectors.scale(1 / vectors.norm(first()), first());
    }
    if (steps == diagonal.length) {
      diagonal = Arrays.copyOf(diagonal, 2 * steps);
      beside = Arrays.copyOf(beside, 2 * steps);
    }
    Tensor q = basis.get(steps);
    Tensor next = f.vector();
    basis.add(next);
    hessian.product(q, next);
    double whole = vectors.norm(next);
    diagonal[steps] = vectors.dot(q, next);
    for (int round = 0; round < 2; round++) {
      for (int i = 0; i <= steps; i++) {
        vectors.axpy(-vectors.dot(basis.get(i), next), basis.get(i), next);
      }
    }
    double left = vectors.norm(next);
    beside[steps] = left;
    steps++;
    tridiagonal = new Tridiagonal(Arrays.copyOf(diagonal, steps), beside);
    if (!(left > NOTHING * whole)) {
      return false;
    }
    vectors.scale(1 / left, next);
    return true;
  }

  /**
   * Whether the residuals of the ends of T, |beta s|, are below tolerance * largest |eigenvalue|.
   */
  boolean converged(int largest, int smallest, double tolerance) {
    if (steps < largest + smallest) {
      return false;
    }
    double[] values = tridiagonal.values;
    double scale = Math.max(Math.abs(values[0]), Math.abs(values[steps - 1]));
    for (int j = 0; j < steps; j++) {
      boolean wanted = j < smallest || j >= steps - largest;
      double residual = Math.abs(beside[steps - 1] * tridiagonal.vectors[steps - 1][j]);
      if (wanted && residual > tolerance * scale) {
        return false;
      }
    }
    return true;
  }

  Eigenvalues eigenvalues(int largest, int smallest, boolean converged) {
    List<Eigenpair> top = new ArrayList<>();
    List<Eigenpair> bottom = new ArrayList<>();
    for (int j = 0; j < Math.min(largest, steps); j++) {
      top.add(pair(steps - 1 - j));
    }
    for (int j = 0; j < Math.min(smallest, steps); j++) {
      bottom.add(pair(j));
    }
    return new Eigenvalues(top, bottom, converged, steps);
  }

  private Eigenpair pair(int j) {
    Tensor vector = f.vector();
    for (int i = 0; i < steps; i++) {
      vectors.axpy(tridiagonal.vectors[i][j], basis.get(i), vector);
    }
    try (Tensor product = f.vector()) {
      hessian.product(vector, product);
      double value = tridiagonal.values[j];
      vectors.axpy(-value, vector, product);
      return new Eigenpair(value, vectors.norm(product), vector);
    }
  }

  /** Gauss quadrature: eigenvalues of T with the squares of their vectors' first components. */
  List<double[]> quadrature() {
    List<double[]> nodes = new ArrayList<>();
    for (int j = 0; j < steps; j++) {
      double component = tridiagonal.vectors[0][j];
      nodes.add(new double[] {tridiagonal.values[j], component * component});
    }
    return nodes;
  }

  @Override
  public void close() {
    basis.forEach(Tensor::close);
  }
}
