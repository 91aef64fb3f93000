package org.ghostbatch.train;

/** Is told how a training run goes, in the thread that runs it; may call {@link Trainer#stop}. */
public interface TrainingListener {
  /** Before the first update; weights are set, nothing is trained. */
  default void onStart(Trainer trainer) {}

  /**
   * After each update; {@link Trainer#updates}, {@link Trainer#lastLoss} and the like say how it
   * went.
   */
  default void onUpdate(Trainer trainer) {}

  /**
   * After each epoch and its evaluation; also after the part of one in which the run was stopped,
   * not evaluated.
   */
  default void onEpochEnd(Trainer trainer, EpochRow row) {}

  /** At the end, whether finished or stopped. */
  default void onEnd(Trainer trainer, History history) {}
}
