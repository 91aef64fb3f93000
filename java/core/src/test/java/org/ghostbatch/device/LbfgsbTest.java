package org.ghostbatch.device;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import breeze.linalg.DenseVector;
import breeze.linalg.DenseVector$mcD$sp;
import breeze.optimize.ApproximateGradientFunction;
import breeze.optimize.DiffFunction;
import breeze.optimize.LBFGSB;
import java.util.Arrays;
import java.util.List;
import java.util.function.Function;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import scala.$less$colon$less;
import scala.$less$colon$less$;
import scala.runtime.AbstractFunction1;

/**
 * Bounded problems of the standard sets (Hock & Schittkowski 1981; More, Garbow & Hillstrom 1981;
 * More & Toraldo 1991): their known minimum, which breeze's L-BFGS-B finds too.
 */
class LbfgsbTest {
  private static final double INFINITY = Double.POSITIVE_INFINITY;

  /** Breeze's linear algebra on the JVM, whatever libraries the machine has. */
  @BeforeAll
  static void useNoNativeLinearAlgebra() {
    for (String library : List.of("blas", "lapack", "arpack")) {
      System.setProperty("dev.ludovic.netlib." + library + ".nativeLib", "none");
    }
  }

  /** A number and its derivatives, so that a problem is written once, as its formula. */
  private record Dual(double value, double[] slopes) {
    static Dual[] variables(double[] x) {
      Dual[] variables = new Dual[x.length];
      for (int i = 0; i < x.length; i++) {
        variables[i] = new Dual(x[i], new double[x.length]);
        variables[i].slopes[i] = 1;
      }
      return variables;
    }

    private Dual of(double value, double slope, double otherSlope, double[] others) {
      double[] result = new double[slopes.length];
      for (int i = 0; i < result.length; i++) {
        result[i] = slope * slopes[i] + (otherSlope == 0 ? 0 : otherSlope * others[i]);
      }
      return new Dual(value, result);
    }

    private Dual of(double value, double slope) {
      return of(value, slope, 0, slopes);
    }

    Dual plus(Dual other) {
      return of(value + other.value, 1, 1, other.slopes);
    }

    Dual minus(Dual other) {
      return of(value - other.value, 1, -1, other.slopes);
    }

    Dual times(Dual other) {
      return of(value * other.value, other.value, value, other.slopes);
    }

    Dual over(Dual other) {
      double ratio = value / other.value;
      return of(ratio, 1 / other.value, -ratio / other.value, other.slopes);
    }

    Dual plus(double other) {
      return of(value + other, 1);
    }

    Dual times(double other) {
      return of(value * other, other);
    }

    Dual square() {
      return of(value * value, 2 * value);
    }

    Dual power(double exponent) {
      return of(Math.pow(value, exponent), exponent * Math.pow(value, exponent - 1));
    }

    Dual exp() {
      return of(Math.exp(value), Math.exp(value));
    }

    Dual log() {
      return of(Math.log(value), 1 / value);
    }

    Dual sin() {
      return of(Math.sin(value), Math.cos(value));
    }

    Dual cos() {
      return of(Math.cos(value), -Math.sin(value));
    }
  }

  /**
   * A problem.
   *
   * @param minimum NaN where the box cuts off the known one: what breeze finds
   * @param stopsBreeze whether breeze's solver ends there by its own assertion, "stepBound > 0"
   */
  private record Problem(
      String name,
      Function<Dual[], Dual> f,
      double[] start,
      double[] lower,
      double[] upper,
      double minimum,
      boolean stopsBreeze) {
    Dual at(double[] x) {
      return f.apply(Dual.variables(x));
    }

    @Override
    public String toString() {
      return name;
    }
  }

