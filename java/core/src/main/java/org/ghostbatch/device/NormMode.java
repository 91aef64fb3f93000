package org.ghostbatch.device;

import org.ghostbatch.binding.GhostBatch;

/** Where batch norm takes its statistics from; each mode has its own backward. */
public enum NormMode {
  /** From each ghost batch; running statistics are updated. */
  TRAIN(GhostBatch.NormMode.train),
  /** From each ghost batch; running statistics stay as they are. */
  BATCH_STATISTICS_WITHOUT_UPDATE(GhostBatch.NormMode.batch_statistics),
  /** Running statistics, constants in the backward pass. */
  RUNNING(GhostBatch.NormMode.running);

  final GhostBatch.NormMode binding;

  NormMode(GhostBatch.NormMode binding) {
    this.binding = binding;
  }
}
