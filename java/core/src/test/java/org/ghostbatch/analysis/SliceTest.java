package org.ghostbatch.analysis;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.random.Shuffle;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Slices through functions that are known, and through a network with batch norm. */
class SliceTest {
  private static final NormedNetwork NETWORK = new NormedNetwork();
  private static Device device;

  @BeforeAll
  static void open() {
    device = Device.of("cpu", 2);
  }

  @AfterAll
  static void close() {
    device.close();
  }

  private static NetworkLoss loss(NetworkLossSpec spec) {
    return NetworkLoss.of(device, NETWORK.model(), NETWORK.data(), spec);
  }

  /** A point that is not the network, other ones for other numbers. */
  private static void away(NetworkLoss f, double far, Tensor x) {
    double[] values = f.start().toDoubles();
    for (int i = 0; i < values.length; i++) {
      values[i] += far * Math.sin(1 + i * i);
    }
    x.copyFrom(values);
  }

  @Test
  void aQuadraticIsAParabolaAlongEachOfItsEigenvectors() {
    double[] at = new double[40];
    double[] diagonal = new double[40];
    Arrays.setAll(at, i -> Math.cos(i));
    Arrays.setAll(diagonal, i -> 1 + i);
    try (Quadratic f = new Quadratic(device, 0.5, at, new double[40], diagonal, new double[40], 0);
        Hessian hessian = Hessian.at(f, f.start(), 1, Progress.NONE);
        Eigenvalues found = hessian.eigenvalues(2, 0, 1e-12, 40, 1, Progress.NONE);
        Tensor x = f.vector()) {
      for (int k = 0; k < 2; k++) {
        double lambda = 40 - k;
        double[] t = new double[21];
        double[] losses = new double[21];
        for (int i = 0; i < 21; i++) {
          t[i] = (i - 10) / 10.;
          Slice.point(
              f.vectors(),
              f.start(),
              new double[] {t[i]},
              List.of(found.largest().get(k).vector()),
              x);
          losses[i] = f.value(x);
          assertEquals(0.5 + lambda * t[i] * t[i] / 2, losses[i], 1e-9);
        }
        Asymmetry asymmetry = Asymmetry.of(t, losses);
        assertEquals(0, asymmetry.atReach(), 1e-9);
        assertEquals(0, asymmetry.mean(), 1e-9);
        assertEquals(Math.sqrt(1 / lambda), asymmetry.right(), 1e-9);
        assertEquals(1, asymmetry.widthRatio(), 1e-8);
      }
    }
  }

  @Test
  void pointsAreSumsOfDirections() {
    try (NetworkLoss f = loss(NetworkLossSpec.running(0));
        Tensor first = f.vector();
        Tensor second = f.vector();
        Tensor x = f.vector()) {
      away(f, 1, first);
      away(f, 2, second);
      Slice.point(f.vectors(), f.start(), new double[] {0.5, -2}, List.of(first, second), x);
      double[] wanted = f.start().toDoubles();
      for (int i = 0; i < wanted.length; i++) {
        wanted[i] += 0.5 * first.toDoubles()[i] - 2 * second.toDoubles()[i];
      }
      assertArrayEquals(wanted, x.toDoubles(), 1e-14);
      assertThrows(
          IllegalArgumentException.class,
          () -> Slice.point(f.vectors(), f.start(), new double[2], List.of(first), x));
    }
  }

  @Test
  void theMaximizerIsWhereTheMaximumIs() {
    try (NetworkLoss f = loss(NetworkLossSpec.running(40));
        Sharpness sharpness = Sharpness.full(f, Box.ABSOLUTE, 1, Progress.NONE);
        Tensor point = f.vector()) {
      double epsilon = 1e-2;
      Maximum maximum = sharpness.strong(epsilon, 1, point);
      assertEquals(maximum.loss(), f.value(point));
      assertTrue(maximum.loss() > sharpness.loss());
      assertEquals(maximum, sharpness.strong(epsilon, 1));
      double[] x = f.start().toDoubles();
      double[] best = point.toDoubles();
      double squares = 0;
      for (int i = 0; i < x.length; i++) {
        double radius = epsilon * (Math.abs(x[i]) + 1);
        assertTrue(Math.abs(best[i] - x[i]) <= radius * (1 + 1e-9));
        squares += radius * radius;
      }
      assertEquals(Math.sqrt(squares), Box.ABSOLUTE.reach(epsilon, x), 1e-12);
      // Where nothing is above f(x), the point is x.
      try (Quadratic flat =
              new Quadratic(
                  device, 1, new double[] {3, 4}, new double[2], new double[2], new double[2], 0);
          Sharpness none = Sharpness.full(flat, Box.RELATIVE, 1, Progress.NONE);
          Tensor there = flat.vector()) {
        none.strong(1e-3, 1, there);
        assertArrayEquals(new double[] {3, 4}, there.toDoubles());
        assertEquals(5e-3, Box.RELATIVE.reach(1e-3, flat.at), 1e-15);
      }
    }
  }

