package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class ClassificationMetricsTest {
  @Test
  void refusesWhatDoesNotFit() {
    assertThrows(
        IllegalArgumentException.class, () -> ClassificationMetrics.of(2, new int[2], new int[1]));
    assertThrows(
        IllegalArgumentException.class,
        () -> ClassificationMetrics.of(2, new int[] {2}, new int[] {0}));
    assertThrows(
        IllegalArgumentException.class,
        () -> ClassificationMetrics.of(2, new int[] {0}, new int[] {-1}));
    assertThrows(
        IllegalArgumentException.class, () -> ClassificationMetrics.of(0, new int[0], new int[0]));
    assertThrows(
        IllegalArgumentException.class,
        () -> ClassificationMetrics.of(2, 3, new int[1], new float[2]));
    assertThrows(
        IllegalArgumentException.class,
        () -> ClassificationMetrics.of(2, 1, new int[2], new float[3]));
    assertThrows(
        IllegalArgumentException.class,
        () -> new ClassificationMetrics(List.of(List.of(1L), List.of(1L)), 1, 0));
    assertThrows(
        IllegalArgumentException.class,
        () -> new ClassificationMetrics(List.of(List.of(-1L)), 1, 0));
    assertThrows(
        IllegalArgumentException.class,
        () -> new ClassificationMetrics(List.of(List.of(1L)), 1, 2));
  }

  @Test
  void countsByHand() {
    var metrics =
        ClassificationMetrics.of(
            3, new int[] {0, 0, 0, 0, 1, 1, 2, 2, 2, 2}, new int[] {0, 0, 1, 2, 1, 0, 2, 2, 2, 0});
    assertEquals(
        List.of(List.of(2L, 1L, 1L), List.of(1L, 1L, 0L), List.of(1L, 0L, 3L)),
        metrics.confusion());
    assertEquals(10, metrics.samples());
    assertEquals(0.6, metrics.accuracy());
    assertEquals(0.6, metrics.topKAccuracy());
    assertEquals(0.5, metrics.precision(0));
    assertEquals(0.5, metrics.recall(0));
    assertEquals(0.75, metrics.precision(2));
    assertEquals(0.75, metrics.f1(2), 1e-15);
    assertEquals((0.5 + 0.5 + 0.75) / 3, metrics.macroF1(), 1e-15);
  }

  @Test
  void emptyClassesAndNoSamplesGiveZero() {
    var metrics = ClassificationMetrics.of(3, new int[] {0}, new int[] {0});
    assertEquals(0, metrics.precision(2));
    assertEquals(0, metrics.recall(2));
    assertEquals(1.0 / 3, metrics.macroF1());
    var none = ClassificationMetrics.of(2, new int[0], new int[0]);
    assertEquals(0, none.accuracy());
    assertEquals(0, none.topKAccuracy());
  }

  @Test
  void topKTakesTiesAndNotANumberAsDocumented() {
    float nan = Float.NaN;
    float[] logits = {1, 1, 1, /* */ 0, 2, 1, /* */ nan, 0, -1, /* */ nan, nan, nan};
    int[] labels = {1, 2, 0, 0};
    assertEquals(
        List.of(List.of(1L, 1L, 0L), List.of(1L, 0L, 0L), List.of(0L, 1L, 0L)),
        ClassificationMetrics.of(3, 1, labels, logits).confusion());
    assertEquals(0.25, ClassificationMetrics.of(3, 1, labels, logits).topKAccuracy());
    assertEquals(0.75, ClassificationMetrics.of(3, 2, labels, logits).topKAccuracy());
    assertEquals(1, ClassificationMetrics.of(3, 3, labels, logits).topKAccuracy());
  }

  @Test
  void topOneIsAccuracyAndBatchesAdd() {
    var random = new Random(4);
    for (int round = 0; round < 50; round++) {
      int classes = 1 + random.nextInt(12);
      int n = random.nextInt(100);
      int[] labels = random.ints(n, 0, classes).toArray();
      float[] logits = new float[n * classes];
      for (int i = 0; i < logits.length; i++) {
        logits[i] = random.nextInt(5);
      }
      var whole = ClassificationMetrics.of(classes, 1, labels, logits);
      assertEquals(whole.accuracy(), whole.topKAccuracy());
      assertEquals(
          n == 0 ? 0 : 1,
          ClassificationMetrics.of(classes, classes, labels, logits).topKAccuracy());
      var counter = new ClassificationMetrics.Counter(classes, 1);
      for (int i = 0; i < n; i++) {
        float[] row = Arrays.copyOfRange(logits, i * classes, (i + 1) * classes);
        counter.add(new int[] {labels[i]}, 1, row);
      }
      assertEquals(whole, counter.result());
    }
  }
}
