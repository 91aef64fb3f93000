package org.ghostbatch.train;

import org.ghostbatch.device.Device;
import org.ghostbatch.device.Engine;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;

/**
 * Adversarial training by the fast gradient sign method: the gradient of alpha J(w, x) + (1 -
 * alpha) J(w, x + epsilon sign(grad_x J(w, x))), for alpha = 1/2, J the loss of the batch with the
 * factors of its samples, and the sign taken as a constant.
 *
 * <p>Epsilon is in units of the input before mean and standard deviation are taken out: for bytes
 * the range 0..255 is 1, floats count as they are. What the network sees moves by epsilon / std of
 * its channel, and is not clamped to the range of the data. The image that moves is the augmented
 * one, what was filled in around it too. Both passes have the same augmentation and dropout; the
 * first alone enters batch norm's running statistics, and its losses are those reported.
 *
 * <p>Cost: two passes over the batch, the first with the gradient of the input; one vector as long
 * as the parameters, and a byte for each input value of the batch. Same bits on any number of
 * threads.
 *
 * @see <a href="https://arxiv.org/abs/1412.6572">Goodfellow et al. 2014, arXiv 1412.6572, section
 *     6</a>
 * @see <a href="https://arxiv.org/abs/1609.04836">Keskar et al. 2017, arXiv 1609.04836, Appendix
 *     E</a>
 */
final class Adversarial implements GradientRule {
  /** Of the loss at the inputs as they are, as in all experiments of Goodfellow et al. */
  private static final double ALPHA = 0.5;

  private final VectorKernels vectors;
  private final Engine engine;
  private final Tensor clean;

  /**
   * @param vectors of the run, as the engine, which is made with the gradient of its input; both
   *     stay the caller's
   */
  Adversarial(Device device, VectorKernels vectors, Engine engine) {
    this.vectors = vectors;
    this.engine = engine;
    this.clean = device.tensor(engine.parameters().type(), engine.parameters().elements());
  }

  @Override
  public void gradient(BatchPass batch, int step) {
    Tensor gradient = engine.gradients();
    batch.firstWithAdversary();
    vectors.copy(gradient, clean);
    batch.adversarial();
    vectors.interpolate(ALPHA, gradient, clean, gradient);
  }

  @Override
  public void close() {
    clean.close();
  }
}
