package org.ghostbatch.train;

import org.ghostbatch.device.Device;
import org.ghostbatch.device.Engine;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;

/**
 * Sharpness-aware minimization: the gradient at w + e, where the loss is about the largest near w.
 *
 * <p>SAM: e = rho g / (||g|| + 1e-12), for g the gradient at w and the norm over all parameters.
 * ASAM measures nearness in the scale of each parameter, biases too: e = rho T^2 g / (||T g|| +
 * 1e-12), T = diag(|w| + 0.01). Both gradients are of the same samples, augmentation and dropout;
 * the second pass leaves batch norm's running statistics as they are, and w gets its bits back.
 *
 * <p>With a group size M a batch is cut into groups of at most M samples, each of whole ghosts and
 * their numbers differing by at most one. Each group has an e of its own (m-sharpness), and the
 * gradients are averaged by samples.
 *
 * <p>Cost: two passes over the batch; one vector as long as the parameters, and another with
 * groups. Same bits on any number of threads.
 *
 * @see <a href="https://arxiv.org/abs/2010.01412">Foret et al. 2021, arXiv 2010.01412, Algorithm 1
 *     and section 4.1 (m-sharpness)</a>
 * @see <a href="https://arxiv.org/abs/2102.11600">Kwon et al. 2021, arXiv 2102.11600, Algorithm
 *     1</a>
 */
final class SharpnessAware implements GradientRule {
  /** Added to |w|, so that parameters near 0 move too: eta of Kwon et al. */
  private static final double ETA = 0.01;

  /** Added to norms, as a gradient may be zero. */
  private static final double LEAST_NORM = 1e-12;

  private final VectorKernels vectors;
  private final Engine engine;
  private final boolean adaptive;
  private final double rho;
  private final int ghost; // 1 where there are none
  private final int ghostsOfGroup;
  private final Tensor kept;
  private final Tensor sum; // null without groups

  /**
   * @param vectors of the run, as the engine; both stay the caller's
   */
  SharpnessAware(TrainingSpec spec, Device device, VectorKernels vectors, Engine engine) {
    this.vectors = vectors;
    this.engine = engine;
    this.adaptive = spec.asam() > 0;
    this.rho = adaptive ? spec.asam() : spec.sam();
    this.ghost = Math.max(1, spec.ghost());
    this.ghostsOfGroup = spec.samGroup() == 0 ? Integer.MAX_VALUE : spec.samGroup() / ghost;
    Tensor w = engine.parameters();
    this.kept = device.tensor(w.type(), w.elements());
    try {
      this.sum = spec.samGroup() == 0 ? null : device.tensor(w.type(), w.elements());
    } catch (RuntimeException e) {
      kept.close();
      throw e;
    }
  }

  @Override
  public void gradient(BatchPass batch, int step) {
    int count = batch.count();
    int ghosts = (count - 1) / ghost + 1;
    int groups = (ghosts - 1) / ghostsOfGroup + 1;
    if (groups > 1) {
      vectors.fill(0, sum);
    }
    for (int group = 0; group < groups; group++) {
      int from = begin(begin(group, groups, ghosts), ghosts, count);
      int to = begin(begin(group + 1, groups, ghosts), ghosts, count);
      if (!perturbed(batch, from, to)) {
        return;
      }
      if (groups > 1) {
        vectors.axpy((double) (to - from) / count, engine.gradients(), sum);
      }
    }
    if (groups > 1) {
      vectors.copy(sum, engine.gradients());
    }
  }

  /** Where a part begins of {@code of} things cut as the engine cuts ghosts: longer parts first. */
  private static int begin(int part, int parts, int of) {
    return part * (of / parts) + Math.min(part, of % parts);
  }

  /**
   * The gradient of rows [from, to) at w + e; or that at w, where it is not finite and so tells the
   * trainer which layer went wrong.
   *
   * @return whether it is that at w + e
   */
  private boolean perturbed(BatchPass batch, int from, int to) {
    Tensor w = engine.parameters();
    Tensor gradient = engine.gradients();
    batch.first(from, to);
    if (adaptive) {
      vectors.scaleByMagnitude(ETA, w, gradient); // T g
    }
    double norm = vectors.norm(gradient);
    if (!Double.isFinite(norm)) {
      return false;
    }
    if (adaptive) {
      vectors.scaleByMagnitude(ETA, w, gradient); // T^2 g
    }
    vectors.copy(w, kept);
    vectors.axpy(rho / (norm + LEAST_NORM), gradient, w);
    engine.parametersChanged();
    try {
      batch.again(from, to);
    } finally {
      vectors.copy(kept, w); // w + e - e would not have its bits
      engine.parametersChanged();
    }
    return true;
  }

  @Override
  public void close() {
    kept.close();
    if (sum != null) {
      sum.close();
    }
  }
}
