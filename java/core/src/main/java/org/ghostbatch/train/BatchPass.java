package org.ghostbatch.train;

import org.ghostbatch.device.Adversary;
import org.ghostbatch.device.Engine;
import org.ghostbatch.device.LossResult;
import org.ghostbatch.device.NormMode;
import org.ghostbatch.device.Samples;
import org.ghostbatch.device.StepSpec;
import org.ghostbatch.device.VectorKernels;

/**
 * Passes of the network over the batch of an update, or a part of it, at the parameters as they are
 * at that moment. All see the same samples with the same augmentation and dropout, and leave the
 * mean gradient of their rows in the engine.
 */
final class BatchPass {
  private final Engine engine;
  private final StepSpec step;
  private final VectorKernels vectors;
  private final LossResult result = new LossResult();
  private Samples samples;
  private int[] rows;
  private int count;
  private float[] factors;
  private double loss;
  private long correct;
  private NoiseScaleEstimator noise; // null for none
  private int[] partRows = new int[0];
  private float[] partFactors = new float[0];

  /**
   * @param step what the passes of an update share, which the caller changes from update to update
   */
  BatchPass(Engine engine, StepSpec step, VectorKernels vectors) {
    this.engine = engine;
    this.step = step;
    this.vectors = vectors;
  }

  /**
   * The next batch: samples[rows[0..count)].
   *
   * @param factors of each sample's loss and gradient, or null for 1
   */
  void batch(Samples samples, int[] rows, int count, float[] factors) {
    this.samples = samples;
    this.rows = rows;
    this.count = count;
    this.factors = factors;
    loss = 0;
    correct = 0;
  }

  /** Has the gradients of first passes measured from here on, or not, for null. */
  void measure(NoiseScaleEstimator noise) {
    this.noise = noise;
    step.partNorms(noise != null);
  }

  /** Rows of the batch. */
  int count() {
    return count;
  }

  /**
   * The first pass over rows [from, to), at the parameters before the update: that of which losses
   * are reported, and whose statistics enter batch norm's running ones.
   */
  void first(int from, int to) {
    first(Adversary.NONE, from, to);
  }

  /** The first pass over the batch, after which {@link #adversarial} knows where losses rise. */
  void firstWithAdversary() {
    first(Adversary.RECORD, 0, count);
  }

  private void first(Adversary adversary, int from, int to) {
    run(NormMode.TRAIN, adversary, from, to);
    loss += result.loss();
    correct += result.correct();
    if (noise != null) {
      double norm = vectors.norm(engine.gradients());
      noise.add(engine.partSquares(), engine.parts(), to - from, norm);
    }
  }

  /** Another pass over rows [from, to), at other parameters. */
  void again(int from, int to) {
    run(NormMode.BATCH_STATISTICS_WITHOUT_UPDATE, Adversary.NONE, from, to);
  }

  /** Another pass over the batch, at inputs moved by the step's epsilon to where losses rise. */
  void adversarial() {
    run(NormMode.BATCH_STATISTICS_WITHOUT_UPDATE, Adversary.APPLY, 0, count);
  }

  private void run(NormMode mode, Adversary adversary, int from, int to) {
    int size = to - from;
    int[] ownRows = rows;
    float[] ownFactors = factors;
    if (from > 0) {
      if (partRows.length < size) {
        partRows = new int[size];
        partFactors = new float[size];
      }
      System.arraycopy(rows, from, partRows, 0, size);
      ownRows = partRows;
      if (factors != null) {
        System.arraycopy(factors, from, partFactors, 0, size);
        ownFactors = partFactors;
      }
    }
    step.mode(mode).adversary(adversary).firstRow(from);
    engine.step(samples, ownRows, size, ownFactors, step, null, null, result);
  }

  /** Sum over the first pass of factor * loss. */
  double loss() {
    return loss;
  }

  /** Rows that the first pass got right. */
  long correct() {
    return correct;
  }
}
