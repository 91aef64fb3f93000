/**
 * What the minimizers that training finds look like: the loss as a function of all parameters
 * ({@link org.ghostbatch.analysis.NetworkLoss}), its sharpness, its curvature, and slices and
 * surfaces through it.
 */
package org.ghostbatch.analysis;
