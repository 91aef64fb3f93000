package org.ghostbatch.train;

import java.util.List;

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
   * While a data set is evaluated, from time to time.
   *
   * @param done samples evaluated, from 0
   * @param of all of them
   */
  default void onEvaluation(Trainer trainer, int done, int of) {}

  /**
   * After each epoch and its evaluation; also after the part of one in which the run was stopped,
   * not evaluated.
   */
  default void onEpochEnd(Trainer trainer, EpochRow row) {}

  /**
   * While a measure is taken, from time to time.
   *
   * @param measure its name
   * @param what it is doing, as in "Lanczos step"
   * @param of how many of it at most
   */
  default void onMeasuring(Trainer trainer, String measure, String what, long done, long of) {}

  /** After a measure was taken, with its figures; {@link Trainer#measured} has all so far. */
  default void onMeasure(Trainer trainer, List<MeasureRow> rows) {}

  /** At the end, whether finished or stopped. */
  default void onEnd(Trainer trainer, History history) {}

  /**
   * The moment to save {@link Trainer#checkpoint}: as the spec's interval says, and where the run
   * ends or is stopped.
   */
  default void onCheckpoint(Trainer trainer) {}

  /** What checkpoints keep of this listener, or null; given to {@link #restore} on resume. */
  default String state() {
    return null;
  }

  /** Takes what {@link #state} gave, before {@link #onStart}. */
  default void restore(String state) {}
}
