package org.ghostbatch.analysis;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Lbfgsb;
import org.ghostbatch.device.LbfgsbSpec;
import org.ghostbatch.device.LbfgsbStatus;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;
import org.ghostbatch.random.Philox;
import org.ghostbatch.random.Purpose;

/**
 * How much a loss can rise in a small box around a minimizer (Keskar et al. 2017, arXiv 1609.04836,
 * Metric 2.1): phi = 100 (max f(x + A z) - f(x)) / (1 + f(x)), |z_i| <= r_i.
 *
 * <p>The maximum is a search, and what it finds a lower bound. {@link #published} is the paper's,
 * ten iterations of L-BFGS-B from z = 0, whose steps follow the gradient: at a minimizer that has
 * been trained far, where gradients vanish, it hardly moves. {@link #strong} takes its steps in
 * units of the box, from several starts; {@link #around} are points to hold it against.
 *
 * <p>Same point and seed, same bits, on any number of threads. Not thread-safe.
 */
public final class Sharpness implements AutoCloseable {
  private static final String KIND = "sharpness";

  /** Iterations of L-BFGS-B, as published. */
  private static final int ITERATIONS = 10;

  /** Gradients that a search takes at most. */
  private static final int GRADIENTS = 15;

  /** Of these, steps from corner to corner of the box before L-BFGS-B. */
  private static final int CORNERS = 6;

  private final Objective f;
  private final Box box;
  private final Directions directions;
  private final VectorKernels vectors;
  private final long seed;
  private final Progress progress;
  private final double[] center;
  private final double[] radii;
  private final double[] drawn;
  private final int dimension;
  private final List<Tensor> owned = new ArrayList<>();
  private double loss;
  private Tensor slope; // the gradient by z at z = 0, which every search from there begins with
  private Tensor point;
  private Tensor gradient;
  private Tensor z;
  private Tensor pulled;
  private Tensor upper;
  private Tensor lower;
  private Tensor maximizer; // the caller's, while it wants it
  private double highest; // the loss there

  private Sharpness(Objective f, Box box, Directions directions, long seed, Progress progress) {
    this.f = f;
    this.box = box;
    this.directions = directions;
    this.seed = seed;
    this.progress = progress;
    this.vectors = f.vectors();
    this.dimension = directions.dimension();
    this.center = directions.center();
    this.radii = new double[dimension];
    this.drawn = new double[dimension];
  }

  private void prepare() {
    point = own(f.dimension());
    gradient = own(f.dimension());
    z = own(dimension);
    pulled = own(dimension);
    upper = own(dimension);
    lower = own(dimension);
    slope = own(dimension);
    loss = f.gradient(f.start(), gradient);
    directions.pull(gradient, slope);
  }

  private Tensor own(long elements) {
    Tensor tensor = f.device().tensor(DataType.F64, elements);
    owned.add(tensor);
    return tensor;
  }

  /** In all directions: A = I. */
  public static Sharpness full(Objective f, Box box, long seed, Progress progress) {
    return of(f, box, new Directions.Full(f), seed, progress);
  }

  /**
   * In a random subspace: A [n, columns] of independent random signs.
   *
   * @param columns p, in [1, 1024]; 100 in the paper
   */
  public static Sharpness subspace(
      Objective f, Box box, int columns, long seed, Progress progress) {
    Check.range(KIND, "columns", columns, 1, 1024);
    return of(f, box, new Directions.Random(f, columns, seed), seed, progress);
  }

  private static Sharpness of(
      Objective f, Box box, Directions directions, long seed, Progress progress) {
    Sharpness made;
    try {
      Check.present(KIND, "a box", box);
      Check.present(KIND, "a progress", progress);
      made = new Sharpness(f, box, directions, seed, progress);
    } catch (RuntimeException e) {
      directions.close();
      throw e;
    }
    try {
      made.prepare();
      return made;
    } catch (RuntimeException e) {
      made.close();
      throw e;
    }
  }

  /** f(x). */
  public double loss() {
    return loss;
  }

  /**
   * The search of the paper: at most ten iterations of L-BFGS-B from z = 0, and 15 gradients beside
   * the one at x, which all searches share.
   *
   * @param epsilon size of the box, above 0; 1e-3 and 5e-4 in the paper
   */
  public Maximum published(double epsilon) {
    open(epsilon);
    Search search = new Search(0);
    search.fromZero();
    search.climb(1);
    return search.maximum();
  }

  /**
   * Several searches with steps in units of the box, each by L-BFGS-B whose first model takes it
   * across: from z = 0 at once; from there, and from random points of the box, after steps from
   * corner to corner, z_i = r_i sign(df/dz_i), while the loss rises. Costs at most 15 gradients a
   * search.
   *
   * @param restarts searches from random points, at least 0
   */
  public Maximum strong(double epsilon, int restarts) {
    return strong(epsilon, restarts, null);
  }

  /**
   * The same, and the point where the loss is the maximum.
   *
   * @param maximizer becomes x + A z, [n]; x where nothing is above f(x)
   */
  public Maximum strong(double epsilon, int restarts, Tensor maximizer) {
    Check.range(KIND, "restarts", restarts, 0, 1000);
    open(epsilon);
    this.maximizer = maximizer;
    highest = loss;
    if (maximizer != null) {
      vectors.copy(f.start(), maximizer);
    }
    try {
      return strong(restarts);
    } finally {
      this.maximizer = null;
    }
  }

