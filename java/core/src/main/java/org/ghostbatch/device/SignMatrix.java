package org.ghostbatch.device;

/**
 * A matrix A [rows, columns] of random signs, drawn again for every product and never stored: a
 * random subspace of the space of parameters, as Metric 2.1 of Keskar et al. (2017, arXiv
 * 1609.04836) takes one.
 *
 * <p>Element (i, j) is +1 where bit j % 32 of {@link org.ghostbatch.random.Philox} word j % 128 /
 * 32 at counter (PROBE stream 0, i low, i high, 2 + j / 128) is set, else -1. Sums are formed in
 * double over fixed blocks of rows combined in order: results have the same bits for any number of
 * lanes. A product costs rows * columns / 8 additions, and one Philox for every 128 signs of a row.
 */
public final class SignMatrix extends NativeObject {
  private static final int MAX_COLUMNS = 1024;

  private final org.ghostbatch.binding.SignMatrix binding;
  private final long rows;
  private final int columns;

  private SignMatrix(
      Device device, org.ghostbatch.binding.SignMatrix binding, long rows, int columns) {
    super(device, "sign_matrix", binding);
    this.binding = binding;
    this.rows = rows;
    this.columns = columns;
  }

  static SignMatrix create(Device device, long rows, int columns, long seed) {
    Check.range("sign_matrix", "rows", rows, 1, 1L << 48);
    Check.range("sign_matrix", "columns", columns, 1, MAX_COLUMNS);
    if (!device.hostMemory()) {
      throw Check.bad("sign_matrix", "a device whose tensors are host memory", device.name());
    }
    try {
      return new SignMatrix(
          device, org.ghostbatch.binding.SignMatrix.create(rows, columns, seed), rows, columns);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    }
  }

  public long rows() {
    return rows;
  }

  public int columns() {
    return columns;
  }

  /**
   * x += A y.
   *
   * @param lanes where it runs; null: on the calling thread
   * @param y [columns]
   * @param x f64 [rows]
   */
  public void multiply(Lanes lanes, double[] y, Tensor x) {
    check(y);
    begin();
    try {
      long view = useExactly("x", x, DataType.F64, rows);
      binding.multiply(use(lanes), y, view);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /**
   * y = A'x.
   *
   * @param lanes where it runs; null: on the calling thread
   * @param x f64 [rows]
   * @param y [columns]
   */
  public void multiplyTransposed(Lanes lanes, Tensor x, double[] y) {
    check(y);
    begin();
    try {
      long view = useExactly("x", x, DataType.F64, rows);
      binding.multiply_transposed(use(lanes), view, y);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /**
   * A'A [columns, columns], exactly. Costs rows * columns^2 / 128 counts of bits in words.
   *
   * @param lanes where it runs; null: on the calling thread
   */
  public double[] gram(Lanes lanes) {
    double[] gram = new double[columns * columns];
    begin();
    try {
      binding.gram(use(lanes), gram);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
    return gram;
  }

  private void check(double[] y) {
    if (Check.present(kind, "y", y).length != columns) {
      throw Check.bad(kind, "y of " + columns + " doubles", y.length);
    }
  }

  private org.ghostbatch.binding.Lanes use(Lanes lanes) {
    if (lanes == null) {
      return null;
    }
    if (lanes.device() != device) {
      throw Check.bad(kind, "lanes of its own device", "those of another");
    }
    use(lanes.handle);
    return lanes.binding;
  }
}
