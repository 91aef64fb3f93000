/**
 * Training, evaluation and prediction: a {@link org.ghostbatch.train.TrainingSpec} says how, a
 * {@link org.ghostbatch.train.Trainer} does it, a {@link org.ghostbatch.train.Predictor} uses the
 * result.
 */
package org.ghostbatch.train;
