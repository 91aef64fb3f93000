package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.BatchLoader;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.LoadSpec;
import org.ghostbatch.device.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a batch brings, from memory and streamed. */
class FeedTest {
  private static final int COUNT = 50;
  private static final int LARGEST = 12;

  /** A batch, as text: numbers of the samples, their values and labels in native memory. */
  private static String batch(Device device, BatchFeed feed) {
    int count = feed.count();
    int elements = TinyData.SHAPE.elements();
    int[] samples = new int[count];
    for (int i = 0; i < count; i++) {
      samples[i] = feed.sample(i);
    }
    BatchLoader loader = device.batchLoader(LoadSpec.of(8, 8, 1));
    try (Tensor values = device.tensor(DataType.F32, count, elements);
        Tensor labels = device.tensor(DataType.S32, count)) {
      loader.load(feed.samples(), feed.rows(), count, 1, 1, false, values, labels);
      return Arrays.toString(samples)
          + Arrays.toString(values.toFloats())
          + Arrays.toString(labels.toInts());
    } finally {
      loader.close();
    }
  }

  private static List<String> epoch(
      Device device, BatchFeed feed, long epoch, int batch, int from) {
    List<String> batches = new ArrayList<>();
    feed.start(epoch, batch);
    feed.skip(from);
    for (int done = from * batch; done < COUNT; done += feed.count()) {
      feed.next();
      batches.add(batch(device, feed));
    }
    return batches;
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void skippedBatchesLeaveTheOthersAsTheyAre(boolean streaming) {
    Dataset data = TinyData.of(COUNT, 3);
    try (Device device = Device.of("reference", 1);
        BatchFeed feed =
            streaming
                ? new StreamingFeed(device, TinyData.streamed(data), LARGEST, 7)
                : new MemoryFeed(device, data, LARGEST, 7)) {
      for (int batch : new int[] {LARGEST, 5}) {
        List<String> all = epoch(device, feed, 2, batch, 0);
        assertEquals((COUNT + batch - 1) / batch, all.size());
        for (int skip = 1; skip < all.size(); skip++) {
          assertEquals(
              all.subList(skip, all.size()),
              epoch(device, feed, 2, batch, skip),
              "after " + skip + " batches of " + batch);
        }
        // In the middle of an epoch, too, where the next batch may be on its way already.
        feed.start(2, batch);
        feed.next();
        feed.skip(2);
        feed.next();
        assertEquals(all.get(3), batch(device, feed));
        assertTrue(!all.get(3).equals(all.get(1)));
      }
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 5, LARGEST})
  void streamedBatchesAreThoseOfMemory(int batch) {
    Dataset data = TinyData.of(COUNT, 3);
    try (Device device = Device.of("reference", 1);
        BatchFeed memory = new MemoryFeed(device, data, LARGEST, 7);
        BatchFeed streamed = new StreamingFeed(device, TinyData.streamed(data), LARGEST, 7)) {
      for (long epoch = 0; epoch < 3; epoch++) {
        assertEquals(
            epoch(device, memory, epoch, batch, 0), epoch(device, streamed, epoch, batch, 0));
      }
    }
  }

  /** The reader goes on while updates are made; evaluations, within an epoch too, wait for it. */
  @Test
  void streamedDataIsReadByOneThreadAtATime() {
    AtomicInteger reading = new AtomicInteger();
    AtomicInteger together = new AtomicInteger();
    Dataset data =
        new ChangedDataset(TinyData.of(COUNT, 3)) {
          @Override
          public boolean streaming() {
            return true;
          }

          @Override
          public void read(int[] indices, int from, int to, ByteBuffer target) {
            together.addAndGet(reading.getAndIncrement());
            try {
              Thread.sleep(20);
            } catch (InterruptedException e) {
              throw new AssertionError(e);
            }
            super.read(indices, from, to, target);
            reading.getAndDecrement();
          }
        };
    TrainingListener evaluating =
        new TrainingListener() {
          @Override
          public void onUpdate(Trainer trainer) {
            if (trainer.updates() == 2) {
              trainer.evaluate(data);
            }
          }
        };
    double[] losses = new double[2];
    for (int i = 0; i < 2; i++) {
      Trainer.Builder builder = Trainer.of(TinyData.withoutNorm()).batchSize(10).updates(3);
      try (Device device = Device.of("cpu", 1);
          Trainer trainer = (i == 0 ? builder : builder.listener(evaluating)).on(device)) {
        losses[i] = trainer.fit(data, null).train().loss();
      }
    }
    assertEquals(0, together.get());
    assertEquals(losses[0], losses[1]);
  }
}
