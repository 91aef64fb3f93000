package org.ghostbatch.train;

import java.util.Map;

/**
 * Takes figures of a network between two epochs of its training; those of {@code train --measure}
 * are in {@code org.ghostbatch.analysis.Measures}. It reads the trainer, and changes nothing there:
 * a run has the same bits whether it is measured or not. Figures must not depend on threads or
 * time, so that a resumed run has those of one that never stopped.
 *
 * @see Trainer.Builder#measure
 */
@FunctionalInterface
public interface Measure {
  /** Hears how far a measure is. */
  @FunctionalInterface
  interface Progress {
    /**
     * Called from time to time, as after every pass over the data: where the run is to stop it
     * throws what the measure must let through, after closing what it holds.
     *
     * @param what is being done, as in "Lanczos step"
     * @param of how many of it at most
     */
    void at(String what, long done, long of);
  }

  /**
   * The figures by name, of letters, digits, dots, dashes and underscores; a row calls them {@code
   * MEASURE_FIGURE}. NaN where one is not known.
   *
   * @param trainer between two updates; its lanes are idle
   */
  Map<String, Double> take(Trainer trainer, Progress progress);
}
