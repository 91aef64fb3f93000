package org.ghostbatch.device;

/** Settings of one LAMB update. Made once, changed from update to update. */
public final class LambStep {
  double rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-6;
  double weightDecay;
  double gradientScale = 1;
  long step = 1;

  public LambStep rate(double rate) {
    this.rate = rate;
    return this;
  }

  public LambStep beta1(double beta1) {
    this.beta1 = beta1;
    return this;
  }

  public LambStep beta2(double beta2) {
    this.beta2 = beta2;
    return this;
  }

  public LambStep epsilon(double epsilon) {
    this.epsilon = epsilon;
    return this;
  }

  /** On adapted layers. */
  public LambStep weightDecay(double weightDecay) {
    this.weightDecay = weightDecay;
    return this;
  }

  /** What the gradient is multiplied by first: clipping. */
  public LambStep gradientScale(double gradientScale) {
    this.gradientScale = gradientScale;
    return this;
  }

  /** Number of the update, from 1. */
  public LambStep step(long step) {
    this.step = step;
    return this;
  }
}