  private static Problem problem(
      String name,
      double minimum,
      double[] start,
      double[] lower,
      double[] upper,
      Function<Dual[], Dual> f) {
    double[] inside = start.clone(); // breeze takes no other
    for (int i = 0; i < start.length; i++) {
      inside[i] = Math.min(Math.max(start[i], lower[i]), upper[i]);
    }
    boolean stopsBreeze = name.startsWith("Beale") || name.startsWith("Brown");
    return new Problem(name, f, inside, lower, upper, minimum, stopsBreeze);
  }

  private static double[] all(int n, double value) {
    double[] values = new double[n];
    Arrays.fill(values, value);
    return values;
  }

  private static double[] of(double... values) {
    return values;
  }

  /** start[i] = a + b i, i from 1. */
  private static double[] line(int n, double a, double b) {
    double[] values = new double[n];
    for (int i = 0; i < n; i++) {
      values[i] = a + b * (i + 1);
    }
    return values;
  }

  private static Dual sum(List<Dual> terms) {
    return terms.stream().reduce(Dual::plus).orElseThrow();
  }

  private static Dual rosenbrock(Dual[] x) {
    Dual f = x[0].times(0);
    for (int i = 0; i + 1 < x.length; i++) {
      f = f.plus(x[i + 1].minus(x[i].square()).square().times(100));
      f = f.plus(x[i].times(-1).plus(1).square());
    }
    return f;
  }

  private static Dual wood(Dual[] x) {
    Dual a = x[1].plus(-1);
    Dual b = x[3].plus(-1);
    return sum(
        List.of(
            x[1].minus(x[0].square()).square().times(100),
            x[0].plus(-1).square(),
            x[3].minus(x[2].square()).square().times(90),
            x[2].plus(-1).square(),
            a.square().plus(b.square()).times(10.1),
            a.times(b).times(19.8)));
  }

  private static Dual powell(Dual[] x) {
    return sum(
        List.of(
            x[0].plus(x[1].times(10)).square(),
            x[2].minus(x[3]).square().times(5),
            x[1].minus(x[2].times(2)).square().square(),
            x[0].minus(x[3]).square().square().times(10)));
  }

  private static Dual beale(Dual[] x) {
    Dual f = x[0].times(0);
    double[] y = {1.5, 2.25, 2.625};
    Dual power = f.plus(1);
    for (int i = 0; i < 3; i++) {
      power = power.times(x[1]);
      f = f.plus(x[0].times(power.times(-1).plus(1)).times(-1).plus(y[i]).square());
    }
    return f;
  }

  private static Dual brown(Dual[] x) {
    return sum(
        List.of(
            x[0].plus(-1e6).square(),
            x[1].plus(-2e-6).square(),
            x[0].times(x[1]).plus(-2).square()));
  }

  private static Dual broyden(Dual[] x) {
    Dual f = x[0].times(0);
    for (int i = 0; i < x.length; i++) {
      Dual r = x[i].times(x[i].times(-2).plus(3)).plus(1);
      r = i > 0 ? r.minus(x[i - 1]) : r;
      r = i + 1 < x.length ? r.minus(x[i + 1].times(2)) : r;
      f = f.plus(r.square());
    }
    return f;
  }

  private static Dual penalty(Dual[] x) {
    Dual f = x[0].times(0);
    Dual squares = f.plus(-0.25);
    for (Dual xi : x) {
      f = f.plus(xi.plus(-1).square().times(1e-5));
      squares = squares.plus(xi.square());
    }
    return f.plus(squares.square());
  }

  private static Dual trigonometric(Dual[] x) {
    Dual cosines = x[0].times(0);
    for (Dual xi : x) {
      cosines = cosines.plus(xi.cos());
    }
    Dual f = x[0].times(0);
    for (int i = 0; i < x.length; i++) {
      Dual own = x[i].cos().times(-1).plus(1).times(i + 1).minus(x[i].sin());
      f = f.plus(own.minus(cosines).plus(x.length).square());
    }
    return f;
  }

