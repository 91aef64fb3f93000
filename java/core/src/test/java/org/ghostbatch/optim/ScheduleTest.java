package org.ghostbatch.optim;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ScheduleTest {
  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "0.1",
        "81:0.01",
        "0:0.1,81",
        "0:0.1,81:0.01,81:0.001",
        "0:0.1,20:1,10:1",
        "0:-1",
        "0:NaN",
        "0:x",
        "x:1",
        "0:0.1,",
        "0:1:2",
        "0:0.1,Infinity:1",
        "NaN:1",
        "linear",
        "cosine(rate=-1)",
        "cosine(power=1)",
        "polynomial(power=0)",
        "constant(rate=Infinity)"
      })
  void refusesWrongTexts(String text) {
    var error = assertThrows(IllegalArgumentException.class, () -> Schedule.parse(text));
    assertTrue(error.getMessage().startsWith("[schedule] needs "), error.getMessage());
  }

  @Test
  void stepsChangeExactlyAtTheirBoundaries() {
    Schedule steps = Schedule.parse("0:0.1,81:0.01,122:0.001,164:1e-4");
    double[] rates = {0.1, 0.01, 0.001, 1e-4};
    int[] boundaries = {0, 81, 122, 164};
    // 13 updates an epoch: one update before a boundary the old rate holds, at the boundary the new
    // one.
    for (int i = 0; i < 4; i++) {
      assertEquals(rates[i], steps.rate(boundaries[i] * 13L / 13.0, 200));
      if (i > 0) {
        assertEquals(rates[i - 1], steps.rate((boundaries[i] * 13L - 1) / 13.0, 200));
      }
    }
    assertEquals(1e-4, steps.rate(1e9, 200));
    assertEquals("0:0.1,81:0.01,122:0.001,164:1.0E-4", steps.toString());
  }

  @Test
  void cosineAndPolynomialFollowTheirFormulas() {
    var cosine = new Schedule.Cosine(0.4);
    assertEquals(0.4, cosine.rate(0, 10));
    assertEquals(0.2, cosine.rate(5, 10), 1e-16);
    assertEquals(0.4 * (1 + Math.sqrt(0.5)) / 2, cosine.rate(2.5, 10), 1e-15);
    assertEquals(0, cosine.rate(10, 10), 1e-16);
    assertEquals(0, cosine.rate(11, 10), 1e-16);
    var polynomial = new Schedule.Polynomial(0.4, 2);
    assertEquals(0.4, polynomial.rate(0, 10));
    assertEquals(0.1, polynomial.rate(5, 10), 1e-16);
    assertEquals(0, polynomial.rate(10, 10));
    assertEquals(0, polynomial.rate(12, 10));
    assertThrows(IllegalArgumentException.class, () -> cosine.rate(0, 0));
    assertEquals(0.3, new Schedule.Constant(0.3).rate(7, 10));
  }

  @Test
  void readsWhatItWrites() {
    var random = new Random(1);
    for (int i = 0; i < 500; i++) {
      double rate = random.nextDouble();
      List<Schedule.Steps.Step> steps = new ArrayList<>();
      double epoch = 0;
      for (int s = random.nextInt(4); s >= 0; s--) {
        steps.add(new Schedule.Steps.Step(epoch, random.nextDouble()));
        epoch += random.nextBoolean() ? 1 + random.nextInt(50) : random.nextDouble() + 1e-9;
      }
      for (Schedule schedule :
          List.of(
              new Schedule.Constant(rate),
              new Schedule.Cosine(rate),
              new Schedule.Polynomial(rate, rate + 1),
              new Schedule.Steps(steps))) {
        assertEquals(schedule, Schedule.parse(schedule.toString()));
      }
    }
  }

  @Test
  void regimeAdaptationStretches() {
    var adaptation = new RegimeAdaptation(256);
    assertEquals(8, adaptation.factor(2048));
    assertEquals(
        Schedule.parse("0:0.1,648:0.01,976:0.001"),
        Schedule.parse("0:0.1,81:0.01,122:0.001").stretch(adaptation.factor(2048)));
    var cosine = new Schedule.Cosine(0.1);
    assertSame(cosine, cosine.stretch(8));
    assertEquals(800, adaptation.epochs(100, 2048));
    assertEquals(3, adaptation.epochs(2, 384));
    assertEquals(4, adaptation.epochs(3, 257));
    assertEquals(50, adaptation.epochs(100, 128));
    assertEquals(1, adaptation.epochs(1, 1));
    assertThrows(
        IllegalArgumentException.class,
        () -> adaptation.epochs(Integer.MAX_VALUE, Integer.MAX_VALUE));
    assertThrows(IllegalArgumentException.class, () -> adaptation.epochs(0, 256));
    assertThrows(IllegalArgumentException.class, () -> adaptation.factor(0));
    assertThrows(IllegalArgumentException.class, () -> new RegimeAdaptation(0));
    assertThrows(IllegalArgumentException.class, () -> cosine.stretch(0));
  }

  @Test
  void batchRulesScale() {
    assertEquals(1, BatchRule.none().factor(4096));
    assertEquals(Math.sqrt(32), BatchRule.sqrtFrom(128).factor(4096));
    assertEquals(32, BatchRule.linearFrom(128).factor(4096));
    assertEquals(0.5, BatchRule.linearFrom(128).factor(64));
    assertEquals(1, BatchRule.sqrtFrom(128).factor(128));
    for (BatchRule rule :
        List.of(BatchRule.none(), BatchRule.sqrtFrom(128), BatchRule.linearFrom(7))) {
      assertEquals(rule, BatchRule.parse(rule.toString()));
    }
    assertEquals("sqrt:128", BatchRule.sqrtFrom(128).toString());
    for (String text :
        List.of("", "none:1", "sqrt", "sqrt:", "sqrt:0", "sqrt:1.5", "cube:2", "linear:1:2")) {
      assertThrows(IllegalArgumentException.class, () -> BatchRule.parse(text), text);
    }
    assertThrows(IllegalArgumentException.class, () -> BatchRule.none().factor(0));
  }

  @Test
  void warmUpRisesToTheFullRate() {
    var rate = new LearningRate(new Schedule.Constant(0.1), BatchRule.linearFrom(256), 5);
    double full = 0.1 * 32;
    // 4 updates an epoch: 20 updates of warm-up.
    for (int update = 0; update < 40; update++) {
      double expected = full * Math.min(1, (update + 1) / 20.0);
      assertEquals(expected, rate.rate(update / 4.0, 4, 90, 8192), 1e-15);
    }
    assertEquals(full, rate.rate(4.75, 4, 90, 8192));
    assertEquals(0.1, LearningRate.constant(0.1).rate(0, 1, 1, 4096));
    assertEquals(10, rate.stretch(2).warmupEpochs());
    assertThrows(
        IllegalArgumentException.class,
        () -> new LearningRate(new Schedule.Constant(1), BatchRule.none(), -1));
    assertThrows(IllegalArgumentException.class, () -> rate.rate(0, 0, 1, 1));
  }

  @Test
  void batchSchedulesChangeAtEpochs() {
    var schedule = BatchSchedule.parse("0:128,30:1024,60.5:4096");
    assertEquals(128, schedule.first());
    assertEquals(4096, schedule.largest(100));
    assertEquals(128, schedule.batch(0));
    assertEquals(128, schedule.batch(29));
    assertEquals(1024, schedule.batch(30));
    assertEquals(1024, schedule.batch(60));
    assertEquals(4096, schedule.batch(61));
    assertEquals("0:128,30:1024,60.5:4096", schedule.toString());
    assertEquals(schedule, BatchSchedule.parse(schedule.toString()));
    assertEquals(BatchSchedule.constant(64), BatchSchedule.parse("64"));
    assertEquals("64", BatchSchedule.constant(64).toString());
    assertEquals(BatchSchedule.parse("0:128,60:1024,121:4096"), schedule.stretch(2));
    for (String text :
        List.of("", "0", "-1", "1:128", "0:128,0:256", "0:0", "0:1.5", "0:128,", "0:128,30")) {
      assertThrows(IllegalArgumentException.class, () -> BatchSchedule.parse(text), text);
    }
  }

  @Test
  void batchesFollowTheNoiseScale() {
    var auto = BatchSchedule.parse("auto:128");
    assertEquals(BatchSchedule.auto(128), auto);
    assertEquals("auto:128", auto.toString());
    assertEquals(6000, auto.largest(60000));
    assertEquals(128, auto.largest(1000));
    assertEquals(530 / 32 * 32 + 32, auto.next(128, 530, 32, 60000), "the nearest multiple");
    assertEquals(128, auto.next(128, 3, 32, 60000), "at least the first");
    assertEquals(6000 / 32 * 32, auto.next(128, 1e9, 32, 60000), "at most a tenth of the data");
    assertEquals(128, auto.next(128, Double.POSITIVE_INFINITY, 32, 1000));
    var noise = BatchSchedule.parse("noise:100");
    assertEquals(BatchSchedule.noise(100), noise);
    assertEquals("noise:100", noise.toString());
    assertEquals(noise, noise.stretch(3));
    assertEquals(192, noise.next(100, 1000, 32, 60000), "doubled at most");
    assertEquals(512, noise.next(1024, 3, 32, 60000), "halved at most");
    assertEquals(100, noise.next(128, 3, 32, 60000));
    assertEquals(704, noise.next(512, 700, 32, 60000));
    assertEquals(5984, noise.next(5000, 9000, 32, 60000));
    for (String text : List.of("auto", "auto:", "auto:0", "noise:x", "noise:1:2")) {
      assertThrows(IllegalArgumentException.class, () -> BatchSchedule.parse(text), text);
    }
    assertThrows(
        IllegalArgumentException.class,
        () ->
            new BatchSchedule(
                BatchSchedule.parse("0:1,2:3").phases(), BatchSchedule.Measured.ONCE));
  }
}
