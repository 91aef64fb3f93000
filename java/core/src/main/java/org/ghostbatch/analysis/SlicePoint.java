package org.ghostbatch.analysis;

/**
 * The loss and accuracy of a network on a path. Figures of test data are NaN where there is none.
 *
 * @param t where on it: 0 and 1 are its ends
 */
public record SlicePoint(
    double t, double trainLoss, double trainAccuracy, double testLoss, double testAccuracy) {}
