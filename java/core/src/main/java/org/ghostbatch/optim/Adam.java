package org.ghostbatch.optim;

import java.util.List;

/**
 * Adam: m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; w -= rate mhat / (sqrt(vhat) +
 * eps), with the hats corrected for the start at 0. Weight decay is added to the gradient, or with
 * AdamW taken from the weights: w -= rate weightDecay w.
 *
 * @param beta1 decay of the first moment, in [0, 1)
 * @param beta2 decay of the second moment, in [0, 1)
 * @param eps finite, above 0
 * @param weightDecay finite, at least 0, on all parameters
 * @param decoupled whether this is AdamW
 * @see <a href="https://arxiv.org/abs/1412.6980">Kingma and Ba 2015, arXiv 1412.6980, Algorithm
 *     1</a>
 * @see <a href="https://arxiv.org/abs/1711.05101">Loshchilov and Hutter 2019, arXiv 1711.05101,
 *     Algorithm 2</a>
 */
public record Adam(double beta1, double beta2, double eps, double weightDecay, boolean decoupled)
    implements Optimizer {
  public Adam {
    Check.fraction("optimizer", "beta1", beta1);
    Check.fraction("optimizer", "beta2", beta2);
    Check.positive("optimizer", "eps", eps);
    Check.notNegative("optimizer", "weight decay", weightDecay);
  }

  /** The usual settings: beta1 0.9, beta2 0.999, eps 1e-8, weight decay 0. */
  public static Adam of() {
    return new Adam(0.9, 0.999, 1e-8, 0, false);
  }

  /** The usual settings of AdamW: beta1 0.9, beta2 0.999, eps 1e-8, weight decay 0.01. */
  public static Adam ofDecoupled() {
    return new Adam(0.9, 0.999, 1e-8, 0.01, true);
  }

  @Override
  public Adam weightDecay(double weightDecay) {
    return new Adam(beta1, beta2, eps, weightDecay, decoupled);
  }

  public Adam beta1(double beta1) {
    return new Adam(beta1, beta2, eps, weightDecay, decoupled);
  }

  public Adam beta2(double beta2) {
    return new Adam(beta1, beta2, eps, weightDecay, decoupled);
  }

  public Adam eps(double eps) {
    return new Adam(beta1, beta2, eps, weightDecay, decoupled);
  }

  @Override
  public String name() {
    return decoupled ? "adamw" : "adam";
  }

  @Override
  public List<String> stateNames() {
    return List.of("first_moment", "second_moment");
  }

  @Override
  public String toString() {
    return Settings.text(
        name(), "beta1", beta1, "beta2", beta2, "eps", eps, "weight-decay", weightDecay);
  }
}
