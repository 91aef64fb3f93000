package org.ghostbatch.data;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executor;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Tasks on several threads. */
@Timeout(60)
class WorkersTest {
  private static final int TASKS = 6;

  private static void sleep(long millis) {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  private static void await(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  @Test
  void allIsDoneWhereTheSystemGivesNoMoreThreads() {
    int[] done = new int[TASKS];
    Thread caller = Thread.currentThread();
    var helps = new CountDownLatch(1);
    // One helper, which is amid a task when the second cannot be had.
    Executor pool =
        task -> {
          if (helps.getCount() == 0) {
            throw new InternalError("unable to create native thread");
          }
          new Thread(task).start();
          await(helps);
        };
    Workers.run(
        pool,
        4,
        TASKS,
        () ->
            i -> {
              if (Thread.currentThread() != caller) {
                helps.countDown();
                sleep(200);
              }
              done[i]++;
            });
    assertArrayEquals(IntStream.generate(() -> 1).limit(TASKS).toArray(), done);
  }

  @Test
  void aloneWhereThereAreNoThreadsAtAll() {
    int[] done = new int[TASKS];
    Executor none =
        task -> {
          throw new InternalError("unable to create native thread");
        };
    Workers.run(none, 3, TASKS, () -> i -> done[i]++);
    assertArrayEquals(IntStream.generate(() -> 1).limit(TASKS).toArray(), done);
    var failure = new IllegalArgumentException("the third");
    var thrown =
        assertThrows(
            IllegalArgumentException.class,
            () ->
                Workers.run(
                    none,
                    3,
                    TASKS,
                    () ->
                        i -> {
                          done[i]++;
                          if (i == 2) {
                            throw failure;
                          }
                        }));
    assertSame(failure, thrown);
    assertEquals(1, done[3]);
  }
}