  private Maximum strong(int restarts) {
    Maximum best = null;
    long gradients = 0;
    for (int number = 0; number < 2 + restarts; number++) {
      Search search = new Search(number);
      if (number < 2) {
        search.fromZero();
      } else {
        random(number);
        search.take();
      }
      if (number > 0) {
        search.cornerToCorner();
      }
      double scale = vectors.norm(pulled) / vectors.norm(upper);
      if (scale > 0 && scale < Double.POSITIVE_INFINITY) {
        search.climb(scale);
      }
      Maximum found = search.maximum();
      gradients += found.gradients();
      best = best == null || found.loss() > best.loss() ? found : best;
    }
    return new Maximum(best.sharpness(), best.loss(), best.reason(), best.search(), gradients);
  }

  /**
   * Losses without a search: at random points of the box, uniform, and at the corner that the
   * gradient at x points to. Costs a pass forward a point.
   */
  public Neighbours around(double epsilon, int points) {
    Check.range(KIND, "points", points, 1, 100_000);
    open(epsilon);
    double sum = 0;
    double most = Double.NEGATIVE_INFINITY;
    for (int i = 0; i < points; i++) {
      progress.at("random point", i, points);
      random(-1 - i);
      directions.move(z, point);
      double value = f.value(point);
      sum += value;
      most = Math.max(most, value);
    }
    atZero();
    toCorner();
    directions.move(z, point);
    return new Neighbours(phi(sum / points), phi(most), phi(f.value(point)), points);
  }

  private void open(double epsilon) {
    if (!(epsilon > 0 && epsilon < 1e6)) {
      throw Check.bad(KIND, "an epsilon above 0", epsilon);
    }
    for (int i = 0; i < dimension; i++) {
      radii[i] = box.radius(epsilon, center[i]);
    }
    upper.copyFrom(radii);
    vectors.fill(0, lower);
    vectors.axpy(-1, upper, lower);
  }

  /** z becomes a random point of the box. */
  private void random(int number) {
    Philox.uniform(seed, Purpose.PROBE.stream(number & 0xFFFFFF), 0, drawn);
    for (int i = 0; i < dimension; i++) {
      drawn[i] = (2 * drawn[i] - 1) * radii[i];
    }
    z.copyFrom(drawn);
  }

  /** z becomes the corner that {@code pulled} points to; false where that is where z is. */
  private boolean toCorner() {
    double[] before = z.toDoubles();
    pulled.copyTo(0, drawn);
    for (int i = 0; i < dimension; i++) {
      drawn[i] = Math.signum(drawn[i]) * radii[i];
    }
    z.copyFrom(drawn);
    return !Arrays.equals(before, drawn);
  }

  /** z becomes 0, and {@code pulled} the gradient there. */
  private void atZero() {
    vectors.fill(0, z);
    vectors.copy(slope, pulled);
  }

  /** The loss at z, and its gradient by z in {@code pulled}. */
  private double evaluate() {
    directions.move(z, point);
    double value = f.gradient(point, gradient);
    directions.pull(gradient, pulled);
    return value;
  }

  private double phi(double value) {
    return 100 * (value - loss) / (1 + loss);
  }

  /** A search from one start, the z of now. */
  private final class Search {
    private final int number;
    private double best = loss;
    private String reason = "the box is a point";
    private double value;
    private long gradients;

    Search(int number) {
      this.number = number;
    }

    void fromZero() {
      atZero();
      value = loss;
    }

    /** From z, whose loss and gradient are known, to another whose are. */
    void cornerToCorner() {
      for (int i = 1; i < CORNERS && toCorner(); i++) {
        double before = value;
        take();
        if (!(value > before)) {
          reason = "no corner is better";
          return;
        }
      }
      reason = "corners";
    }

    /**
     * L-BFGS-B from z, whose loss and gradient are known.
     *
     * @param scale the curvature of its first model
     */
    void climb(double scale) {
      LbfgsbSpec spec = LbfgsbSpec.defaults().withInitialScale(scale);
      try (Lbfgsb solver = f.device().lbfgsb(f.lanes(), dimension, spec)) {
        solver.start(z, lower, upper);
        while (true) {
          vectors.scale(-1, pulled);
          LbfgsbStatus status = solver.advance(-value, pulled, z);
          if (status.isEnd() || solver.iterations() == ITERATIONS) {
            reason = status.isEnd() ? solver.reason() : ITERATIONS + " iterations";
            return;
          }
          if (gradients == GRADIENTS) {
            reason = GRADIENTS + " gradients";
            return;
          }
          take();
        }
      }
    }

    void take() {
      progress.at("search " + (number + 1) + ", gradient", gradients, GRADIENTS);
      value = evaluate();
      gradients++;
      best = Math.max(best, value);
      if (maximizer != null && value > highest) {
        highest = value;
        vectors.copy(point, maximizer);
      }
    }

    Maximum maximum() {
      return new Maximum(phi(best), best, reason, number, gradients);
    }
  }

  @Override
  public void close() {
    owned.forEach(Tensor::close);
    directions.close();
  }
}
