/**
 * GhostBatch and libtorch side by side: the same training, and a worker that measures libtorch's
 * kernels and steps. Only in profile peers.
 */
package org.ghostbatch.benchmarks.peers;
