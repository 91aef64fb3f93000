package org.ghostbatch.nn;

/**
 * ReLU(body(x) + shortcut(x)), as in ResNet; a batch norm at the end of the body is fused with sum
 * and ReLU.
 *
 * @param shortcut an empty {@link Sequential} is the identity
 * @see <a href="https://arxiv.org/abs/1512.03385">He et al. 2015, arXiv 1512.03385</a>
 */
public record Residual(Sequential body, Sequential shortcut) implements Layer {
  public Residual {
    Check.present("residual", "a body", body);
    Check.present("residual", "a shortcut", shortcut);
    if (body.layers().isEmpty()) {
      throw Check.bad("residual", "a body of at least one layer", "none");
    }
  }

  /** With the identity as shortcut. */
  public static Residual of(Sequential body) {
    return new Residual(body, Sequential.of());
  }

  public static Residual of(Sequential body, Sequential shortcut) {
    return new Residual(body, shortcut);
  }
}
