package org.ghostbatch.analysis;

/**
 * The largest loss that was found in a box around a minimizer.
 *
 * @param sharpness phi = 100 (loss - f(x)) / (1 + f(x))
 * @param loss the largest value of f
 * @param reason why the search ended
 * @param search which of the searches found it, from 0
 * @param gradients passes forward and backward that all searches took, beside the one at x
 */
public record Maximum(double sharpness, double loss, String reason, int search, long gradients) {
  /**
   * This, or what the published search found where that is higher: a search that begins otherwise
   * can end lower.
   */
  public Maximum orPublished(Maximum published) {
    return published.loss() > loss
        ? new Maximum(
            published.sharpness(),
            published.loss(),
            "the published search: " + published.reason(),
            published.search(),
            gradients)
        : this;
  }
}
