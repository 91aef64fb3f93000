package org.ghostbatch.optim;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class OptimizerTest {
  @Test
  void refusesSettingsOutOfRange() {
    for (double momentum : new double[] {-0.1, 1, 2, Double.NaN, Double.POSITIVE_INFINITY}) {
      assertRefused(() -> Sgd.withMomentum(momentum));
      assertRefused(() -> Adam.of().beta1(momentum));
      assertRefused(() -> AdamW.of().beta2(momentum));
    }
    for (double decay : new double[] {-1e-9, Double.NaN, Double.POSITIVE_INFINITY}) {
      assertRefused(() -> Sgd.of().weightDecay(decay));
      assertRefused(() -> Adam.of().weightDecay(decay));
      assertRefused(() -> AdamW.of().weightDecay(decay));
    }
    assertRefused(() -> Adam.of().eps(0));
    assertRefused(() -> AdamW.of().eps(Double.NaN));
    assertRefused(() -> Sgd.of().nesterov(true));
    var error = assertThrows(IllegalArgumentException.class, () -> Sgd.withMomentum(1.5));
    assertEquals("[optimizer] needs momentum in [0, 1), got 1.5", error.getMessage());
  }

  private static void assertRefused(Runnable made) {
    var error = assertThrows(IllegalArgumentException.class, made::run);
    assertTrue(error.getMessage().startsWith("[optimizer] needs "), error.getMessage());
  }

  @Test
  void statesAreThoseOfTheKernels() {
    assertEquals(List.of("velocity"), Sgd.of().stateNames());
    assertEquals(List.of("first_moment", "second_moment"), Adam.of().stateNames());
    assertEquals(List.of("first_moment", "second_moment"), AdamW.of().stateNames());
  }

  @Test
  void readsWhatItWrites() {
    var random = new Random(1);
    for (int i = 0; i < 1000; i++) {
      double a = random.nextDouble();
      double b = random.nextDouble();
      double c = Math.exp(30 * random.nextGaussian());
      for (Optimizer optimizer :
          List.of(
              new Sgd(a, c, random.nextBoolean()), new Adam(a, b, c, b), new AdamW(a, b, c, c))) {
        assertEquals(optimizer, Optimizer.parse(optimizer.toString()));
      }
    }
    assertEquals(
        "sgd(momentum=0.9,weight-decay=1.0E-4,nesterov=false)",
        Sgd.withMomentum(0.9).weightDecay(1e-4).toString());
    assertEquals(Sgd.of(), Optimizer.parse("sgd"));
    assertEquals(Adam.of(), Optimizer.parse("adam()"));
    assertEquals(AdamW.of().beta1(0.5), Optimizer.parse("adamw( beta1 = 0.5 )"));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "lion",
        "SGD",
        "sgd(",
        "sgd)",
        "sgd(momentum)",
        "sgd(momentum=)",
        "sgd(=1)",
        "sgd(momentum=x)",
        "sgd(momentum=0.9,)",
        "sgd(momentum=0.1,momentum=0.2)",
        "sgd(beta1=0.9)",
        "sgd(nesterov=yes)",
        "adam(momentum=0.9)",
        "sgd(momentum=NaN)"
      })
  void refusesWrongTexts(String text) {
    assertRefused(() -> Optimizer.parse(text));
  }
}
