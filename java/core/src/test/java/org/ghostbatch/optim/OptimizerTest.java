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
      assertRefused(() -> Lars.of().momentum(momentum));
      assertRefused(() -> Lamb.of().beta1(momentum));
      assertRefused(() -> Lamb.of().beta2(momentum));
      assertRefused(() -> Adam.of().beta1(momentum));
      assertRefused(() -> Adam.ofDecoupled().beta2(momentum));
    }
    for (double decay : new double[] {-1e-9, Double.NaN, Double.POSITIVE_INFINITY}) {
      assertRefused(() -> Sgd.of().weightDecay(decay));
      assertRefused(() -> Lars.of().weightDecay(decay));
      assertRefused(() -> Lamb.of().weightDecay(decay));
      assertRefused(() -> Adam.of().weightDecay(decay));
      assertRefused(() -> Adam.ofDecoupled().weightDecay(decay));
    }
    assertRefused(() -> Adam.of().eps(0));
    assertRefused(() -> Adam.ofDecoupled().eps(Double.NaN));
    assertRefused(() -> Lamb.of().eps(0));
    assertRefused(() -> Lars.of().trust(0));
    assertRefused(() -> Lars.of().trust(Double.POSITIVE_INFINITY));
    assertRefused(() -> Sgd.of().nesterov(true));
    assertRefused(() -> Lars.of().momentum(0).nesterov(true));
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
    assertEquals(List.of("velocity"), Lars.of().stateNames());
    assertEquals(List.of("first_moment", "second_moment"), Adam.of().stateNames());
    assertEquals(List.of("first_moment", "second_moment"), Lamb.of().stateNames());
    assertEquals(List.of("first_moment", "second_moment"), Adam.ofDecoupled().stateNames());
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
              new Sgd(a, c, random.nextBoolean()),
              new Adam(a, b, c, b, random.nextBoolean()),
              new Lars(c, a, b, random.nextBoolean()),
              new Lamb(a, b, c, c))) {
        assertEquals(optimizer, Optimizer.parse(optimizer.toString()));
      }
    }
    assertEquals(
        "sgd(momentum=0.9,weight-decay=1.0E-4,nesterov=false)",
        Sgd.withMomentum(0.9).weightDecay(1e-4).toString());
    assertEquals(
        "lars(trust=0.001,momentum=0.9,weight-decay=1.0E-4,nesterov=false)",
        Lars.of().weightDecay(1e-4).toString());
    assertEquals("lamb(beta1=0.9,beta2=0.999,eps=1.0E-6,weight-decay=0.01)", Lamb.of().toString());
    assertEquals(Lars.of(), Optimizer.parse("lars"));
    assertEquals(Lamb.of().eps(1e-7), Optimizer.parse("lamb(eps=1e-7)"));
    assertEquals(Sgd.of(), Optimizer.parse("sgd"));
    assertEquals(Adam.of(), Optimizer.parse("adam()"));
    assertEquals(Adam.ofDecoupled().beta1(0.5), Optimizer.parse("adamw( beta1 = 0.5 )"));
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
        "lars(beta1=0.9)",
        "lamb(trust=0.1)",
        "lars(momentum=0,nesterov=true)",
        "sgd(momentum=NaN)"
      })
  void refusesWrongTexts(String text) {
    assertRefused(() -> Optimizer.parse(text));
  }
}
