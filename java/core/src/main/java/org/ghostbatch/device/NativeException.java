package org.ghostbatch.device;

/** A failure inside the native library; the text names the kernel, what it needed and what came. */
public final class NativeException extends RuntimeException {
  private static final long serialVersionUID = 1;

  public NativeException(String message) {
    super(message);
  }

  /**
   * Sorts what left a native call: JavaCPP throws plain {@link RuntimeException}s for C++
   * exceptions, everything else is our own and passes.
   */
  static RuntimeException of(RuntimeException exception) {
    return exception.getClass() == RuntimeException.class
        ? new NativeException(exception.getMessage())
        : exception;
  }
}
