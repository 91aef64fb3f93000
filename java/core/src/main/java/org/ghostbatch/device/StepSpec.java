package org.ghostbatch.device;

/**
 * What may change from step to step of an engine. Made once, changed from step to step; not
 * thread-safe.
 */
public final class StepSpec {
  NormMode mode = NormMode.TRAIN;
  RunningStatistics runningStatistics = RunningStatistics.SEQUENTIAL;
  double momentum = 0.1;
  int ghost;
  boolean backward = true;
  boolean dropout = true;
  boolean augment = true;
  double labelSmoothing;
  long seed = 1;
  long step;
  int firstRow;
  long epoch;
  Adversary adversary = Adversary.NONE;
  double adversaryEpsilon;
  boolean partNorms;

  public StepSpec mode(NormMode mode) {
    this.mode = Check.present("step", "a mode", mode);
    return this;
  }

  public StepSpec runningStatistics(RunningStatistics policy) {
    this.runningStatistics = Check.present("step", "a policy", policy);
    return this;
  }

  /** Weight of new statistics in the running ones, in [0, 1]. */
  public StepSpec momentum(double momentum) {
    this.momentum = momentum;
    return this;
  }

  /** V of this step; 0: the whole batch is one ghost. */
  public StepSpec ghost(int ghost) {
    this.ghost = ghost;
    return this;
  }

  /** False: loss only. */
  public StepSpec backward(boolean backward) {
    this.backward = backward;
    return this;
  }

  /** False: dropout is the identity. */
  public StepSpec dropout(boolean dropout) {
    this.dropout = dropout;
    return this;
  }

  /** False: the loader does not augment. */
  public StepSpec augment(boolean augment) {
    this.augment = augment;
    return this;
  }

  public StepSpec labelSmoothing(double labelSmoothing) {
    this.labelSmoothing = labelSmoothing;
    return this;
  }

  /** Of dropout and augmentation. */
  public StepSpec seed(long seed) {
    this.seed = seed;
    return this;
  }

  /** Number of the update, for dropout. */
  public StepSpec step(long step) {
    this.step = step;
    return this;
  }

  /** Number of the first row, for dropout: a batch in parts draws as the batch in one. */
  public StepSpec firstRow(int row) {
    this.firstRow = row;
    return this;
  }

  /** Number of the epoch, for augmentation. */
  public StepSpec epoch(long epoch) {
    this.epoch = epoch;
    return this;
  }

  public StepSpec adversary(Adversary adversary) {
    this.adversary = Check.present("step", "an adversary", adversary);
    return this;
  }

  /**
   * How far {@link Adversary#APPLY} moves inputs, finite and >= 0: in units of src * scale of
   * {@link LoadSpec}, so that what the network sees moves by epsilon / std[c]. Nothing is clamped
   * to the range of the data.
   */
  public StepSpec adversaryEpsilon(double epsilon) {
    this.adversaryEpsilon = epsilon;
    return this;
  }

  /** Whether to take the norms of the parts' gradients, for {@link Engine#partSquares}. */
  public StepSpec partNorms(boolean partNorms) {
    this.partNorms = partNorms;
    return this;
  }
}
