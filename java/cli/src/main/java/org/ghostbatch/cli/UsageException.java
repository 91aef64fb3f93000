package org.ghostbatch.cli;

import java.util.function.Supplier;

/** Flags that do not make sense: exit status 2. */
final class UsageException extends RuntimeException {
  private static final long serialVersionUID = 1;

  UsageException(String message) {
    super(message);
  }

  private UsageException(IllegalArgumentException cause) {
    super(cause.getMessage(), cause);
  }

  /** What {@code made} returns; settings that it refuses are bad usage. */
  static <T> T check(Supplier<T> made) {
    try {
      return made.get();
    } catch (IllegalArgumentException e) {
      throw new UsageException(e);
    }
  }
}