  private static Dual variablyDimensioned(Dual[] x) {
    Dual f = x[0].times(0);
    Dual weighted = f;
    for (int i = 0; i < x.length; i++) {
      f = f.plus(x[i].plus(-1).square());
      weighted = weighted.plus(x[i].plus(-1).times(i + 1));
    }
    return f.plus(weighted.square()).plus(weighted.square().square());
  }

  private static Dual hs5(Dual[] x) {
    return x[0].plus(x[1])
        .sin()
        .plus(x[0].minus(x[1]).square())
        .plus(x[0].times(-1.5))
        .plus(x[1].times(2.5))
        .plus(1);
  }

  private static Dual hs25(Dual[] x) {
    Dual f = x[0].times(0);
    for (int i = 1; i <= 99; i++) {
      double u = 25 + Math.pow(-50 * Math.log(0.01 * i), 2.0 / 3);
      Dual power = x[1].times(-1).plus(u).log().times(x[2]).exp();
      f = f.plus(power.over(x[0]).times(-1).exp().plus(-0.01 * i).square());
    }
    return f;
  }

  private static Dual hs45(Dual[] x) {
    return x[0].times(x[1]).times(x[2]).times(x[3]).times(x[4]).times(-1.0 / 120).plus(2);
  }

  private static Dual hs110(Dual[] x) {
    Dual f = x[0].times(0);
    Dual product = f.plus(1);
    for (Dual xi : x) {
      f = f.plus(xi.plus(-2).log().square()).plus(xi.times(-1).plus(10).log().square());
      product = product.times(xi);
    }
    return f.minus(product.power(0.2));
  }

  /** Elastic-plastic torsion of a square, c = 5, on 12 x 12 points: a quadratic. */
  private static Dual torsion(Dual[] x) {
    int m = 12;
    double h = 1.0 / (m + 1);
    Dual f = x[0].times(0);
    for (int i = 0; i <= m; i++) {
      for (int j = 0; j <= m; j++) {
        Dual here = i < m && j < m ? x[i * m + j] : f.times(0);
        Dual left = i > 0 && j < m ? x[(i - 1) * m + j] : f.times(0);
        Dual above = j > 0 && i < m ? x[i * m + j - 1] : f.times(0);
        f = f.plus(here.minus(left).square().plus(here.minus(above).square()).times(0.5));
        f = f.minus(here.times(5 * h * h));
      }
    }
    return f;
  }

  private static double[] distanceToEdge(int m, double sign) {
    double[] bounds = new double[m * m];
    for (int i = 0; i < m; i++) {
      for (int j = 0; j < m; j++) {
        int nearest = Math.min(Math.min(i + 1, m - i), Math.min(j + 1, m - j));
        bounds[i * m + j] = sign * nearest / (m + 1);
      }
    }
    return bounds;
  }

