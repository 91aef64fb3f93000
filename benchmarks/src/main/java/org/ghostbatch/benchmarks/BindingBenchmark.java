package org.ghostbatch.benchmarks;

import java.util.concurrent.TimeUnit;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Elementwise;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * What a call costs from Java to a kernel and back, on operands so small that nothing else counts.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
public class BindingBenchmark {
  private Device device;
  private Elementwise elementwise;
  private VectorKernels vectors;
  private Tensor x;
  Tensor y;
  Tensor z;

  @Setup
  public void setUp() {
    device = Device.of("cpu", 1);
    elementwise = device.elementwise(DataType.F32);
    vectors = device.vectors(null);
    x = device.tensor(DataType.F32, 16);
    y = device.tensor(DataType.F32, 16);
    z = device.tensor(DataType.F32, 16);
    float[] values = new float[16];
    for (int i = 0; i < values.length; i++) {
      values[i] = i - 8;
    }
    x.copyFrom(values);
  }

  @TearDown
  public void tearDown() {
    device.close();
  }

  /** Two tensors, 16 floats. */
  @Benchmark
  public void relu() {
    elementwise.relu(x, y, 16);
  }

  /** Three tensors, 16 floats. */
  @Benchmark
  public void interpolate() {
    vectors.interpolate(0.5, x, y, z);
  }
}
