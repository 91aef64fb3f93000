package org.ghostbatch.analysis;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.SignMatrix;
import org.ghostbatch.random.RandomStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Sharpness of functions whose maximum in a box is known, and of a small network. */
class SharpnessTest {
  private static final int N = 500;
  private static final double LOSS = 0.25;
  private static Device device;

  @BeforeAll
  static void open() {
    device = Device.of("cpu", 2);
  }

  @AfterAll
  static void close() {
    device.close();
  }

  private static double[] draw(long seed, double from, double to) {
    RandomStream random = new RandomStream(seed, 1, 2, 3);
    double[] values = new double[N];
    Arrays.setAll(values, i -> random.nextDouble(from, to));
    return values;
  }

  private static double[] zeros() {
    return new double[N];
  }

  /** Sum of |g_i| r_i + d_i r_i^2 / 2: where all curvatures are positive, a corner is the top. */
  private static double top(Quadratic f, double epsilon, Box box) {
    double rise = 0;
    for (int i = 0; i < N; i++) {
      double r = box.radius(epsilon, f.at[i]);
      rise += Math.abs(f.slope[i]) * r + f.diagonal[i] * r * r / 2;
    }
    return 100 * rise / (1 + LOSS);
  }

  @Test
  void aSlopeWithCurvatureIsKnownExactly() {
    try (Quadratic f =
        new Quadratic(device, LOSS, draw(1, -2, 2), draw(2, -1, 1), draw(3, 0, 50), zeros(), 0)) {
      for (Box box : Box.values()) {
        try (Sharpness sharpness = Sharpness.full(f, box, 1, Progress.NONE)) {
          for (double epsilon : new double[] {1e-3, 5e-4}) {
            Maximum strong = sharpness.strong(epsilon, 0);
            assertEquals(top(f, epsilon, box), strong.sharpness(), 1e-9 * strong.sharpness());
            assertEquals(LOSS + strong.sharpness() * (1 + LOSS) / 100, strong.loss(), 1e-12);
            Maximum published = sharpness.published(epsilon);
            assertEquals(top(f, epsilon, box), published.sharpness(), 0.01 * strong.sharpness());
            assertTrue(published.gradients() <= 15 && strong.gradients() <= 30);
          }
        }
      }
    }
  }

  @Test
  void theGradientAtTheMinimizerIsTakenOnce() {
    try (Quadratic f =
            new Quadratic(
                device, LOSS, draw(1, -2, 2), draw(2, -1, 1), draw(3, 0, 50), zeros(), 0);
        Sharpness sharpness = Sharpness.full(f, Box.ABSOLUTE, 1, Progress.NONE)) {
      assertEquals(1, f.gradients());
      long searched = sharpness.published(1e-3).gradients() + sharpness.strong(1e-3, 1).gradients();
      sharpness.around(1e-3, 3);
      assertEquals(1 + searched, f.gradients());
      Maximum again = sharpness.strong(1e-3, 0); // from the same gradient as the first search
      assertEquals(sharpness.strong(1e-3, 0), again);
    }
  }

  @Test
  void theStrongSearchIsNeverBelowThePublishedOne() {
    Maximum low = new Maximum(1, 2, "10 iterations", 1, 26);
    Maximum high = new Maximum(3, 4, "no step", 0, 7);
    assertEquals(new Maximum(3, 4, "the published search: no step", 0, 26), low.orPublished(high));
    assertEquals(high, high.orPublished(low));
    assertEquals(low, low.orPublished(low));
  }

  @Test
  void aConcaveQuadraticHasItsMaximumInside() {
    // d_i < 0: the maximum of g z + d z^2 / 2 is at -g / d where the box allows it.
    double[] slope = draw(2, -1, 1);
    double[] curvature = draw(3, -500, -50);
    try (Quadratic f = new Quadratic(device, LOSS, draw(1, -2, 2), slope, curvature, zeros(), 0);
        Sharpness sharpness = Sharpness.full(f, Box.ABSOLUTE, 1, Progress.NONE)) {
      double rise = 0;
      int inside = 0;
      for (int i = 0; i < N; i++) {
        double r = Box.ABSOLUTE.radius(1e-3, f.at[i]);
        double z = Math.min(r, Math.abs(slope[i] / curvature[i]));
        inside += z < r ? 1 : 0;
        rise += Math.abs(slope[i]) * z + curvature[i] * z * z / 2;
      }
      assertTrue(inside > N / 4 && inside < 3 * N / 4);
      double expected = 100 * rise / (1 + LOSS);
      assertEquals(expected, sharpness.strong(1e-3, 1).sharpness(), 0.01 * expected);
    }
  }

