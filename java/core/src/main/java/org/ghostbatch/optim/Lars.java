package org.ghostbatch.optim;

import java.util.List;

/**
 * Layer-wise adaptive rate scaling. On each layer: lambda = trust ||w|| / (||g|| + weightDecay
 * ||w||); step = rate lambda (g + weightDecay w); v = momentum v + step; w -= v, or with Nesterov w
 * -= step + momentum v. Biases and batch norm's parameters have lambda 1 and no decay, and so has a
 * layer whose weights or step are zero.
 *
 * @param trust share of a layer's norm that a step at rate 1 has; finite, above 0
 * @param momentum in [0, 1)
 * @param weightDecay finite, at least 0, on weights
 * @param nesterov needs a momentum above 0
 * @see <a href="https://arxiv.org/abs/1708.03888">You et al. 2017, arXiv 1708.03888, Algorithm
 *     1</a>
 */
public record Lars(double trust, double momentum, double weightDecay, boolean nesterov)
    implements Optimizer {
  public Lars {
    Check.positive("optimizer", "trust", trust);
    Check.momentum(momentum, nesterov);
    Check.notNegative("optimizer", "weight decay", weightDecay);
  }

  /** The paper's settings, without weight decay: trust 1e-3, momentum 0.9. */
  public static Lars of() {
    return new Lars(1e-3, 0.9, 0, false);
  }

  public Lars trust(double trust) {
    return new Lars(trust, momentum, weightDecay, nesterov);
  }

  public Lars momentum(double momentum) {
    return new Lars(trust, momentum, weightDecay, nesterov);
  }

  @Override
  public Lars weightDecay(double weightDecay) {
    return new Lars(trust, momentum, weightDecay, nesterov);
  }

  public Lars nesterov(boolean nesterov) {
    return new Lars(trust, momentum, weightDecay, nesterov);
  }

  @Override
  public String name() {
    return "lars";
  }

  @Override
  public List<String> stateNames() {
    return List.of("velocity");
  }

  @Override
  public String toString() {
    return Settings.text(
        name(),
        "trust",
        trust,
        "momentum",
        momentum,
        "weight-decay",
        weightDecay,
        "nesterov",
        nesterov);
  }
}
