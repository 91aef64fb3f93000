package org.ghostbatch.device;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.ghostbatch.random.Philox;
import org.ghostbatch.random.Purpose;
import org.junit.jupiter.api.Test;

class SignMatrixTest {
  private static final long SEED = 0xFEDCBA9876543210L;

  /** A [rows, columns] by the numbers of Java's own generator. */
  private static double[][] elements(int rows, int columns, long seed) {
    double[][] elements = new double[rows][columns];
    int[] words = new int[4];
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        Philox.words(seed, Purpose.PROBE.stream(0), i, 0, 2 + j / 128, words);
        elements[i][j] = (words[j % 128 / 32] >>> j % 32 & 1) == 1 ? 1 : -1;
      }
    }
    return elements;
  }

  private static double[] values(int length, int number) {
    double[] values = new double[length];
    Philox.gaussian(7, Purpose.NOISE.stream(number), 0, values);
    return values;
  }

  private static Tensor of(Device device, double... values) {
    Tensor tensor = device.tensor(DataType.F64, values.length);
    tensor.copyFrom(values);
    return tensor;
  }

  @Test
  void columnsAreThoseOfJavasPhilox() {
    int rows = 70;
    int columns = 260;
    double[][] elements = elements(rows, columns, SEED);
    try (Device device = Device.of("cpu");
        SignMatrix matrix = device.signMatrix(rows, columns, SEED)) {
      assertEquals(rows, matrix.rows());
      assertEquals(columns, matrix.columns());
      double[] y = new double[columns];
      for (int j = 0; j < columns; j++) {
        double[] column = new double[rows];
        for (int i = 0; i < rows; i++) {
          column[i] = elements[i][j];
        }
        Tensor x = of(device, new double[rows]);
        y[j] = 1;
        matrix.multiply(null, y, x);
        assertArrayEquals(column, x.toDoubles(), "column " + j);
        y[j] = 0;
      }
    }
  }

  @Test
  void theTransposedIsAdjoint() {
    int rows = 70_001;
    int columns = 100;
    double[] from = values(columns, 0);
    double[] to = values(rows, 1);
    try (Device device = Device.of("cpu");
        Lanes lanes = device.lanes(2);
        VectorKernels vectors = device.vectors(lanes);
        SignMatrix matrix = device.signMatrix(rows, columns, SEED)) {
      Tensor product = of(device, new double[rows]);
      matrix.multiply(lanes, from, product);
      double[] transposed = new double[columns];
      matrix.multiplyTransposed(lanes, of(device, to), transposed);
      double expected = 0;
      double scale = 0;
      for (int j = 0; j < columns; j++) {
        expected += transposed[j] * from[j];
        scale += Math.abs(transposed[j] * from[j]);
      }
      assertEquals(expected, vectors.dot(product, of(device, to)), 1e-12 * scale);
      Tensor twice = of(device, product.toDoubles());
      matrix.multiply(null, from, twice);
      vectors.axpy(-2, product, twice);
      assertEquals(0, vectors.maxAbs(twice), "x += A y, on any lanes");
      double[] again = new double[columns];
      matrix.multiplyTransposed(null, of(device, to), again);
      assertArrayEquals(transposed, again);
    }
  }

  @Test
  void gramIsExact() {
    int rows = 1001;
    int columns = 131;
    double[][] elements = elements(rows, columns, 3);
    double[] expected = new double[columns * columns];
    for (double[] row : elements) {
      for (int i = 0; i < columns; i++) {
        for (int j = 0; j < columns; j++) {
          expected[i * columns + j] += row[i] * row[j];
        }
      }
    }
    try (Device device = Device.of("cpu");
        Lanes lanes = device.lanes(2);
        SignMatrix matrix = device.signMatrix(rows, columns, 3)) {
      assertArrayEquals(expected, matrix.gram(null));
      assertArrayEquals(expected, matrix.gram(lanes));
    }
  }

  @Test
  void refusesBadArguments() {
    try (Device device = Device.of("cpu");
        Device other = Device.of("reference");
        Lanes foreign = other.lanes(1)) {
      refused("rows in [1, 281474976710656], got 0", () -> device.signMatrix(0, 1, 1));
      refused("columns in [1, 1024], got 1025", () -> device.signMatrix(1, 1025, 1));
      SignMatrix matrix = device.signMatrix(8, 3, 1);
      Tensor x = of(device, new double[8]);
      refused("y, got null", () -> matrix.multiply(null, null, x));
      refused("y of 3 doubles, got 4", () -> matrix.multiply(null, new double[4], x));
      refused("y of 3 doubles, got 2", () -> matrix.multiplyTransposed(null, x, new double[2]));
      refused("x, got null", () -> matrix.multiply(null, new double[3], null));
      Tensor floats = device.tensor(DataType.F32, 8);
      refused("x of 8 f64", () -> matrix.multiply(null, new double[3], floats));
      Tensor longer = of(device, new double[9]);
      refused("x of 8 f64", () -> matrix.multiplyTransposed(null, longer, new double[3]));
      Tensor elsewhere = of(other, new double[8]);
      refused("x on its own device (cpu)", () -> matrix.multiply(null, new double[3], elsewhere));
      refused("lanes of its own device", () -> matrix.multiply(foreign, new double[3], x));
      refused("lanes of its own device", () -> matrix.gram(foreign));
      matrix.multiply(null, new double[3], x);
      matrix.close();
      assertThrows(IllegalStateException.class, () -> matrix.gram(null));
    }
  }

  private static void refused(String part, Runnable call) {
    IllegalArgumentException e = assertThrows(IllegalArgumentException.class, call::run);
    assertTrue(e.getMessage().startsWith("[sign_matrix] needs "), e.getMessage());
    assertTrue(e.getMessage().contains(part), e.getMessage());
  }
}
