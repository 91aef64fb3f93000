package org.ghostbatch.analysis;

import java.util.ArrayList;
import java.util.List;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;
import org.ghostbatch.random.Philox;
import org.ghostbatch.random.Purpose;

/**
 * The Hessian H of an {@link Objective} at a point, by its products with vectors alone: H v = (g(x
 * + h v) - g(x - h v)) / 2 h for unit v, two gradients each. The step h is chosen once, where
 * products at h and 4 h agree best: below it rounding weighs, above it the third derivative. Where
 * ReLU and max pooling bend the loss at once, that curvature is in H too, as its mean over h: the
 * more samples, the better it is known.
 *
 * <p>Same point and seed, same bits, on any number of threads. Not thread-safe.
 */
public final class Hessian implements AutoCloseable {
  private static final String KIND = "hessian";

  /**
   * The largest step that is tried, in units of ||x||; each one before it is a quarter of the next.
   */
  private static final double LARGEST_STEP = 0x1p-3;

  private static final int STEPS_F32 = 7;
  private static final int STEPS_F64 = 12;

  private final Objective f;
  private final VectorKernels vectors;
  private final Tensor at;
  private Tensor point;
  private Tensor behind;
  private final double[] drawn;
  private double step;
  private double error;

  private Hessian(Objective f, Tensor at) {
    this.f = f;
    this.vectors = f.vectors();
    this.at = at;
    this.drawn = new double[Math.toIntExact(f.dimension())];
  }

  /**
   * The Hessian at a point, which stays the caller's and must not change. Costs 16 gradients in
   * f32, 26 in f64.
   *
   * @param seed of the direction in which the step is chosen
   */
  public static Hessian at(Objective f, Tensor x, long seed, Progress progress) {
    Check.present(KIND, "an objective", f);
    Check.present(KIND, "a point", x);
    Check.present(KIND, "a progress", progress);
    Hessian made = new Hessian(f, x);
    try {
      made.point = f.vector();
      made.behind = f.vector();
      made.chooseStep(seed, progress);
      return made;
    } catch (RuntimeException e) {
      made.close();
      throw e;
    }
  }

  private void chooseStep(long seed, Progress progress) {
    int steps = f.precision() == DataType.F64 ? STEPS_F64 : STEPS_F32;
    double first =
        Math.max(vectors.norm(at), Double.MIN_NORMAL) * LARGEST_STEP * Math.pow(4, 1 - steps);
    try (Tensor v = f.vector();
        Tensor smaller = f.vector();
        Tensor larger = f.vector()) {
      // A random direction sees little of H; its image lies among the large eigenvalues.
      gaussian(seed, 0, v);
      step = first * Math.pow(4, steps / 2);
      product(v, larger);
      vectors.copy(larger, v);
      error = Double.POSITIVE_INFINITY;
      double best = step;
      for (int i = 0; i < steps && vectors.norm(v) > 0; i++) {
        progress.at("step of differences", i, steps);
        step = first * Math.pow(4, i);
        product(v, larger);
        double apart = vectors.distance(smaller, larger) / vectors.norm(larger);
        if (i > 0 && apart < error) {
          error = apart;
          best = step / 4;
        }
        vectors.copy(larger, smaller);
      }
      step = best;
    }
  }

  /** h, the length of the displacements that products differentiate over. */
  public double step() {
    return step;
  }

  /**
   * ||H_h v - H_4h v|| / ||H_h v|| for a v among the large eigenvalues: how well products are
   * known. Infinite where no product differs from 0.
   */
  public double error() {
    return error;
  }

  /** Writes H v to {@code product}, another tensor than v. */
  public void product(Tensor v, Tensor product) {
    double norm = vectors.norm(v);
    if (!(norm > 0 && norm < Double.POSITIVE_INFINITY)) {
      throw Check.bad(KIND, "a finite vector other than 0", "one of norm " + norm);
    }
    double scale = step / norm;
    vectors.copy(at, point);
    vectors.axpy(scale, v, point);
    f.gradient(point, product);
    vectors.copy(at, point);
    vectors.axpy(-scale, v, point);
    f.gradient(point, behind);
    vectors.axpy(-1, behind, product);
    vectors.scale(0.5 / scale, product);
  }