  static List<Problem> problems() {
    double cut = Double.NaN;
    return List.of(
        problem("HS1", 0, of(-2, 1), of(-INFINITY, -1.5), all(2, INFINITY), LbfgsbTest::rosenbrock),
        problem(
            "HS2", // from its own start either of two minima may come
            0.0504261879,
            of(1.1, 1.6),
            of(-INFINITY, 1.5),
            all(2, INFINITY),
            LbfgsbTest::rosenbrock),
        problem(
            "HS3",
            0,
            of(10, 1),
            of(-INFINITY, 0),
            all(2, INFINITY),
            x -> x[1].plus(x[1].minus(x[0]).square().times(1e-5))),
        problem(
            "HS4",
            8.0 / 3,
            of(1.125, 0.125),
            of(1, 0),
            all(2, INFINITY),
            x -> x[0].plus(1).power(3).times(1.0 / 3).plus(x[1])),
        problem(
            "HS5",
            -Math.sqrt(3) / 2 - Math.PI / 3,
            of(0, 0),
            of(-1.5, -3),
            of(4, 3),
            LbfgsbTest::hs5),
        problem("HS25", 0, of(50, 20, 1), of(0.1, 0, 0), of(100, 25.6, 5), LbfgsbTest::hs25),
        problem("HS38, Wood", 0, of(-3, -1, -3, -1), all(4, -10), all(4, 10), LbfgsbTest::wood),
        problem("HS45", 1, all(5, 2), all(5, 0), line(5, 0, 1), LbfgsbTest::hs45),
        problem(
            "HS110", -45.77846971, all(10, 9), all(10, 2.001), all(10, 9.999), LbfgsbTest::hs110),
        problem("Wood, cut", cut, of(-3, -1, -3, -1), all(4, -10), all(4, 0.7), LbfgsbTest::wood),
        problem(
            "Rosenbrock in 20, cut",
            cut,
            all(20, -1.2),
            all(20, -2),
            all(20, 0.6),
            LbfgsbTest::rosenbrock),
        problem("Powell singular", 0, of(3, -1, 0, 1), all(4, -1), all(4, 3), LbfgsbTest::powell),
        problem(
            "Powell singular, cut",
            cut,
            of(3, -1, 0, 1),
            of(0.1, -1, -1, -1),
            of(3, 3, 3, 0.05),
            LbfgsbTest::powell),
        problem("Beale", 0, of(1, 1), all(2, -4.5), all(2, 4.5), LbfgsbTest::beale),
        problem("Beale, cut", 1.114725, of(1, 1), of(-4.5, 0.6), of(2.5, 4.5), LbfgsbTest::beale),
        problem("Brown badly scaled", 0, of(1, 1), all(2, 0), of(1e6, 1), LbfgsbTest::brown),
        problem(
            "Broyden tridiagonal", 0, all(30, -1), all(30, -1), all(30, 0), LbfgsbTest::broyden),
        problem(
            "Broyden tridiagonal, cut",
            cut,
            all(30, -1),
            all(30, -2),
            all(30, -0.6),
            LbfgsbTest::broyden),
        problem(
            "penalty I",
            7.0876515e-5,
            line(10, 0, 1),
            all(10, -20),
            all(10, 20),
            LbfgsbTest::penalty),
        problem(
            "trigonometric, cut",
            cut,
            all(10, 0.1),
            all(10, 0.04),
            all(10, 0.2),
            LbfgsbTest::trigonometric),
        problem(
            "variably dimensioned",
            0,
            line(10, 1, -0.1),
            all(10, -5),
            all(10, 5),
            LbfgsbTest::variablyDimensioned),
        problem(
            "variably dimensioned, cut",
            cut,
            line(10, 1, -0.1),
            all(10, 0.2),
            line(10, 0.5, 0.1),
            LbfgsbTest::variablyDimensioned),
        problem(
            "torsion",
            cut,
            all(144, 0),
            distanceToEdge(12, -1),
            distanceToEdge(12, 1),
            LbfgsbTest::torsion));
  }

  private static LbfgsbStatus minimize(Device device, Problem problem, Lbfgsb solver, Tensor x) {
    int n = problem.start.length;
    try (Tensor lower = device.tensor(DataType.F64, n);
        Tensor upper = device.tensor(DataType.F64, n);
        Tensor gradient = device.tensor(DataType.F64, n)) {
      lower.copyFrom(problem.lower);
      upper.copyFrom(problem.upper);
      x.copyFrom(problem.start);
      solver.start(x, lower, upper);
      LbfgsbStatus status;
      do {
        double[] at = x.toDoubles();
        for (int i = 0; i < n; i++) {
          assertTrue(at[i] >= problem.lower[i] && at[i] <= problem.upper[i], "x[" + i + "]");
        }
        Dual f = problem.at(at);
        gradient.copyFrom(f.slopes);
        status = solver.advance(f.value, gradient, x);
      } while (!status.isEnd() && solver.iterations() < 2000);
      return status;
    }
  }

