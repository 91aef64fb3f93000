package org.ghostbatch.analysis;

import org.ghostbatch.device.Tensor;

/**
 * An eigenvalue of the Hessian and its unit eigenvector.
 *
 * @param residual ||H v - value v||, by a product of its own: an eigenvalue lies within it of
 *     {@code value}
 */
public record Eigenpair(double value, double residual, Tensor vector) {}
