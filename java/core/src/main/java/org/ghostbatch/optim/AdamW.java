package org.ghostbatch.optim;

import java.util.List;

/**
 * Adam with decoupled weight decay: w -= rate (mhat / (sqrt(vhat) + eps) + weightDecay w).
 *
 * @param beta1 decay of the first moment, in [0, 1)
 * @param beta2 decay of the second moment, in [0, 1)
 * @param eps finite, above 0
 * @param weightDecay finite, at least 0, on all parameters
 * @see <a href="https://arxiv.org/abs/1711.05101">Loshchilov and Hutter 2019, arXiv 1711.05101,
 *     Algorithm 2</a>
 */
public record AdamW(double beta1, double beta2, double eps, double weightDecay)
    implements Optimizer {
  public AdamW {
    Check.fraction("optimizer", "beta1", beta1);
    Check.fraction("optimizer", "beta2", beta2);
    Check.positive("optimizer", "eps", eps);
    Check.notNegative("optimizer", "weight decay", weightDecay);
  }

  /** The usual settings: beta1 0.9, beta2 0.999, eps 1e-8, weight decay 0.01. */
  public static AdamW of() {
    return new AdamW(0.9, 0.999, 1e-8, 0.01);
  }

  @Override
  public AdamW weightDecay(double weightDecay) {
    return new AdamW(beta1, beta2, eps, weightDecay);
  }

  public AdamW beta1(double beta1) {
    return new AdamW(beta1, beta2, eps, weightDecay);
  }

  public AdamW beta2(double beta2) {
    return new AdamW(beta1, beta2, eps, weightDecay);
  }

  public AdamW eps(double eps) {
    return new AdamW(beta1, beta2, eps, weightDecay);
  }

  @Override
  public String name() {
    return "adamw";
  }

  @Override
  public List<String> stateNames() {
    return List.of("first_moment", "second_moment");
  }

  @Override
  public String toString() {
    return "adamw(beta1="
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
