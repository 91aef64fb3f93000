package org.ghostbatch.cli;

import java.util.concurrent.CountDownLatch;

/**
 * Ctrl-C and SIGTERM while a run is under way: the run is asked to stop, and the JVM ends, with
 * status 130 or 143, only after this was closed: after the run has saved what it has and freed its
 * native memory. Until {@link #hold} there is nothing to save, and the JVM ends at once: data may
 * take minutes to download and decode.
 *
 * <p>On these signals the JVM runs its shutdown hooks while all threads go on; this hook waits for
 * the running thread.
 */
final class Interrupt implements AutoCloseable {
  private final CountDownLatch over = new CountDownLatch(1);
  private final Thread hook = new Thread(this::raise, "ghostbatch-interrupt");
  private Runnable stop = () -> {};
  private boolean raised;
  private boolean held;

  Interrupt() {
    Runtime.getRuntime().addShutdownHook(hook);
  }

  /**
   * How the run is asked to stop: from another thread, at most once, at once where the signal has
   * come already.
   */
  synchronized void stopWith(Runnable stop) {
    this.stop = stop;
    if (raised) {
      stop.run();
    }
  }

  /** From now on the JVM waits for the run; false where it is ending already. */
  synchronized boolean hold() {
    held = !raised;
    return held;
  }

  /** Whether a signal came. */
  synchronized boolean raised() {
    return raised;
  }

  private void raise() {
    synchronized (this) {
      raised = true;
      stop.run();
      if (!held) {
        return;
      }
    }
    try {
      over.await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  @Override
  public void close() {
    System.out.flush();
    System.err.flush();
    over.countDown();
    try {
      Runtime.getRuntime().removeShutdownHook(hook);
    } catch (IllegalStateException e) {
      // The JVM is going down already, which is what the hook is for.
    }
  }
}
