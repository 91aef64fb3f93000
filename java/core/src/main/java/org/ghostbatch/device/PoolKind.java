package org.ghostbatch.device;

import org.ghostbatch.binding.GhostBatch;

/** What a pooling window yields. */
public enum PoolKind {
  /** The largest value; a NaN wins. */
  MAX(GhostBatch.PoolKind.max),
  /** The mean of the cells inside the image. */
  AVERAGE(GhostBatch.PoolKind.average);

  final GhostBatch.PoolKind binding;

  PoolKind(GhostBatch.PoolKind binding) {
    this.binding = binding;
  }
}
