package org.ghostbatch.train;

import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Samples;
import org.ghostbatch.random.Shuffle;

/**
 * Batches of data that is read when it is needed: a thread fills one of two rooms while the other
 * is trained on. It reads no further than the epoch.
 */
final class StreamingFeed implements BatchFeed {
  private final long seed;
  private final int[] order;
  private final int[] rows;
  private final SampleCopy copy;
  private final Samples[] rooms = new Samples[2];
  private final ExecutorService reader =
      Executors.newSingleThreadExecutor(
          task -> {
            Thread thread = new Thread(task, "ghostbatch-reader");
            thread.setDaemon(true);
            return thread;
          });
  private Future<?> filling;
  private int batch;
  private int position;
  private int next;
  private int number;
  private int count;

  StreamingFeed(Device device, Dataset data, int largestBatch, long seed) {
    this.seed = seed;
    this.order = new int[data.count()];
    this.rows = new int[largestBatch];
    for (int i = 0; i < largestBatch; i++) {
      rows[i] = i;
    }
    this.copy = new SampleCopy(data);
    try {
      rooms[0] = SampleCopy.room(device, data, largestBatch);
      rooms[1] = SampleCopy.room(device, data, largestBatch);
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  @Override
  public void start(long epoch, int batch) {
    settle();
    this.batch = batch;
    position = 0;
    next = 0;
    number = -1;
    count = 0;
    Shuffle.fill(order, seed, epoch);
  }

  @Override
  public void skip(int updates) {
    settle();
    number += updates;
    next = (int) Math.min(order.length, next + (long) updates * batch);
  }

  @Override
  public void next() {
    number++;
    position = next;
    count = Math.min(batch, order.length - position);
    next = position + count;
    if (filling == null) {
      fill(number);
    }
    settle();
    if (next < order.length) {
      fill(number + 1);
    }
  }

  /** Has the reader fill a room with batch {@code number}: this one, or the next. */
  private void fill(int number) {
    int from = number == this.number ? position : next;
    int to = Math.min(order.length, from + batch);
    Samples room = rooms[number % 2];
    filling = reader.submit(() -> copy.copy(order, from, to, room));
  }

  /** Waits for the reader; what failed there fails here. */
  private void settle() {
    if (filling == null) {
      return;
    }
    Future<?> waited = filling;
    filling = null;
    boolean interrupted = false;
    try {
      while (true) {
        try {
          waited.get();
          return;
        } catch (InterruptedException e) {
          interrupted = true; // the batch is still needed; the caller sees the flag afterwards
        } catch (ExecutionException e) {
          if (e.getCause() instanceof RuntimeException failure) {
            throw failure;
          }
          throw new IllegalStateException(
              "[dataset] cannot be read: " + e.getCause(), e.getCause());
        }
      }
    } finally {
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  @Override
  public void rest() {
    try {
      settle();
    } catch (RuntimeException e) {
      // Of a batch that may not be wanted any more; where it is, it is read again.
    }
  }

  @Override
  public Samples samples() {
    return rooms[number % 2];
  }

  @Override
  public int[] rows() {
    return rows;
  }

  @Override
  public int count() {
    return count;
  }

  @Override
  public int sample(int i) {
    return order[position + i];
  }

  @Override
  public void close() {
    rest(); // the reader writes to a room until then
    reader.shutdown();
    for (Samples room : rooms) {
      if (room != null) {
        room.close();
      }
    }
  }
}
