package org.ghostbatch.optim;

import java.util.List;

/**
 * Adam: m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; w -= rate mhat / (sqrt(vhat) +
 * eps), with the hats corrected for the start at 0. Weight decay is added to the gradient.
 *
 * @param beta1 decay of the first moment, in [0, 1)
 * @param beta2 decay of the second moment, in [0, 1)
 * @param eps finite, above 0
 * @param weightDecay finite, at least 0, on all parameters
 * @see <a href="https://arxiv.org/abs/1412.6980">Kingma and Ba 2015, arXiv 1412.6980, Algorithm
 *     1</a>
 */
public record Adam(double beta1, double beta2, double eps, double weightDecay)
    implements Optimizer {
  public Adam {
    Check.fraction("optimizer", "beta1", beta1);
    Check.fraction("optimizer", "beta2", beta2);
    Check.positive("optimizer", "eps", eps);
    Check.notNegative("optimizer", "weight decay", weightDecay);
  }

  /** The usual settings: beta1 0.9, beta2 0.999, eps 1e-8, weight decay 0. */
  public static Adam of() {
    return new Adam(0.9, 0.999, 1e-8, 0);
  }

  @Override
  public Adam weightDecay(double weightDecay) {
    return new Adam(beta1, beta2, eps, weightDecay);
  }

  public Adam beta1(double beta1) {
    return new Adam(beta1, beta2, eps, weightDecay);
  }

  public Adam beta2(double beta2) {
    return new Adam(beta1, beta2, eps, weightDecay);
  }

  public Adam eps(double eps) {
    return new Adam(beta1, beta2, eps, weightDecay);
  }

  @Override
  public String name() {
    return "adam";
  }

  @Override
  public List<String> stateNames() {
    return List.of("first_moment", "second_moment");
  }

  @Override
  public String toString() {
    return "adam(beta1="
        + beta1
        + ",beta2="
        + beta2
        + ",eps="
        + eps
        + ",weight-decay="
        + weightDecay
        + ")";
  }
}
