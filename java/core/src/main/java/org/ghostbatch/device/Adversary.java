package org.ghostbatch.device;

import org.ghostbatch.binding.GhostBatch;

/**
 * What a step has to do with the adversary of its inputs: the sign of the gradient of the loss by
 * each input value, 0 where that is 0. An engine keeps it between steps.
 *
 * @see <a href="https://arxiv.org/abs/1412.6572">Goodfellow et al. 2014, arXiv 1412.6572, section 4
 *     (fast gradient sign method)</a>
 */
public enum Adversary {
  /** Nothing. */
  NONE(GhostBatch.Adversary.none),
  /**
   * Keeps the signs, a byte a value; needs an engine made with the gradient of its input, and
   * {@code backward}.
   */
  RECORD(GhostBatch.Adversary.record),
  /**
   * Moves the inputs along the signs that the last step with {@link #RECORD} kept, of the same rows
   * in the same order, by {@link StepSpec#adversaryEpsilon}.
   */
  APPLY(GhostBatch.Adversary.apply);

  final GhostBatch.Adversary binding;

  Adversary(GhostBatch.Adversary binding) {
    this.binding = binding;
  }
}
