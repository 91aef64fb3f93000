package org.ghostbatch.analysis;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.function.DoubleUnaryOperator;
import org.ghostbatch.random.RandomStream;
import org.ghostbatch.train.EpochRow;
import org.junit.jupiter.api.Test;

/** What is read from the curves of a run: the law of its weight distance, and over-fitting. */
class CurvesTest {
  private static Diffusion of(DoubleUnaryOperator law, double noise) {
    RandomStream random = new RandomStream(1, 2, 3, 4);
    double[] t = new double[40];
    double[] d = new double[40];
    for (int i = 0; i < 40; i++) {
      t[i] = 50.0 * (i + 1);
      d[i] = law.applyAsDouble(t[i]) + noise * random.nextDouble(-1, 1);
    }
    return Diffusion.fit(t, d);
  }

  @Test
  void eachLawIsKnownAmongTheThree() {
    Diffusion slow = of(t -> 1.5 + 2 * Math.log(t), 0.05);
    assertEquals("log", slow.best());
    assertEquals(2, slow.logarithm().factor(), 0.03);
    assertEquals(1.5, slow.logarithm().offset(), 0.2);
    assertTrue(slow.logarithm().r2() > 0.999);
    Diffusion free = of(t -> 3 + 0.4 * Math.sqrt(t), 0.02);
    assertEquals("sqrt", free.best());
    assertEquals(0.4, free.root().factor(), 0.01);
    Diffusion power = of(t -> 0.7 * Math.pow(t, 0.3), 0.005);
    assertEquals("power", power.best());
    assertEquals(0.3, power.power().exponent(), 0.005);
    assertEquals(0.7, power.power().factor(), 0.03);
  }

  @Test
  void criterionIsAkaikes() {
    double[] t = {1, Math.E, Math.E * Math.E, Math.exp(3)};
    double[] d = {0.1, 0.9, 2.1, 2.9}; // residuals around t: known line 0.06 + 0.96 ln t
    Diffusion fit = Diffusion.fit(t, d);
    assertEquals(0.96, fit.logarithm().factor(), 1e-12);
    assertEquals(0.06, fit.logarithm().offset(), 1e-12);
    double rss = 0.04 * 0.04 + 0.12 * 0.12 + 0.12 * 0.12 + 0.04 * 0.04;
    assertEquals(4 * Math.log(rss / 4) + 6, fit.logarithm().aic(), 1e-9);
  }

  @Test
  void badCurvesAreRefused() {
    assertThrows(IllegalArgumentException.class, () -> Diffusion.fit(new double[3], new double[3]));
    assertThrows(IllegalArgumentException.class, () -> Diffusion.fit(new double[4], new double[4]));
    assertThrows(
        IllegalArgumentException.class,
        () -> Diffusion.fit(new double[] {2, 2, 2, 2}, new double[4]));
    assertThrows(
        IllegalArgumentException.class,
        () -> Diffusion.fit(new double[] {1, 2, 3, 4}, new double[] {1, 2, Double.NaN, 4}));
    assertThrows(IllegalArgumentException.class, () -> Overfitting.of(List.of()));
  }

  private static List<EpochRow> epochs(DoubleUnaryOperator test) {
    RandomStream random = new RandomStream(1, 2, 3, 4);
    List<EpochRow> rows = new ArrayList<>();
    for (int e = 1; e <= 60; e++) {
      double train = 1 - Math.exp(-e / 8.0);
      double accuracy = test.applyAsDouble(e) + 0.003 * random.nextDouble(-1, 1);
      rows.add(
          new EpochRow(
              e,
              e * 10,
              e * 100,
              10,
              0.1,
              1 - train,
              train,
              1 - accuracy,
              accuracy,
              e,
              1,
              1,
              e,
              Double.NaN,
              Double.NaN));
    }
    return rows;
  }

  @Test
  void aPeakAndADecayAreOverfitting() {
    Overfitting verdict =
        Overfitting.of(
            epochs(e -> e <= 20 ? 0.9 - 0.4 * Math.exp(-e / 5) : 0.9 - 0.001 * (e - 20)));
    assertTrue(verdict.peakThenDecay());
    assertTrue(verdict.peakEpoch() > 12 && verdict.peakEpoch() < 30);
    assertEquals(0.04, verdict.peak() - verdict.last(), 0.01);
    assertEquals(1 - 0.862, verdict.trainMinusTest(), 0.01);
  }

  @Test
  void aPlateauWithNoiseIsNone() {
    for (int shift = 0; shift < 5; shift++) {
      int s = shift;
      Overfitting verdict = Overfitting.of(epochs(e -> 0.9 - 0.4 * Math.exp(-(e + s) / 5)));
      assertFalse(verdict.peakThenDecay(), verdict.toString());
      assertEquals(0.0017, verdict.noise(), 0.0008);
    }
  }
}