  @Test
  void statisticsAreRecomputedAtEveryPointOrFixed() {
    NetworkLossSpec spec = NetworkLossSpec.running(40);
    try (NetworkLoss f = loss(spec);
        NetworkLoss onTest = loss(spec.withSeed(9));
        NetworkLoss other = loss(spec);
        Tensor x = f.vector()) {
      Slice recomputed = new Slice(f, onTest, true);
      for (double far : new double[] {0.05, 0.1}) {
        away(f, far, x);
        other.recomputeStatistics(x, NETWORK.data());
        SlicePoint point = recomputed.at(far, x);
        assertEquals(other.value(x), point.trainLoss()); // bit for bit, without a copy of the data
        assertEquals(point.trainLoss(), point.testLoss(), 1e-6); // the same data in another order
        assertEquals(far, point.t());
      }
      other.recomputeStatistics(other.start(), NETWORK.data());
      f.recomputeStatistics(f.start(), NETWORK.data());
      Slice fixed = new Slice(f, null, false);
      away(f, 0.1, x);
      SlicePoint point = fixed.at(1, x);
      assertEquals(other.value(x), point.trainLoss());
      assertNotEquals(recomputed.at(1, x).trainLoss(), point.trainLoss());
      assertTrue(Double.isNaN(point.testLoss()) && Double.isNaN(point.testAccuracy()));
    }
  }

  @Test
  void aPartOfTheSamplesGivesTheStatisticsAsIfItWereAll() {
    Dataset part = NETWORK.data().select(Arrays.copyOf(Shuffle.permutation(120, 1, 0), 60));
    NetworkLossSpec spec = NetworkLossSpec.running(60); // one ghost, in whatever order
    try (NetworkLoss f = loss(spec.withSamples(60));
        NetworkLoss whole = NetworkLoss.of(device, NETWORK.model(), part, spec);
        Tensor x = f.vector()) {
      away(f, 0.2, x);
      whole.recomputeStatistics(x, part);
      double wanted = whole.value(x);
      f.recomputeStatistics(x, NETWORK.data());
      assertNotEquals(wanted, f.value(x), 1e-4 * wanted);
      assertEquals(wanted, new Slice(f, null, true).at(0, x).trainLoss(), 1e-6 * wanted);
    }
  }

  @Test
  void byStatisticsOfGhostsTestDataHasRunningOnes() {
    NetworkLossSpec spec = NetworkLossSpec.batch(40);
    try (NetworkLoss f = loss(spec);
        NetworkLoss onTest = loss(spec.withNorm(NetworkLossSpec.Norm.RUNNING));
        NetworkLoss running = loss(NetworkLossSpec.running(40));
        Tensor x = f.vector()) {
      away(f, 0.1, x);
      SlicePoint point = new Slice(f, onTest, true).at(0, x);
      running.recomputeStatistics(x, NETWORK.data());
      assertEquals(f.value(x), point.trainLoss());
      assertEquals(running.value(x), point.testLoss());
    }
  }

  @Test
  void sameBitsOnOneThreadAndTwo() {
    List<SlicePoint> points = new ArrayList<>();
    for (int threads = 1; threads <= 2; threads++) {
      try (NetworkLoss f = loss(NetworkLossSpec.running(40).withThreads(threads));
          Tensor d = f.vector();
          Tensor x = f.vector()) {
        d.copyFrom(FilterNormalized.draw(NETWORK.model(), 1, 0));
        Slice.point(f.vectors(), f.start(), new double[] {0.7}, List.of(d), x);
        points.add(new Slice(f, null, true).at(0.7, x));
      }
    }
    assertEquals(points.get(0), points.get(1));
  }

  @Test
  void badArgumentsAreRefused() {
    Perceptron perceptron = new Perceptron(3);
    try (NetworkLoss f = loss(NetworkLossSpec.running(0));
        NetworkLoss g =
            NetworkLoss.of(device, perceptron.model, perceptron.data, NetworkLossSpec.running(0))) {
      assertThrows(IllegalArgumentException.class, () -> new Slice(null, f, true));
      assertThrows(IllegalArgumentException.class, () -> new Slice(f, g, true));
    }
  }
}
