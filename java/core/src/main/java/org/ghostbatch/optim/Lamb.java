package org.ghostbatch.optim;

import java.util.List;

/**
 * Adam with layer-wise rates. With the moments of {@link Adam}, on each layer: r = mhat /
 * (sqrt(vhat) + eps) + weightDecay w; w -= rate ||w|| / ||r|| r. Biases and batch norm's parameters
 * have ratio 1 and no decay, and so has a layer whose weights or step are zero.
 *
 * @param beta1 decay of the first moment, in [0, 1)
 * @param beta2 decay of the second moment, in [0, 1)
 * @param eps finite, above 0
 * @param weightDecay finite, at least 0, on weights
 * @see <a href="https://arxiv.org/abs/1904.00962">You et al. 2019, arXiv 1904.00962, Algorithm
 *     2</a>
 */
public record Lamb(double beta1, double beta2, double eps, double weightDecay)
    implements Optimizer {
  public Lamb {
    Check.fraction("optimizer", "beta1", beta1);
    Check.fraction("optimizer", "beta2", beta2);
    Check.positive("optimizer", "eps", eps);
    Check.notNegative("optimizer", "weight decay", weightDecay);
  }

  /** The usual settings: beta1 0.9, beta2 0.999, eps 1e-6, weight decay 0.01. */
  public static Lamb of() {
    return new Lamb(0.9, 0.999, 1e-6, 0.01);
  }

  public Lamb beta1(double beta1) {
    return new Lamb(beta1, beta2, eps, weightDecay);
  }

  public Lamb beta2(double beta2) {
    return new Lamb(beta1, beta2, eps, weightDecay);
  }

  public Lamb eps(double eps) {
    return new Lamb(beta1, beta2, eps, weightDecay);
  }

  @Override
  public Lamb weightDecay(double weightDecay) {
    return new Lamb(beta1, beta2, eps, weightDecay);
  }

  @Override
  public String name() {
    return "lamb";
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
