package org.ghostbatch.device;

/**
 * Time of one operation in one direction, summed over micro-batches and lanes.
 *
 * @param name of the operation
 * @param operation number in the network, -1 for the engine's own work
 * @param direction of the pass
 * @param seconds of lane time
 * @param bytes touched at least, for operations bound by memory
 */
public record ProfileEntry(
    String name,
    int operation,
    Direction direction,
    double seconds,
    long calls,
    double flops,
    double bytes) {
  /** Part of a step. */
  public enum Direction {
    FORWARD,
    BACKWARD_DATA,
    BACKWARD_WEIGHTS,
    OTHER
  }
}
