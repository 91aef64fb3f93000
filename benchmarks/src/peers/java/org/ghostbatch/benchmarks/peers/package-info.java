/** The same training with GhostBatch and with libtorch, side by side. Only in profile peers. */
package org.ghostbatch.benchmarks.peers;
