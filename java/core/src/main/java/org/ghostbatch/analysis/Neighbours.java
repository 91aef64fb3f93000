package org.ghostbatch.analysis;

/**
 * How much a loss rises around a minimizer without a search, as phi = 100 (loss - f(x)) / (1 +
 * f(x)).
 *
 * @param mean of random points of the box: the mean over random directions
 * @param most of the random points
 * @param corner of the corner that the gradient points to
 * @param points how many random ones
 */
public record Neighbours(double mean, double most, double corner, int points) {}