  @Test
  void atAFlatPointOnlySearchesFromRandomPointsMove() {
    // No slope, one curved direction: the maximum is lambda (sum |v_i| r_i)^2 / 2.
    double[] v = draw(4, -1, 1);
    double lambda = 1e-6; // gradients far below the box, as where training has gone on for long
    try (Quadratic f = new Quadratic(device, LOSS, draw(1, -2, 2), zeros(), zeros(), v, lambda);
        Sharpness sharpness = Sharpness.full(f, Box.ABSOLUTE, 1, Progress.NONE)) {
      double along = 0;
      for (int i = 0; i < N; i++) {
        along += Math.abs(v[i]) * Box.ABSOLUTE.radius(1e-3, f.at[i]);
      }
      double expected = 100 * lambda * along * along / 2 / (1 + LOSS);
      assertEquals(0, sharpness.published(1e-3).sharpness());
      assertEquals(0, sharpness.strong(1e-3, 0).sharpness());
      Maximum strong = sharpness.strong(1e-3, 1);
      assertEquals(expected, strong.sharpness(), 1e-6 * expected);
      assertEquals(2, strong.search());
      assertTrue(strong.gradients() <= 17);
      Neighbours around = sharpness.around(1e-3, 20);
      assertEquals(0, around.corner());
      assertTrue(
          around.most() < 0.2 * expected && around.mean() > 0 && around.mean() < around.most());
    }
  }

  @Test
  void randomPointsAreUniformInTheBox() {
    // E z_i^2 = r_i^2 / 3 on a diagonal quadratic.
    try (Quadratic f =
            new Quadratic(device, LOSS, draw(1, -2, 2), zeros(), draw(3, 1, 50), zeros(), 0);
        Sharpness sharpness = Sharpness.full(f, Box.ABSOLUTE, 1, Progress.NONE)) {
      Neighbours around = sharpness.around(1e-3, 200);
      assertEquals(top(f, 1e-3, Box.ABSOLUTE) / 3, around.mean(), 0.02 * around.mean());
    }
  }

  @Test
  void inASubspaceTheBoxIsAroundThePseudoInverse() {
    int p = 12;
    try (Quadratic f =
            new Quadratic(device, LOSS, draw(1, -2, 2), draw(2, -1, 1), zeros(), zeros(), 0);
        Sharpness sharpness = Sharpness.subspace(f, Box.ABSOLUTE, p, 5, Progress.NONE);
        SignMatrix a = device.signMatrix(N, p, 5)) {
      // Least squares min ||A c - x||, checked by its normal equations; then a linear maximum.
      double[] gram = a.gram(null);
      double[] center = new double[p];
      a.multiplyTransposed(null, f.start(), center);
      double[] right = center.clone();
      Directions.solve(gram, center);
      for (int i = 0; i < p; i++) {
        double sum = 0;
        for (int j = 0; j < p; j++) {
          sum += gram[i * p + j] * center[j];
        }
        assertEquals(right[i], sum, 1e-9);
      }
      double[] pulled = new double[p];
      try (var slope = f.vector()) {
        slope.copyFrom(f.slope);
        a.multiplyTransposed(null, slope, pulled);
      }
      double rise = 0;
      for (int j = 0; j < p; j++) {
        rise += Math.abs(pulled[j]) * Box.ABSOLUTE.radius(1e-3, center[j]);
      }
      double expected = 100 * rise / (1 + LOSS);
      assertEquals(expected, sharpness.strong(1e-3, 1).sharpness(), 1e-6 * expected);
      assertEquals(expected, sharpness.published(1e-3).sharpness(), 0.01 * expected);
    }
  }

