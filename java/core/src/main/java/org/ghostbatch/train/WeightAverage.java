package org.ghostbatch.train;

import java.util.List;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;

/**
 * A mean of the weights along a run, kept beside them; the run itself does not see it.
 *
 * <p>EMA: w_e = d w_e + (1 - d) w after every update, from the first weights on: so there is no
 * bias to correct. SWA: the plain mean of the weights at the ends of epochs, w_a = (n w_a + w) / (n
 * + 1). Batch norm's running statistics belong to the weights of the run; those of the mean have to
 * be made anew ({@link Trainer#recomputeStatistics}).
 *
 * <p>Cost: one vector as long as the parameters, and one pass over both. Same bits on any number of
 * threads.
 *
 * @see <a href="https://arxiv.org/abs/1803.05407">Izmailov et al. 2018, arXiv 1803.05407, Algorithm
 *     1 (SWA)</a>
 */
final class WeightAverage implements AutoCloseable {
  private final VectorKernels vectors;
  private final Tensor mean;
  private final double decay;
  private final int from;
  private long count;

  /**
   * @param vectors of the run; it stays the caller's
   * @param decay d of an EMA in (0, 1), or 0 for SWA
   * @param from of SWA: the weights after each epoch behind the first {@code from} count
   * @param first weights before the first update
   */
  private WeightAverage(
      Device device, VectorKernels vectors, double decay, int from, Tensor first) {
    this.vectors = vectors;
    this.decay = decay;
    this.from = from;
    this.mean = device.tensor(first.type(), first.elements());
    vectors.copy(first, mean);
  }

  /** What a spec asks for, starting at the first weights; null where it asks for no mean. */
  static WeightAverage of(TrainingSpec spec, Device device, VectorKernels vectors, Tensor first) {
    return spec.ema() == 0 && spec.swaFrom() < 0
        ? null
        : new WeightAverage(device, vectors, spec.ema(), spec.trainedSwaFrom(), first);
  }

  /** To be called after every update. */
  void afterUpdate(Tensor weights) {
    if (decay > 0) {
      vectors.interpolate(1 - decay, mean, weights, mean);
      count++;
    }
  }

  /** To be called after every whole epoch, with the number of epochs done. */
  void afterEpoch(int epochs, Tensor weights) {
    if (decay == 0 && epochs > from) {
      vectors.interpolate(1.0 / (count + 1), mean, weights, mean);
      count++;
    }
  }

  /** Weights that are in the mean so far; at 0 the mean is the first weights. */
  long count() {
    return count;
  }

  /** Goes on from a checkpoint, whose tensors have been copied to {@link #state}. */
  void count(long count) {
    this.count = count;
  }

  /** The mean, laid out like the parameters. */
  Tensor weights() {
    return mean;
  }

  /** All that a checkpoint has to hold beside {@link #count()}. */
  List<NamedTensor> state() {
    return List.of(new NamedTensor("average", mean));
  }

  @Override
  public void close() {
    mean.close();
  }
}
