package org.ghostbatch.analysis;

import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Lanes;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;

/** f(x) = f0 + g'(x - s) + (x - s)'D(x - s) / 2 + lambda (v'(x - s))^2 / 2, around its start s. */
final class Quadratic implements Objective, AutoCloseable {
  final double value;
  final double[] at;
  final double[] slope;
  final double[] diagonal;
  final double[] v;
  final double lambda;
  private final Device device;
  private final Lanes lanes;
  private final VectorKernels vectors;
  private final Tensor start;
  private long gradients;

  Quadratic(
      Device device,
      double value,
      double[] at,
      double[] slope,
      double[] diagonal,
      double[] v,
      double lambda) {
    this.device = device;
    this.value = value;
    this.at = at;
    this.slope = slope;
    this.diagonal = diagonal;
    this.v = v;
    this.lambda = lambda;
    this.lanes = device.lanes(1);
    this.vectors = device.vectors(lanes);
    this.start = vector();
    start.copyFrom(at);
  }

  @Override
  public long dimension() {
    return at.length;
  }

  @Override
  public Tensor start() {
    return start;
  }

  @Override
  public double value(Tensor x) {
    return both(x.toDoubles(), new double[at.length]);
  }

  @Override
  public double gradient(Tensor x, Tensor gradient) {
    gradients++;
    double[] found = new double[at.length];
    double f = both(x.toDoubles(), found);
    gradient.copyFrom(found);
    return f;
  }

  private double both(double[] x, double[] gradient) {
    double along = 0;
    for (int i = 0; i < x.length; i++) {
      along += v[i] * (x[i] - at[i]);
    }
    double f = value + lambda * along * along / 2;
    for (int i = 0; i < x.length; i++) {
      double d = x[i] - at[i];
      f += slope[i] * d + diagonal[i] * d * d / 2;
      gradient[i] = slope[i] + diagonal[i] * d + lambda * along * v[i];
    }
    return f;
  }

  @Override
  public long gradients() {
    return gradients;
  }

  @Override
  public DataType precision() {
    return DataType.F64;
  }

  @Override
  public Device device() {
    return device;
  }

  @Override
  public Lanes lanes() {
    return lanes;
  }

  @Override
  public VectorKernels vectors() {
    return vectors;
  }

  @Override
  public void close() {
    start.close();
    vectors.close();
    lanes.close();
  }
}
