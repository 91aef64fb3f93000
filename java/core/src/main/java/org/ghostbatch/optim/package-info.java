/**
 * What an update does and when: optimizers, learning-rate schedules, batch rules, regime
 * adaptation, batch schedules.
 */
package org.ghostbatch.optim;
