package org.ghostbatch.benchmarks;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import org.junit.jupiter.api.Test;

/** That the benchmarks measure what they say; nothing is timed here. */
class BindingBenchmarkTest {
  @Test
  void callsDoTheirWork() {
    var benchmark = new BindingBenchmark();
    benchmark.setUp();
    try {
      benchmark.relu();
      benchmark.interpolate();
      float[] relu = {0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7};
      float[] half = new float[16];
      for (int i = 0; i < half.length; i++) {
        half[i] = 0.5f * (i - 8) + 0.5f * relu[i];
      }
      assertArrayEquals(relu, benchmark.y.toFloats());
      assertArrayEquals(half, benchmark.z.toFloats());
    } finally {
      benchmark.tearDown();
    }
  }
}
