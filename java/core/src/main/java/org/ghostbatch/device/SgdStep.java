package org.ghostbatch.device;

/**
 * Settings of one SGD update: g = gradientScale gradient + weightDecay w; v = momentum v + g; w -=
 * rate (nesterov ? g + momentum v : v). Made once, changed from update to update.
 */
public final class SgdStep {
  double rate = 0.1;
  double momentum;
  double weightDecay;
  double gradientScale = 1;
  boolean nesterov;

  public SgdStep rate(double rate) {
    this.rate = rate;
    return this;
  }

  public SgdStep momentum(double momentum) {
    this.momentum = momentum;
    return this;
  }

  public SgdStep weightDecay(double weightDecay) {
    this.weightDecay = weightDecay;
    return this;
  }

  /** What the gradient is multiplied by first: clipping. */
  public SgdStep gradientScale(double gradientScale) {
    this.gradientScale = gradientScale;
    return this;
  }

  public SgdStep nesterov(boolean nesterov) {
    this.nesterov = nesterov;
    return this;
  }
}
