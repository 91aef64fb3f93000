/** Measures GhostBatch, and peers beside it: {@link org.ghostbatch.benchmarks.Bench}. */
package org.ghostbatch.benchmarks;