  @Test
  void aNetworkIsAtLeastAsSharpAsItsNeighboursSay() {
    Perceptron network = new Perceptron(3);
    List<Double> found = new ArrayList<>();
    for (int threads = 1; threads <= 2; threads++) {
      try (NetworkLoss f =
              NetworkLoss.of(
                  device,
                  network.model,
                  network.data,
                  NetworkLossSpec.running(0).withThreads(threads));
          Sharpness sharpness = Sharpness.full(f, Box.ABSOLUTE, 1, Progress.NONE)) {
        assertEquals(network.loss(network.model.parameters()), sharpness.loss(), 1e-6);
        Maximum strong = sharpness.strong(1e-2, 1);
        Neighbours around = sharpness.around(1e-2, 20);
        assertTrue(strong.sharpness() >= around.corner() && strong.sharpness() > around.most());
        assertTrue(strong.sharpness() >= sharpness.published(1e-2).sharpness() * 0.99);
        found.add(strong.sharpness());
      }
    }
    assertEquals(found.get(0), found.get(1));
  }

  @Test
  void equalNormsLeaveTheNetworkAndRemoveTheScale() {
    NormedNetwork network = new NormedNetwork();
    double[] large = network.model().parameters().clone();
    double[] statistics = network.model().statistics().clone();
    network.scaleFirstLayer(large, statistics, 10);
    var scaled = network.with(large, statistics);
    double[] sharpness = new double[2];
    double[] equal = new double[2];
    double[] relative = new double[2];
    double[] losses = new double[4];
    for (int i = 0; i < 2; i++) {
      var model = i == 0 ? network.model() : scaled;
      var rescaled = Rescaling.toEqualNorms(model);
      try (NetworkLoss f =
              NetworkLoss.of(device, model, network.data(), NetworkLossSpec.running(0));
          NetworkLoss g =
              NetworkLoss.of(device, rescaled, network.data(), NetworkLossSpec.running(0));
          Sharpness of = Sharpness.full(f, Box.ABSOLUTE, 1, Progress.NONE);
          Sharpness ofRelative = Sharpness.full(f, Box.RELATIVE, 1, Progress.NONE);
          Sharpness ofEqual = Sharpness.full(g, Box.ABSOLUTE, 1, Progress.NONE)) {
        losses[i] = of.loss();
        losses[2 + i] = ofEqual.loss();
        sharpness[i] = of.strong(1e-2, 1).sharpness();
        equal[i] = ofEqual.strong(1e-2, 1).sharpness();
        relative[i] = ofRelative.strong(1e-2, 1).sharpness();
      }
    }
    for (double loss : losses) {
      assertEquals(losses[0], loss, 1e-4 * losses[0]);
    }
    assertTrue(sharpness[1] < 0.95 * sharpness[0], Arrays.toString(sharpness));
    assertEquals(equal[0], equal[1], 0.02 * equal[0]);
    assertEquals(relative[0], relative[1], 0.02 * relative[0]);
  }

  @Test
  void badArgumentsAreRefused() {
    try (Quadratic f = new Quadratic(device, LOSS, zeros(), zeros(), zeros(), zeros(), 0);
        Sharpness sharpness = Sharpness.full(f, Box.ABSOLUTE, 1, Progress.NONE)) {
      for (double epsilon : new double[] {0, -1, Double.NaN}) {
        assertThrows(IllegalArgumentException.class, () -> sharpness.published(epsilon));
      }
      assertThrows(IllegalArgumentException.class, () -> sharpness.strong(1e-3, -1));
      assertThrows(
          IllegalArgumentException.class,
          () -> Sharpness.subspace(f, Box.ABSOLUTE, 0, 1, Progress.NONE));
      assertThrows(
          IllegalArgumentException.class,
          () -> Sharpness.subspace(f, Box.ABSOLUTE, 1024, 1, Progress.NONE));
      assertEquals(0, sharpness.strong(1e-3, 2).sharpness());
    }
    try (Quadratic f = new Quadratic(device, LOSS, zeros(), draw(2, -1, 1), zeros(), zeros(), 0);
        Sharpness sharpness = Sharpness.full(f, Box.RELATIVE, 1, Progress.NONE)) {
      assertEquals(0, sharpness.strong(1e-3, 1).sharpness()); // the box is a point
      assertEquals(0, sharpness.published(1e-3).sharpness());
    }
    assertArrayEquals(new double[] {2, -1}, solved(), 1e-14);
  }

  private static double[] solved() {
    double[] b = {3, 0};
    Directions.solve(new double[] {2, 1, 1, 2}, b);
    return b;
  }
}
