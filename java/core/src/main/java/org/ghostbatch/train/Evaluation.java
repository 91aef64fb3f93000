package org.ghostbatch.train;

/**
 * How a network does on a data set, with running statistics, without dropout and augmentation.
 *
 * @param loss mean cross-entropy, natural logarithm, without label smoothing
 * @param accuracy in 0..1
 * @param samples number of samples
 */
public record Evaluation(double loss, double accuracy, long samples) {}
