package org.ghostbatch.nn;

/**
 * Running statistics of one batch norm: a slice of the vector of statistics, mean [C], then
 * variance [C].
 *
 * @param name of the layer, as in {@code 1}; files add {@code .running_mean} and {@code
 *     .running_var}
 */
public record Statistics(String name, long offset, int channels) {}
