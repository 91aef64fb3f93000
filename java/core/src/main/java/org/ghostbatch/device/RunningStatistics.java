package org.ghostbatch.device;

import java.util.Locale;
import org.ghostbatch.binding.GhostBatch;

/** How the K ghosts of a batch move the running statistics r; m is the weight of the new. */
public enum RunningStatistics {
  /** r = (1 - m) r + m s_k for k = 1..K in order (Hoffer's code). */
  SEQUENTIAL(GhostBatch.RunningStatistics.sequential),
  /** r = (1 - m) r + m mean(s_k) (Keras). */
  AVERAGED(GhostBatch.RunningStatistics.averaged),
  /** As sequential with m / K. */
  SCALED(GhostBatch.RunningStatistics.scaled),
  /** r = (1 - m) r + m s, with s of the whole batch by the law of total variance. */
  TOTAL(GhostBatch.RunningStatistics.total);

  final GhostBatch.RunningStatistics binding;

  RunningStatistics(GhostBatch.RunningStatistics binding) {
    this.binding = binding;
  }

  /** The name that the command line and {@code config.json} use: {@code sequential}, ... */
  @Override
  public String toString() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** The policy called {@code sequential}, {@code averaged}, {@code scaled} or {@code total}. */
  public static RunningStatistics of(String name) {
    for (RunningStatistics policy : values()) {
      if (policy.toString().equals(name)) {
        return policy;
      }
    }
    throw Check.bad("running statistics", "sequential, averaged, scaled or total", name);
  }
}
