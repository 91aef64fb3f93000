package org.ghostbatch.data;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executor;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.IntConsumer;
import java.util.function.Supplier;

/** Runs numbered tasks on several threads, the caller's among them. */
final class Workers {
  /** Of daemons that end when nothing came for a while. */
  private static final Executor POOL =
      new ThreadPoolExecutor(
          0,
          Integer.MAX_VALUE,
          10,
          TimeUnit.SECONDS,
          new SynchronousQueue<>(),
          task -> {
            Thread thread = new Thread(task, "ghostbatch-loader");
            thread.setDaemon(true);
            return thread;
          });

  private final int tasks;
  private final AtomicInteger next = new AtomicInteger();
  private int failedTask = Integer.MAX_VALUE;
  private Throwable failure;

  private Workers(int tasks) {
    this.tasks = tasks;
  }

  /**
   * Runs tasks 0 to {@code tasks} - 1, in this order but for those that run at the same time. What
   * the first one of them throws, by its number, is thrown here, on any number of threads.
   *
   * @param worker made once for each thread; does the task of the number it gets
   */
  static void run(int threads, int tasks, Supplier<? extends IntConsumer> worker) {
    run(POOL, threads, tasks, worker);
  }

  /** As {@link #run(int, int, Supplier)}; threads that the pool does not give are done without. */
  static void run(Executor pool, int threads, int tasks, Supplier<? extends IntConsumer> worker) {
    var run = new Workers(tasks);
    int helpers = Math.max(0, Math.min(threads, tasks) - 1);
    var done = new CountDownLatch(helpers);
    for (int i = 0; i < helpers; i++) {
      try {
        pool.execute(
            () -> {
              try {
                run.work(worker);
              } finally {
                done.countDown();
              }
            });
      } catch (RuntimeException | Error e) { // the system gives no more threads
        for (; i < helpers; i++) {
          done.countDown();
        }
      }
    }
    run.work(worker);
    await(done);
    if (run.failure instanceof RuntimeException e) {
      throw e;
    }
    if (run.failure instanceof Error e) {
      throw e;
    }
  }

  private void work(Supplier<? extends IntConsumer> maker) {
    int task = next.getAndIncrement();
    try {
      for (IntConsumer worker = maker.get(); task < tasks; task = next.getAndIncrement()) {
        worker.accept(task);
      }
    } catch (RuntimeException | Error e) {
      fail(task, e);
    }
  }

  /** No task after a failed one begins; all before it have begun. */
  private synchronized void fail(int task, Throwable e) {
    next.set(tasks);
    if (task < failedTask) {
      failedTask = task;
      failure = e;
    }
  }

  private static void await(CountDownLatch done) {
    boolean interrupted = false;
    while (true) {
      try {
        done.await();
        break;
      } catch (InterruptedException e) {
        interrupted = true; // they still write to the caller's memory
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }
}
