package org.ghostbatch.train;

import org.ghostbatch.device.Device;
import org.ghostbatch.device.Engine;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;

/**
 * Conservative training: an update goes to about argmin_x f(x) + lambda / 2 ||x - x_k||^2, for f
 * the loss of its batch and x_k where it began. It is found by some steps of the optimizer on the
 * same batch, with the gradients g(x) + lambda (x - x_k); the optimizer's state lives on from step
 * to step and from update to update. All steps have the same samples, augmentation and dropout, and
 * the first alone enters batch norm's running statistics.
 *
 * <p>Cost: a pass over the batch for each step, and one vector as long as the parameters. Same bits
 * on any number of threads.
 *
 * @see <a href="https://arxiv.org/abs/1609.04836">Keskar et al. 2017, arXiv 1609.04836, Appendix
 *     E</a>
 * @see <a href="https://doi.org/10.1145/2623330.2623612">Li et al. 2014</a>
 */
final class Proximal implements GradientRule {
  private final VectorKernels vectors;
  private final Engine engine;
  private final double lambda;
  private final int steps;
  private final Tensor start;

  /**
   * @param vectors of the run, as the engine; both stay the caller's
   */
  Proximal(TrainingSpec spec, Device device, VectorKernels vectors, Engine engine) {
    this.vectors = vectors;
    this.engine = engine;
    this.lambda = spec.proximal();
    this.steps = spec.proximalSteps();
    this.start = device.tensor(engine.parameters().type(), engine.parameters().elements());
  }

  @Override
  public int steps() {
    return steps;
  }

  @Override
  public void gradient(BatchPass batch, int step) {
    if (step == 0) {
      vectors.copy(engine.parameters(), start);
      batch.first(0, batch.count()); // x is x_k: nothing pulls yet
      return;
    }
    batch.again(0, batch.count());
    vectors.axpy(lambda, engine.parameters(), engine.gradients());
    vectors.axpy(-lambda, start, engine.gradients());
  }

  @Override
  public void close() {
    start.close();
  }
}
