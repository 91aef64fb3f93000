package org.ghostbatch.data;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;

class StrokesTest {
  // Any change of these is a new version of the data.
  private static final String TRAIN =
      "9394e84b63a721454e291836c8902941e12c9d3ecce0670bb4eedf53974e3972";
  private static final String TEST =
      "25f37e320e3a4b2268c4713b5247b426cc6f13f03e06ce1ead5214b10d463e32";

  @Test
  void hasTheBytesThatEveryJvmDraws() {
    assertEquals("strokes-1", Strokes.VERSION);
    assertEquals(TRAIN, Strokes.train().fingerprint());
    assertEquals(TEST, Strokes.test().fingerprint());
  }

  @Test
  void hasTheDocumentedShape() {
    DataPair pair = Datasets.load("strokes");
    assertEquals(6_000, pair.train().count());
    assertEquals(10_000, pair.test().count());
    assertEquals(new SampleShape(28, 28, 1), pair.train().shape());
    assertEquals(10, pair.train().classes());
    int[] counts = new int[10];
    for (int i = 0; i < 6_000; i++) {
      counts[pair.train().label(i)]++;
    }
    for (int count : counts) {
      assertEquals(600, count);
    }
  }

  @Test
  void isDrawnInUnderTwoSeconds() {
    var threads = ManagementFactory.getThreadMXBean();
    assumeTrue(threads.isCurrentThreadCpuTimeSupported(), "no clock of this thread's own time");
    long start = threads.getCurrentThreadCpuTime();
    Strokes.train();
    Strokes.test();
    assertTrue(threads.getCurrentThreadCpuTime() - start < 2_000_000_000L);
  }

  @Test
  void noImageComesTwice() {
    Set<ByteBuffer> images = new HashSet<>();
    for (Dataset data : List.of(Strokes.train(), Strokes.test())) {
      for (int i = 0; i < data.count(); i++) {
        ByteBuffer image = ByteBuffer.allocate(784);
        data.read(new int[] {i}, 0, 1, image);
        assertTrue(images.add(image.flip()), "sample " + i);
      }
    }
  }

  @Test
  void normalizationIsThatOfTheTrainingSet() {
    Dataset train = Strokes.train();
    Normalization measured = Normalization.measure(train);
    assertEquals(measured.mean().get(0), train.normalization().mean().get(0), 5e-5);
    assertEquals(measured.std().get(0), train.normalization().std().get(0), 5e-5);
  }
}
