package org.ghostbatch.device;

/**
 * One call of a kernel, or a piece of the engine's own work, on a lane.
 *
 * @param entry place in {@link Engine#profile} of what it is
 * @param lane that ran it, from 0
 * @param begin in nanoseconds, on Linux of the clock of {@link System#nanoTime}
 * @param end likewise
 * @param microBatch number in its step, or -1 for none
 */
public record TraceEvent(int entry, int lane, long begin, long end, long microBatch) {}
