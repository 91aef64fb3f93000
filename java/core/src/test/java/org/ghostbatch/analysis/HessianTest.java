package org.ghostbatch.analysis;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.random.Philox;
import org.ghostbatch.random.Purpose;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Products, eigenvalues, trace and density against the exact Hessian of a small network. */
class HessianTest {
  private static final Perceptron NETWORK = new Perceptron(3);
  private static double[][] exact;
  private static double[] spectrum;
  private static double trace;
  private static double squares;
  private static Device reference;
  private static NetworkLoss f;
  private static Hessian hessian;

  @BeforeAll
  static void open() {
    exact = NETWORK.hessian(NETWORK.model.parameters());
    spectrum = Perceptron.eigenvalues(exact);
    trace = Arrays.stream(spectrum).sum();
    squares = Arrays.stream(spectrum).map(value -> value * value).sum();
    reference = Device.of("reference", 1);
    f = NetworkLoss.of(reference, NETWORK.model, NETWORK.data, NetworkLossSpec.running(0));
    hessian = Hessian.at(f, f.start(), 1, Progress.NONE);
  }

  @AfterAll
  static void close() {
    hessian.close();
    f.close();
    reference.close();
  }

  @Test
  void lossAndGradientAreThoseWrittenOut() {
    double[] x = NETWORK.model.parameters();
    try (Tensor gradient = f.vector()) {
      assertEquals(NETWORK.loss(x), f.gradient(f.start(), gradient), 1e-12);
      assertEquals(NETWORK.loss(x), f.value(f.start()), 1e-12);
      assertArrayEquals(NETWORK.gradient(x), gradient.toDoubles(), 1e-12);
    }
  }

  @Test
  void productsAreThoseOfTheExactHessian() {
    assertTrue(hessian.error() < 1e-6, () -> "error " + hessian.error());
    double[] v = new double[Perceptron.PARAMETERS];
    Arrays.setAll(v, i -> Math.sin(1 + i * i) * 20);
    double[] expected = new double[v.length];
    for (int i = 0; i < v.length; i++) {
      for (int j = 0; j < v.length; j++) {
        expected[i] += exact[i][j] * v[j];
      }
    }
    try (Tensor vector = f.vector();
        Tensor product = f.vector()) {
      vector.copyFrom(v);
      hessian.product(vector, product);
      assertArrayEquals(expected, product.toDoubles(), 1e-6 * 20 * spectrum[spectrum.length - 1]);
    }
  }

  @Test
  void fiveEigenvaluesAtEachEndAreExactToAThousandth() {
    try (Eigenvalues found = hessian.eigenvalues(5, 5, 1e-6, 74, 1, Progress.NONE)) {
      assertTrue(found.converged());
      assertTrue(found.steps() < Perceptron.PARAMETERS);
      for (int i = 0; i < 5; i++) {
        Eigenpair top = found.largest().get(i);
        double value = spectrum[spectrum.length - 1 - i];
        assertEquals(value, top.value(), 1e-3 * Math.abs(value));
        assertTrue(top.residual() <= 1e-5 * spectrum[spectrum.length - 1]);
        Eigenpair bottom = found.smallest().get(i);
        assertEquals(spectrum[i], bottom.value(), 1e-3 * Math.abs(spectrum[i]));
        assertEquals(1, f.vectors().norm(bottom.vector()), 1e-9);
      }
    }
  }

  @Test
  void aLowAccuracyEndsEarlier() {
    try (Eigenvalues rough = hessian.eigenvalues(1, 0, 1e-2, 60, 1, Progress.NONE);
        Eigenvalues one = hessian.eigenvalues(1, 0, 1e-9, 1, 1, Progress.NONE)) {
      assertTrue(rough.converged() && rough.steps() < 20);
      assertEquals(
          spectrum[spectrum.length - 1],
          rough.largest().get(0).value(),
          1e-2 * spectrum[spectrum.length - 1]);
      assertTrue(!one.converged() && one.steps() == 1);
    }
  }

  @Test
  void traceIsExactWithinItsError() {
    int probes = 3000;
    Estimate estimate = hessian.trace(probes, 1, Progress.NONE);
    assertEquals(trace, estimate.mean(), 0.02 * trace);
    assertTrue(Math.abs(estimate.mean() - trace) < 3 * estimate.standardError());
    // The variance of v'Hv is 2 (||H||_F^2 - sum H_ii^2) for random signs.
    double off = squares;
    for (int i = 0; i < exact.length; i++) {
      off -= exact[i][i] * exact[i][i];
    }
    double error = Math.sqrt(2 * off / probes);
    assertEquals(error, estimate.standardError(), 0.1 * error);
  }

  @Test
  void densityHasTheMomentsOfTheHessian() {
    Density density = hessian.density(4000, 2, 1, Progress.NONE);
    int n = Perceptron.PARAMETERS;
    assertEquals(1, density.moment(0), 1e-12);
    assertEquals(trace / n, density.moment(1), 0.02 * trace / n);
    assertEquals(squares / n, density.moment(2), 0.02 * squares / n);
  }