  /**
   * Value and gradient as breeze wants them. Java can implement no {@code DiffFunction}; but breeze
   * has one that takes differences, (f(x + e_i) - f(x)) / 1 for every i in order: after f(x) this
   * gives it f(x) + g_i.
   */
  private static final class Differences extends AbstractFunction1<DenseVector<Object>, Object> {
    private final Problem problem;
    private Dual f;
    private int given;

    Differences(Problem problem) {
      this.problem = problem;
      this.given = problem.start.length;
    }

    @Override
    public Object apply(DenseVector<Object> x) {
      if (given == problem.start.length) {
        f = problem.at(array(x));
        given = 0;
        return f.value;
      }
      return f.value + f.slopes[given++];
    }
  }

  private static double[] array(DenseVector<Object> vector) {
    double[] values = new double[vector.length()];
    for (int i = 0; i < values.length; i++) {
      values[i] = (double) vector.apply(i);
    }
    return values;
  }

  @SuppressWarnings("unchecked")
  private static DenseVector<Object> vector(double[] values) {
    return (DenseVector<Object>) (DenseVector<?>) new DenseVector$mcD$sp(values.clone());
  }

  /** The value that breeze comes to. */
  @SuppressWarnings("unchecked")
  private static double ofBreeze(Problem problem) {
    Object isVector = $less$colon$less$.MODULE$.refl();
    DiffFunction<DenseVector<Object>> function =
        new ApproximateGradientFunction<Object, DenseVector<Object>>(
            new Differences(problem),
            1,
            x -> vector(new double[x.length()]),
            ($less$colon$less<DenseVector<Object>, breeze.linalg.Tensor<Object, Object>>) isVector,
            x -> vector(array(x)));
    LBFGSB solver =
        new LBFGSB(vector(problem.lower), vector(problem.upper), 2000, 10, 1e-14, 64, 64);
    return solver.minimizeAndReturnState(function, vector(problem.start)).value();
  }

  @ParameterizedTest
  @MethodSource("problems")
  void findsTheMinimumThatBreezeFinds(Problem problem) {
    int n = problem.start.length;
    try (Device device = Device.of("cpu");
        Tensor x = device.tensor(DataType.F64, n);
        Lbfgsb solver = device.lbfgsb(null, n, LbfgsbSpec.defaults().withTolerances(1e-9, 0))) {
      LbfgsbStatus status = minimize(device, problem, solver, x);
      assertTrue(
          status == LbfgsbStatus.CONVERGED_GRADIENT
              || status == LbfgsbStatus.CONVERGED_VALUE && solver.projectedGradientNorm() < 1e-6,
          solver.reason() + ", projected gradient " + solver.projectedGradientNorm());
      double ours = solver.value();
      assertEquals(ours, problem.at(x.toDoubles()).value, "the value of another point");
      if (!Double.isNaN(problem.minimum)) {
        assertEquals(problem.minimum, ours, 1e-8 * (1 + Math.abs(problem.minimum)));
      }
      if (problem.stopsBreeze) {
        AssertionError e = assertThrows(AssertionError.class, () -> ofBreeze(problem));
        assertTrue(e.getMessage().contains("stepBound"), e.getMessage());
      } else {
        double breeze = ofBreeze(problem);
        assertTrue(ours <= breeze + 1e-12 * (1 + Math.abs(breeze)), ours + " and " + breeze);
        assertEquals(breeze, ours, 1e-6 * (1 + Math.abs(breeze)));
      }
    }
  }

