package org.ghostbatch.device;

/**
 * Settings of an {@link Lbfgsb}.
 *
 * @param memory m: pairs (s, y) that are kept, in [1, 64]
 * @param initialScale theta of B = theta I while there are no pairs: the first target is P(x - g /
 *     theta)
 * @param pgtol converged where no |P(x - g) - x| is above
 * @param factr converged where f fell by at most factr 2^-52 max(|f before|, |f|, 1)
 * @param maxLineSearch evaluations of one line search, at least 1
 */
public record LbfgsbSpec(
    int memory, double initialScale, double pgtol, double factr, int maxLineSearch) {
  private static final String KIND = "lbfgsb";

  public LbfgsbSpec {
    Check.range(KIND, "memory", memory, 1, 64);
    Check.finite(KIND, "initialScale", initialScale);
    if (initialScale <= 0) {
      throw Check.bad(KIND, "initialScale above 0", initialScale);
    }
    notNegative("pgtol", pgtol);
    notNegative("factr", factr);
    Check.positive(KIND, "maxLineSearch", maxLineSearch);
  }

  /** Ten pairs, scale 1, no tolerance, twenty evaluations. */
  public static LbfgsbSpec defaults() {
    return new LbfgsbSpec(10, 1, 0, 0, 20);
  }

  public LbfgsbSpec withMemory(int memory) {
    return new LbfgsbSpec(memory, initialScale, pgtol, factr, maxLineSearch);
  }

  public LbfgsbSpec withInitialScale(double initialScale) {
    return new LbfgsbSpec(memory, initialScale, pgtol, factr, maxLineSearch);
  }

  public LbfgsbSpec withTolerances(double pgtol, double factr) {
    return new LbfgsbSpec(memory, initialScale, pgtol, factr, maxLineSearch);
  }

  public LbfgsbSpec withMaxLineSearch(int maxLineSearch) {
    return new LbfgsbSpec(memory, initialScale, pgtol, factr, maxLineSearch);
  }

  private static void notNegative(String name, double value) {
    Check.finite(KIND, name, value);
    if (value < 0) {
      throw Check.bad(KIND, name + " of at least 0", value);
    }
  }

  /** The native spec; to be closed after use. */
  org.ghostbatch.binding.LbfgsbSpec toBinding() {
    return new org.ghostbatch.binding.LbfgsbSpec()
        .memory(memory)
        .initial_scale(initialScale)
        .pgtol(pgtol)
        .factr(factr)
        .max_line_search(maxLineSearch);
  }
}