  @Test
  void densityOfAProbeIntegratesPowersAsTheProbeDoes() {
    int n = Perceptron.PARAMETERS;
    Density density = hessian.density(1, 12, 7, Progress.NONE);
    double[] uniform = new double[n];
    Philox.uniform(7, Purpose.PROBE.stream(0), 0, uniform);
    double[] v = Arrays.stream(uniform).map(u -> u < 0.5 ? -1 : 1).toArray();
    double[] power = v;
    for (int k = 1; k <= 8; k++) {
      double[] next = new double[n];
      double product = 0;
      for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
          next[i] += exact[i][j] * power[j];
        }
        product += v[i] * next[i];
      }
      power = next;
      assertEquals(product / n, density.moment(k), 1e-5 * Math.abs(product / n), "moment " + k);
    }
  }

  @Test
  void densityTellsSignsAndCounts() {
    Density density = hessian.density(60, 20, 1, Progress.NONE);
    int n = Perceptron.PARAMETERS;
    double negative = Arrays.stream(spectrum).filter(value -> value < -1e-3).count() / (double) n;
    assertEquals(negative, density.shareBelow(-1e-3), 0.05);
    double bound = 0.1 * spectrum[n - 1];
    double above = Arrays.stream(spectrum).filter(value -> value > bound).count();
    assertEquals(above, density.countAbove(bound), 0.25 * above);
    double[][] curve = density.curve(4001);
    double area = 0;
    for (int i = 1; i < curve.length; i++) {
      area += (curve[i][0] - curve[i - 1][0]) * (curve[i][1] + curve[i - 1][1]) / 2;
    }
    assertEquals(1, area, 1e-3);
  }

  @Test
  void floatsOnTheCpuComeNear() {
    try (Device cpu = Device.of("cpu", 2);
        NetworkLoss g =
            NetworkLoss.of(cpu, NETWORK.model, NETWORK.data, NetworkLossSpec.running(0));
        Hessian h = Hessian.at(g, g.start(), 1, Progress.NONE);
        Eigenvalues found = h.eigenvalues(1, 0, 1e-3, 40, 1, Progress.NONE)) {
      double largest = spectrum[spectrum.length - 1];
      assertTrue(h.error() < 0.05, () -> "error " + h.error());
      assertEquals(largest, found.largest().get(0).value(), 0.02 * largest);
    }
  }

  @Test
  void sameBitsOnOneThreadAndTwo() {
    List<double[]> products = new ArrayList<>();
    for (int threads = 1; threads <= 2; threads++) {
      try (Device cpu = Device.of("cpu", 2);
          NetworkLoss g =
              NetworkLoss.of(
                  cpu,
                  NETWORK.model,
                  NETWORK.data,
                  NetworkLossSpec.running(0).withThreads(threads));
          Hessian h = Hessian.at(g, g.start(), 1, Progress.NONE);
          Tensor product = g.vector()) {
        h.product(g.start(), product);
        products.add(product.toDoubles());
      }
    }
    assertArrayEquals(products.get(0), products.get(1));
  }

  @Test
  void badArgumentsAreRefused() {
    try (Tensor zero = f.vector();
        Tensor product = f.vector()) {
      IllegalArgumentException e =
          assertThrows(IllegalArgumentException.class, () -> hessian.product(zero, product));
      assertEquals(
          "[hessian] needs a finite vector other than 0, got one of norm 0.0", e.getMessage());
    }
    assertThrows(
        IllegalArgumentException.class, () -> hessian.eigenvalues(5, 0, 1e-3, 4, 1, Progress.NONE));
    assertThrows(
        IllegalArgumentException.class, () -> hessian.eigenvalues(1, 0, 0, 4, 1, Progress.NONE));
    assertThrows(IllegalArgumentException.class, () -> hessian.trace(1, 1, Progress.NONE));
    assertThrows(
        IllegalArgumentException.class,
        () ->
            NetworkLoss.of(
                reference,
                NETWORK.model,
                NETWORK.data,
                NetworkLossSpec.running(0).withSamples(1000)));
  }

  @Test
  void aTridiagonalMatrixHasItsKnownEigenvalues() {
    int n = 50;
    double[] diagonal = new double[n];
    double[] beside = new double[n - 1];
    Arrays.fill(diagonal, 2);
    Arrays.fill(beside, -1);
    Tridiagonal found = new Tridiagonal(diagonal, beside);
    for (int j = 0; j < n; j++) {
      assertEquals(2 - 2 * Math.cos((j + 1) * Math.PI / (n + 1)), found.values[j], 1e-13);
      for (int i = 0; i < n; i++) {
        double product = 2 * found.vectors[i][j];
        product -= i > 0 ? found.vectors[i - 1][j] : 0;
        product -= i < n - 1 ? found.vectors[i + 1][j] : 0;
        assertEquals(found.values[j] * found.vectors[i][j], product, 1e-13);
      }
    }
    assertArrayEquals(
        new double[] {-3, 1, 4}, new Tridiagonal(new double[] {4, -3, 1}, new double[2]).values);
  }
}
