package org.ghostbatch.analysis;

import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Lanes;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;

/**
 * A function f on R^n with its gradient, around a point that analyses start from. Points and
 * gradients are f64 tensors [n] of its device. The loss of a network is {@link NetworkLoss}.
 */
public interface Objective {
  /** n. */
  long dimension();

  /** The point that is analysed, not to be written. */
  Tensor start();

  /** f(x). */
  double value(Tensor x);

  /** Writes the gradient at x to {@code gradient} and gives f(x). */
  double gradient(Tensor x, Tensor gradient);

  /** Gradients so far: the unit that analyses cost. */
  long gradients();

  /** The type that f is computed in. */
  DataType precision();

  /** Where its points lie. */
  Device device();

  /** The lanes that analyses may use; they belong to this objective. */
  Lanes lanes();

  /** Kernels for points, on these lanes; they belong to this objective. */
  VectorKernels vectors();

  /** A new point, zero; the caller closes it. */
  default Tensor vector() {
    return device().tensor(DataType.F64, dimension());
  }
}