  /**
   * The largest and the smallest eigenvalues, with their vectors, by Lanczos' method with full
   * re-orthogonalization (Golub & Van Loan, Matrix Computations, section 10.3). An eigenvalue of
   * several vectors is found once. Costs two gradients a step, two an eigenpair, and the memory of
   * a vector a step.
   *
   * @param largest how many of the largest, at least 0
   * @param smallest how many of the smallest, at least 0
   * @param tolerance ends when the residual of each is below this times the largest |eigenvalue|
   * @param steps at most, at least 1
   * @param seed of the first vector
   */
  public Eigenvalues eigenvalues(
      int largest, int smallest, double tolerance, int steps, long seed, Progress progress) {
    Check.range(KIND, "largest eigenvalues", largest, 0, steps);
    Check.range(KIND, "smallest eigenvalues", smallest, 0, steps);
    if (!(tolerance > 0)) {
      throw Check.bad(KIND, "a tolerance above 0", tolerance);
    }
    try (Lanczos lanczos = new Lanczos(this, f)) {
      gaussian(seed, 1, lanczos.first());
      boolean converged = false;
      while (!converged && lanczos.steps() < Math.min(steps, f.dimension())) {
        progress.at("Lanczos step", lanczos.steps(), steps);
        boolean more = lanczos.advance();
        converged = !more || lanczos.converged(largest, smallest, tolerance);
      }
      return lanczos.eigenvalues(largest, smallest, converged);
    }
  }

  /**
   * tr H = E v'Hv for v of random signs (Hutchinson 1990). Costs two gradients a probe.
   *
   * @param probes at least 2
   */
  public Estimate trace(int probes, long seed, Progress progress) {
    Check.range(KIND, "probes", probes, 2, 1 << 20);
    double[] found = new double[probes];
    try (Tensor v = f.vector();
        Tensor product = f.vector()) {
      for (int i = 0; i < probes; i++) {
        progress.at("probe of the trace", i, probes);
        signs(seed, i, v);
        product(v, product);
        found[i] = vectors.dot(v, product);
      }
    }
    return Estimate.of(found);
  }

  /**
   * The density of eigenvalues, by stochastic Lanczos quadrature (Ubaru, Chen & Saad 2017; Ghorbani
   * et al. 2019, arXiv 1901.10159): every probe of random signs gives nodes and weights that
   * integrate polynomials up to degree 2 steps - 1 as v'Hv does. Costs two gradients a step of a
   * probe.
   */
  public Density density(int probes, int steps, long seed, Progress progress) {
    Check.range(KIND, "probes", probes, 1, 1 << 20);
    List<List<double[]>> found = new ArrayList<>();
    for (int probe = 0; probe < probes; probe++) {
      found.add(densityProbe(probe, steps, seed, progress));
    }
    return new Density(f.dimension(), found);
  }

  /** One probe of {@link #density}, by its number: nodes {eigenvalue, weight}, weights of sum 1. */
  public List<double[]> densityProbe(int probe, int steps, long seed, Progress progress) {
    Check.range(KIND, "steps", steps, 1, 1 << 12);
    try (Lanczos lanczos = new Lanczos(this, f)) {
      signs(seed, probe, lanczos.first());
      boolean more = true;
      while (more && lanczos.steps() < Math.min(steps, f.dimension())) {
        progress.at("probe " + (probe + 1) + ", Lanczos step", lanczos.steps(), steps);
        more = lanczos.advance();
      }
      return lanczos.quadrature();
    }
  }

  private void gaussian(long seed, int number, Tensor v) {
    Philox.gaussian(seed, Purpose.PROBE.stream(number), 0, drawn);
    v.copyFrom(drawn);
  }

  private void signs(long seed, int number, Tensor v) {
    Philox.uniform(seed, Purpose.PROBE.stream(number), 0, drawn);
    for (int i = 0; i < drawn.length; i++) {
      drawn[i] = drawn[i] < 0.5 ? -1 : 1;
    }
    v.copyFrom(drawn);
  }

  @Override
  public void close() {
    for (Tensor tensor : new Tensor[] {point, behind}) {
      if (tensor != null) {
        tensor.close();
      }
    }
  }
}
