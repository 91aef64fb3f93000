package org.ghostbatch.optim;

import java.util.List;

/**
 * Stochastic gradient descent as in PyTorch: g = gradient + weightDecay w; v = momentum v + g; w -=
 * rate v, or with Nesterov w -= rate (g + momentum v). The first update starts from v = 0.
 *
 * @param momentum in [0, 1)
 * @param weightDecay finite, at least 0, on all parameters
 * @param nesterov needs a momentum above 0
 */
public record Sgd(double momentum, double weightDecay, boolean nesterov) implements Optimizer {
  public Sgd {
    Check.momentum(momentum, nesterov);
    Check.notNegative("optimizer", "weight decay", weightDecay);
  }

  /** Plain gradient descent: no momentum, no weight decay. */
  public static Sgd of() {
    return new Sgd(0, 0, false);
  }

  /** With momentum, without weight decay. */
  public static Sgd withMomentum(double momentum) {
    return new Sgd(momentum, 0, false);
  }

  @Override
  public Sgd weightDecay(double weightDecay) {
    return new Sgd(momentum, weightDecay, nesterov);
  }

  public Sgd nesterov(boolean nesterov) {
    return new Sgd(momentum, weightDecay, nesterov);
  }

  @Override
  public String name() {
    return "sgd";
  }

  @Override
  public List<String> stateNames() {
    return List.of("velocity");
  }

  @Override
  public String toString() {
    return Settings.text(
        name(), "momentum", momentum, "weight-decay", weightDecay, "nesterov", nesterov);
  }
}
