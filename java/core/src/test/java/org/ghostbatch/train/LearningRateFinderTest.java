package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Strokes;
import org.ghostbatch.device.Device;
import org.ghostbatch.nn.Models;
import org.ghostbatch.optim.Adam;
import org.ghostbatch.optim.Optimizer;
import org.ghostbatch.optim.Sgd;
import org.ghostbatch.train.LearningRateFinder.Point;
import org.ghostbatch.train.LearningRateFinder.Result;
import org.junit.jupiter.api.Test;

class LearningRateFinderTest {
  private static final Optimizer MOMENTUM = Sgd.withMomentum(0.9).weightDecay(1e-4);

  private static Trainer.Builder small(Optimizer optimizer) {
    return Trainer.of(Models.lenetSmall(10)).batchSize(128).ghostBatchSize(32).optimizer(optimizer);
  }

  private static Result find(Trainer.Builder builder, int threads) {
    try (Device device = Device.of("cpu", threads);
        Trainer trainer = builder.updates(100).on(device)) {
      return LearningRateFinder.of().find(trainer, Strokes.train(), null);
    }
  }

  private static double accuracy(Trainer.Builder builder, double rate) {
    try (Device device = Device.of("cpu", 2);
        Trainer trainer = builder.learningRate(rate).epochs(2).on(device)) {
      return trainer.fit(Strokes.train(), Strokes.test()).last().testAccuracy();
    } catch (DivergedException e) {
      return 0.1;
    }
  }

  @Test
  void trainingWithTheSuggestionWorks() {
    for (Optimizer optimizer : List.of(MOMENTUM, Adam.of())) {
      Result found = find(small(optimizer), 2);
      double rate = found.suggestion();
      assertTrue(rate > 1e-4 && rate < 1, optimizer + ": " + rate);
      double good = accuracy(small(optimizer), rate);
      assertTrue(good > 0.85, optimizer + " at " + rate + ": " + good);
      double low = accuracy(small(optimizer), rate / 300);
      assertTrue(low < good - 0.05, optimizer + ", a rate that is too low: " + low);
      double high = accuracy(small(optimizer), rate * 300);
      assertTrue(high < good - 0.05, optimizer + ", a rate that is too high: " + high);
    }
  }

  @Test
  void pointsAreThoseOfTheFormulas() {
    Result found = find(small(MOMENTUM), 1);
    List<Point> points = found.points();
    double sum = 0;
    for (int i = 0; i < points.size(); i++) {
      assertEquals(
          1e-6 * Math.pow(1e7, i / 99.0), points.get(i).rate(), 1e-9 * points.get(i).rate());
      sum = 0.9 * sum + 0.1 * points.get(i).loss();
      assertEquals(sum / (1 - Math.pow(0.9, i + 1)), points.get(i).smoothed(), 1e-9);
    }
    double lowest = points.get(found.lowest()).smoothed();
    for (int i = 8; i < points.size(); i++) {
      assertTrue(points.get(i).smoothed() >= lowest);
    }
    assertEquals(points.get(found.lowest()).rate() / 10, found.tenthOfLowestRate());
    double steepest = fall(points, found.steepest());
    for (int i = 8; i < found.lowest(); i++) {
      assertTrue(fall(points, i) <= steepest);
    }
    assertTrue(steepest > 0);
    assertEquals(
        Math.min(points.get(found.steepest()).rate(), points.get(found.lowest()).rate() / 10),
        found.suggestion());
    // Losses are those before the updates, of the batches that a run would take.
    assertEquals(Math.log(10), points.get(0).loss(), 0.5);
    assertEquals(found, find(small(MOMENTUM), 3), "bits on other numbers of threads");
  }

  private static double fall(List<Point> points, int i) {
    return points.get(i - 1).smoothed() - points.get(i + 1).smoothed();
  }

  @Test
  void aSweepThatFindsNothingSaysSo() {
    Dataset data = TinyData.of(300, 1);
    try (Device device = Device.of("cpu", 1)) {
      try (Trainer trainer =
          Trainer.of(TinyData.withoutNorm()).batchSize(50).updates(1).on(device)) {
        Result low = new LearningRateFinder(40, 1e-12, 1e-10).find(trainer, data, null);
        assertEquals(40, low.points().size());
        assertFalse(low.diverged());
        assertEquals(-1, low.steepest());
        assertTrue(Double.isNaN(low.suggestion()));
        assertThrows(IllegalStateException.class, () -> trainer.fit(data, null), "it is spent");
        assertThrows(
            IllegalStateException.class, () -> LearningRateFinder.of().find(trainer, data, null));
      }
      try (Trainer trainer =
          Trainer.of(TinyData.withoutNorm()).batchSize(50).updates(1).on(device)) {
        List<Point> told = new ArrayList<>();
        Result high = new LearningRateFinder(60, 1e-4, 1e30).find(trainer, data, told::add);
        assertTrue(high.diverged());
        assertTrue(high.points().size() < 60, "points " + high.points().size());
        assertEquals(told, high.points());
        assertTrue(high.points().stream().allMatch(p -> Double.isFinite(p.smoothed())));
      }
      try (Trainer trainer =
          Trainer.of(TinyData.withoutNorm()).batchSize(50).updates(1).on(device)) {
        List<Point> told = new ArrayList<>();
        Result cut =
            LearningRateFinder.of()
                .find(
                    trainer,
                    data,
                    point -> {
                      told.add(point);
                      if (told.size() == 5) {
                        trainer.stop();
                      }
                    });
        assertEquals(5, cut.points().size());
        assertTrue(Double.isNaN(cut.suggestion()));
      }
    }
    assertThrows(IllegalArgumentException.class, () -> new LearningRateFinder(19, 1e-6, 1));
    assertThrows(IllegalArgumentException.class, () -> new LearningRateFinder(20, 0, 1));
    assertThrows(IllegalArgumentException.class, () -> new LearningRateFinder(20, 1, 1));
    assertThrows(IllegalArgumentException.class, () -> new LearningRateFinder(20, 1, 1.0 / 0));
  }
}
