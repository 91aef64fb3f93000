package org.ghostbatch.optim;

import java.util.Locale;

/**
 * How the learning rate follows the batch size B: not at all, by sqrt(B / base) (Hoffer et al.
 * 2017, arXiv 1705.08741), or by B / base (Goyal et al. 2017, arXiv 1706.02677).
 *
 * @param base the batch size for which the rate was chosen, at least 1
 */
public record BatchRule(Kind kind, int base) {
  /** The three rules. */
  public enum Kind {
    NONE,
    SQRT,
    LINEAR
  }

  public BatchRule {
    Check.present("batch rule", "a kind", kind);
    if (base < 1) {
      throw new IllegalArgumentException("[batch rule] needs a base batch >= 1, got " + base);
    }
    if (kind == Kind.NONE) {
      base = 1;
    }
  }

  public static BatchRule none() {
    return new BatchRule(Kind.NONE, 1);
  }

  public static BatchRule sqrtFrom(int base) {
    return new BatchRule(Kind.SQRT, base);
  }

  public static BatchRule linearFrom(int base) {
    return new BatchRule(Kind.LINEAR, base);
  }

  /** What the rate is multiplied by at batch size {@code batch}. */
  public double factor(int batch) {
    if (batch < 1) {
      throw new IllegalArgumentException("[batch rule] needs a batch >= 1, got " + batch);
    }
    double ratio = (double) batch / base;
    return switch (kind) {
      case NONE -> 1;
      case SQRT -> Math.sqrt(ratio);
      case LINEAR -> ratio;
    };
  }

  /** Reads {@code none}, {@code sqrt:128} or {@code linear:128}. */
  public static BatchRule parse(String text) {
    String[] parts = text.strip().split(":", -1);
    if (parts.length == 1 && parts[0].equals("none")) {
      return none();
    }
    if (parts.length == 2 && (parts[0].equals("sqrt") || parts[0].equals("linear"))) {
      int base = Check.integer("batch rule", "the base batch", parts[1]);
      return parts[0].equals("sqrt") ? sqrtFrom(base) : linearFrom(base);
    }
    throw new IllegalArgumentException(
        "[batch rule] needs none, sqrt:BASE or linear:BASE, got \"" + text + "\"");
  }

  @Override
  public String toString() {
    return kind == Kind.NONE ? "none" : kind.name().toLowerCase(Locale.ROOT) + ":" + base;
  }
}
