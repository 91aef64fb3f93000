package org.ghostbatch.benchmarks;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Threads that do the same parts of a work again and again; the caller does the first. */
final class Team implements AutoCloseable {
  private final List<Runnable> parts;
  private final ExecutorService others;

  Team(List<Runnable> parts) {
    this.parts = parts;
    others =
        Executors.newFixedThreadPool(
            Math.max(1, parts.size() - 1),
            task -> {
              Thread thread = new Thread(task, "bench");
              thread.setDaemon(true);
              return thread;
            });
  }

  void run() {
    if (parts.size() == 1) {
      parts.get(0).run();
      return;
    }
    List<Future<?>> running = new ArrayList<>();
    for (Runnable part : parts.subList(1, parts.size())) {
      running.add(others.submit(part));
    }
    parts.get(0).run();
    for (Future<?> one : running) {
      try {
        one.get();
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new IllegalStateException("[bench] was interrupted", e);
      } catch (ExecutionException e) {
        throw new IllegalStateException(e.getCause());
      }
    }
  }

  @Override
  public void close() {
    others.shutdown();
  }
}
