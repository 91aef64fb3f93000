package org.ghostbatch.device;

/** Settings of one Adam or AdamW update. Made once, changed from update to update. */
public final class AdamStep {
  double rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weightDecay;
  double gradientScale = 1;
  boolean decoupled;
  long step = 1;

  public AdamStep rate(double rate) {
    this.rate = rate;
    return this;
  }

  public AdamStep beta1(double beta1) {
    this.beta1 = beta1;
    return this;
  }

  public AdamStep beta2(double beta2) {
    this.beta2 = beta2;
    return this;
  }

  public AdamStep epsilon(double epsilon) {
    this.epsilon = epsilon;
    return this;
  }

  public AdamStep weightDecay(double weightDecay) {
    this.weightDecay = weightDecay;
    return this;
  }

  /** What the gradient is multiplied by first: clipping. */
  public AdamStep gradientScale(double gradientScale) {
    this.gradientScale = gradientScale;
    return this;
  }

  /** AdamW: weight decay beside the moments instead of in the gradient. */
  public AdamStep decoupled(boolean decoupled) {
    this.decoupled = decoupled;
    return this;
  }

  /** Number of the update, from 1. */
  public AdamStep step(long step) {
    this.step = step;
    return this;
  }
}
