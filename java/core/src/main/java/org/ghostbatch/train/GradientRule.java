package org.ghostbatch.train;

import org.ghostbatch.device.Device;
import org.ghostbatch.device.Engine;
import org.ghostbatch.device.VectorKernels;

/**
 * How an update makes the gradients that its optimizer follows from those of its batch. What a rule
 * keeps lasts for one update: a checkpoint holds none of it. Same bits on any number of threads.
 */
sealed interface GradientRule extends AutoCloseable
    permits GradientRule.Plain, SharpnessAware, Proximal, Adversarial {
  /** The gradient of the batch as it is. */
  record Plain() implements GradientRule {
    @Override
    public void gradient(BatchPass batch, int step) {
      batch.first(0, batch.count());
    }

    @Override
    public void close() {}
  }

  /**
   * What a spec asks for.
   *
   * @param vectors of the run, as the engine; both stay the caller's
   */
  static GradientRule of(TrainingSpec spec, Device device, VectorKernels vectors, Engine engine) {
    if (spec.sam() > 0 || spec.asam() > 0) {
      return new SharpnessAware(spec, device, vectors, engine);
    }
    if (spec.proximal() > 0) {
      return new Proximal(spec, device, vectors, engine);
    }
    return spec.adversarial() > 0 ? new Adversarial(device, vectors, engine) : new Plain();
  }

  /** Steps that the optimizer makes in an update, each with a gradient of its own. */
  default int steps() {
    return 1;
  }

  /**
   * Makes the engine's gradients those that step {@code step} of the update, from 0, follows. The
   * parameters keep their bits, and the first step makes the batch's first pass.
   */
  void gradient(BatchPass batch, int step);

  @Override
  void close();
}
