package org.ghostbatch.device;

import org.ghostbatch.binding.GhostBatch;

/** What a call of {@link Lbfgsb#advance} came to. */
public enum LbfgsbStatus {
  /** x is the next point of a line search. */
  EVALUATE(GhostBatch.LbfgsbStatus.evaluate, false),
  /** The point was taken as the next iterate; x is the first point of the search from there. */
  ITERATED(GhostBatch.LbfgsbStatus.iterated, false),
  /** The projected gradient is at most pgtol; x is the last iterate, the best point. */
  CONVERGED_GRADIENT(GhostBatch.LbfgsbStatus.converged_gradient, true),
  /** The value fell by less than factr asks for; x is the last iterate. */
  CONVERGED_VALUE(GhostBatch.LbfgsbStatus.converged_value, true),
  /** No better point, also after the pairs were dropped; x is the last iterate. */
  LINE_SEARCH_FAILED(GhostBatch.LbfgsbStatus.line_search_failed, true);

  private static final LbfgsbStatus[] ALL = values();

  private final int number;
  private final boolean end;

  LbfgsbStatus(GhostBatch.LbfgsbStatus binding, boolean end) {
    this.number = binding.value;
    this.end = end;
  }

  /** Whether there is nothing left to evaluate. */
  public boolean isEnd() {
    return end;
  }

  static LbfgsbStatus of(GhostBatch.LbfgsbStatus binding) {
    for (LbfgsbStatus status : ALL) {
      if (status.number == binding.value) {
        return status;
      }
    }
    throw Check.bad("lbfgsb", "a status", binding.value);
  }
}
