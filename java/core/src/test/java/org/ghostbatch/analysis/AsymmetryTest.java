package org.ghostbatch.analysis;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.function.DoubleUnaryOperator;
import org.junit.jupiter.api.Test;

/** Asymmetry of functions whose figures are known in closed form. */
class AsymmetryTest {
  private static double[] grid(double from, double to, int points) {
    double[] t = new double[points];
    Arrays.setAll(t, i -> (from * (points - 1 - i) + to * i) / (points - 1));
    return t;
  }

  private static Asymmetry of(double[] t, DoubleUnaryOperator f) {
    return Asymmetry.of(t, Arrays.stream(t).map(f).toArray());
  }

  @Test
  void aParabolaHasNone() {
    Asymmetry found = of(grid(-1, 1, 25), t -> 0.5 + 3 * t * t);
    assertEquals(1, found.reach());
    assertEquals(0, found.atReach());
    assertEquals(0, found.mean(), 1e-15);
    assertEquals(1, found.widthRatio(), 1e-15);
    assertEquals(Math.sqrt(0.5 / 3), found.right(), 1e-15);
  }

  @Test
  void aCubicTermOverAQuadraticOne() {
    // r = 2 t^2 + t^3: odd over even part t / 2, and (1 / 4) / (2 / 3) of the means.
    DoubleUnaryOperator f = t -> 0.1 + 2 * t * t + t * t * t;
    double[] t = grid(-1, 1, 801);
    Asymmetry found = of(t, f);
    assertEquals(0.5, found.atReach(), 1e-12);
    assertEquals(3 / 8., found.mean(), 1e-5);
    double[] losses = Arrays.stream(t).map(f).toArray();
    for (double x : new double[] {0.25, 0.5, 0.75}) {
      assertEquals(x / 2, Asymmetry.at(t, losses, x), 1e-12);
    }
    // Where 2 w^2 + w^3 and 2 w^2 - w^3 are 0.1.
    assertEquals(0.1, 2 * found.right() * found.right() + Math.pow(found.right(), 3), 1e-5);
    assertEquals(0.1, 2 * found.left() * found.left() - Math.pow(found.left(), 3), 1e-5);
    assertTrue(found.widthRatio() < 1);
  }

  @Test
  void twoParabolasOfUnlikeWidthAreExactOnACoarseGrid() {
    Asymmetry found = of(grid(-1, 1, 9), t -> 0.01 + (t > 0 ? 4 : 1) * t * t);
    assertEquals(3 / 5., found.atReach(), 1e-15);
    assertEquals(3 / 5., found.mean(), 1e-15);
    assertEquals(0.05, found.right(), 1e-15);
    assertEquals(0.1, found.left(), 1e-15);
    assertEquals(0.5, found.widthRatio(), 1e-14);
  }

  @Test
  void theShorterSideIsTheReachAndPointsAreJoinedByLines() {
    // Piecewise linear, so that lines between points are exact: rises 3 t and t.
    Asymmetry found = of(new double[] {-0.7, -0.3, 0, 0.5, 2}, t -> 1 + (t > 0 ? 3 * t : -t));
    assertEquals(0.7, found.reach());
    assertEquals(0.5, found.atReach(), 1e-12);
    assertEquals(0.5, found.mean(), 1e-12);
    assertTrue(Double.isNaN(found.left()), "doubles at -1 only");
    assertTrue(Double.isNaN(found.widthRatio()));
    assertTrue(found.right() > 0 && found.right() < 0.5);
  }

  @Test
  void aSideThatFallsTakesItBeyondOne() {
    assertEquals(-3, of(grid(-1, 1, 5), t -> 5 - 3 * t + t * t).atReach(), 1e-12);
    Asymmetry slope = of(grid(-1, 1, 5), t -> 2 + t);
    assertTrue(Double.isInfinite(slope.atReach())); // no even part
    Asymmetry diverged = of(grid(-1, 1, 5), t -> t > 0.4 ? Double.NaN : 1 + t * t);
    assertTrue(Double.isNaN(diverged.atReach()) && Double.isNaN(diverged.right()));
    assertEquals(1, diverged.left());
  }

  @Test
  void badArgumentsAreRefused() {
    IllegalArgumentException e =
        assertThrows(
            IllegalArgumentException.class,
            () -> Asymmetry.of(new double[] {-1, 1}, new double[] {2, 2}));
    assertEquals("[asymmetry] needs t = 0 and others on both sides, got 2 without", e.getMessage());
    for (double[] t : new double[][] {{0, 1, 2}, {-2, -1, 0}, {-1, 0, 0, 1}, {1, 0, -1}}) {
      assertThrows(IllegalArgumentException.class, () -> Asymmetry.of(t, t.clone()));
    }
    double[] t = {-1, 0, 1};
    assertThrows(IllegalArgumentException.class, () -> Asymmetry.of(t, new double[2]));
    assertThrows(IllegalArgumentException.class, () -> Asymmetry.at(t, t, 1.5));
  }
}