  @Test
  void givesTheSameBitsOnAnyLanes() {
    int n = 60_000;
    double[] lower = new double[n];
    double[] upper = new double[n];
    double[] gradient = new double[n];
    Arrays.fill(upper, 1);
    double[][] ends = new double[2][];
    for (int run = 0; run < 2; run++) {
      try (Device device = Device.of("cpu");
          Lanes lanes = device.lanes(run + 1);
          Lbfgsb solver = device.lbfgsb(lanes, n, LbfgsbSpec.defaults().withMemory(3));
          Tensor x = tensor(device, lower);
          Tensor low = tensor(device, lower);
          Tensor high = tensor(device, upper);
          Tensor slope = tensor(device, gradient)) {
        assertThrows(IllegalStateException.class, lanes::close, "the solver runs on them");
        solver.start(x, low, high);
        for (int evaluation = 0; evaluation < 12; evaluation++) {
          double[] at = x.toDoubles();
          double f = 0;
          for (int i = 0; i < n; i++) {
            double away = at[i] - i % 97 / 70.0;
            f += away * away * (1 + i % 7);
            gradient[i] = 2 * away * (1 + i % 7);
          }
          slope.copyFrom(gradient);
          assertTrue(!solver.advance(f, slope, x).isEnd(), solver.reason());
        }
        ends[run] = x.toDoubles();
      }
    }
    assertArrayEquals(ends[0], ends[1]);
  }

  private static Tensor tensor(Device device, double[] values) {
    Tensor tensor = device.tensor(DataType.F64, values.length);
    tensor.copyFrom(values);
    return tensor;
  }

  @Test
  void refusesWhatDoesNotFit() {
    try (Device device = Device.of("cpu");
        Device other = Device.of("cpu")) {
      LbfgsbSpec spec = LbfgsbSpec.defaults();
      refused("memory in [1, 64]", () -> spec.withMemory(0));
      refused("initialScale above 0", () -> spec.withInitialScale(0));
      refused("a finite initialScale", () -> spec.withInitialScale(Double.NaN));
      refused("pgtol of at least 0", () -> spec.withTolerances(-1, 0));
      refused("a finite factr", () -> spec.withTolerances(0, INFINITY));
      refused("maxLineSearch in", () -> spec.withMaxLineSearch(0));
      refused("a spec, got null", () -> device.lbfgsb(null, 2, null));
      refused("elements in", () -> device.lbfgsb(null, 0, spec));
      refused("lanes of its own device", () -> device.lbfgsb(other.lanes(1), 2, spec));

      Lbfgsb solver = device.lbfgsb(null, 2, spec);
      Tensor x = tensor(device, of(5, 2));
      Tensor zeros = tensor(device, of(0, 0));
      Tensor three = tensor(device, of(0, 0, 0));
      Tensor narrow = device.tensor(DataType.F32, 2);
      assertTrue(Double.isNaN(solver.value()));
      assertTrue(
          assertThrows(NativeException.class, () -> solver.advance(1, zeros, x))
              .getMessage()
              .contains("needs start before advance"));
      refused("x of 2 f64", () -> solver.start(three, zeros, zeros));
      refused("lower of 2 f64", () -> solver.start(x, narrow, zeros));
      refused("upper", () -> solver.start(x, zeros, null));
      refused("on its own device", () -> solver.start(x, zeros, tensor(other, of(0, 0))));
      assertThrows(NativeException.class, () -> solver.start(x, x, zeros));
      solver.start(x, zeros, tensor(device, of(1, 3)));
      assertArrayEquals(of(1, 2), x.toDoubles());
      refused("gradient of 2 f64", () -> solver.advance(1, three, x));
      assertThrows(NativeException.class, () -> solver.advance(Double.NaN, zeros, x));
      assertEquals(LbfgsbStatus.EVALUATE, solver.advance(1, tensor(device, of(0.5, 0)), x));
      assertEquals(LbfgsbStatus.ITERATED, solver.advance(0.5, tensor(device, of(0.1, 0)), x));
      assertEquals(1, solver.iterations());
      assertEquals(2, solver.evaluations());
      solver.best(x);
      assertArrayEquals(of(0.5, 2), x.toDoubles());
      solver.close();
      assertThrows(IllegalStateException.class, () -> solver.best(x));
    }
  }

  private static void refused(String part, Runnable call) {
    IllegalArgumentException e = assertThrows(IllegalArgumentException.class, call::run);
    assertTrue(e.getMessage().contains(part), e.getMessage());
  }
}
