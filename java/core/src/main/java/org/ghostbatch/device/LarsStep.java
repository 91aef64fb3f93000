package org.ghostbatch.device;

/** Settings of one LARS update. Made once, changed from update to update. */
public final class LarsStep {
  double rate = 1;
  double momentum = 0.9;
  double trust = 1e-3;
  double weightDecay;
  double gradientScale = 1;
  boolean nesterov;

  public LarsStep rate(double rate) {
    this.rate = rate;
    return this;
  }

  public LarsStep momentum(double momentum) {
    this.momentum = momentum;
    return this;
  }

  /** Factor of the ratio of norms. */
  public LarsStep trust(double trust) {
    this.trust = trust;
    return this;
  }

  /** On adapted layers. */
  public LarsStep weightDecay(double weightDecay) {
    this.weightDecay = weightDecay;
    return this;
  }

  /** What the gradient is multiplied by first: clipping. */
  public LarsStep gradientScale(double gradientScale) {
    this.gradientScale = gradientScale;
    return this;
  }

  public LarsStep nesterov(boolean nesterov) {
    this.nesterov = nesterov;
    return this;
  }
}
