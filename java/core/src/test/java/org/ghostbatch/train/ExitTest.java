package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.IntStream;
import org.ghostbatch.ForkedJvm;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Samples;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** A program may end in any way, whatever is open or running: the JVM exits as it was told to. */
class ExitTest {
  /** Ways to end. */
  enum Way {
    /** Nothing is closed. */
    LEAVE_ALL_OPEN(0),
    /** The device first, then what was made on it. */
    CLOSE_FROM_THE_WRONG_END(0),
    /** A step that is interrupted ends as it would have. */
    INTERRUPT(0),
    /** While another thread is inside a step. */
    SYSTEM_EXIT(7),
    /** Likewise, without shutdown hooks. */
    HALT(8),
    /** The main thread dies, and the one inside steps is a daemon. */
    MAIN_FAILS(1);

    private final int exit;

    Way(int exit) {
      this.exit = exit;
    }
  }

  /** Trains, and ends in the way that the argument names. */
  public static final class Ending {
    private static final int BATCH = 256;

    private final Device device = Device.of("cpu", 2);
    private final Dataset data = TinyData.of(BATCH, 1);
    private final Trainer trainer =
        Trainer.of(TinyData.convolutional())
            .batchSize(BATCH)
            .ghostBatchSize(32)
            .updates(1)
            .on(device);
    private final Samples samples = SampleCopy.room(device, data, BATCH);
    private final int[] rows = IntStream.range(0, BATCH).toArray();
    private final CountDownLatch running = new CountDownLatch(1);

    private Ending() {
      trainer.prepare(data);
      new SampleCopy(data).copy(rows, 0, BATCH, samples);
    }

    private double step() {
      return trainer.step(samples, rows, BATCH, null, 0.01, 0);
    }

    private void stepForever() {
      step();
      running.countDown();
      while (true) {
        step();
      }
    }

    public static void main(String[] arguments) throws InterruptedException {
      Ending ending = new Ending();
      Way way = Way.valueOf(arguments[0]);
      switch (way) {
        case LEAVE_ALL_OPEN -> ending.step();
        case CLOSE_FROM_THE_WRONG_END -> {
          ending.step();
          Predictor predictor = Predictor.of(ending.trainer.model(), ending.device, 1);
          ending.device.close();
          predictor.close();
          ending.trainer.close();
          ending.samples.close();
          ending.device.close();
          try {
            ending.step();
            System.out.println("a step ran without its device");
          } catch (IllegalStateException e) {
            System.out.println("refused");
          }
        }
        case INTERRUPT -> {
          Thread.currentThread().interrupt();
          double loss = ending.step();
          System.out.println(Thread.interrupted() && loss > 0 ? "stepped" : "broken");
        }
        default -> {
          Thread thread = new Thread(ending::stepForever, "steps");
          thread.setDaemon(true);
          thread.start();
          ending.running.await();
          Thread.sleep(arguments[0].length()); // somewhere inside a step
          if (way == Way.SYSTEM_EXIT) {
            System.exit(way.exit);
          } else if (way == Way.HALT) {
            Runtime.getRuntime().halt(way.exit);
          }
          throw new IllegalStateException("on purpose");
        }
      }
    }
  }

  @ParameterizedTest
  @EnumSource
  void theJvmExitsAsItWasTold(Way way) throws Exception {
    ForkedJvm.End end = ForkedJvm.named("exit-" + way).run(60, Ending.class, way.name());
    assertNull(end.crash(), end.toString());
    assertEquals(way.exit, end.exit(), end.toString());
    switch (way) {
      case CLOSE_FROM_THE_WRONG_END -> assertEquals("refused", end.output().strip());
      case INTERRUPT -> assertEquals("stepped", end.output().strip());
      case MAIN_FAILS -> assertTrue(end.output().contains("on purpose"), end.toString());
      default -> assertEquals("", end.output());
    }
  }

  @Test
  void anInterruptedRunOnStreamedDataEndsInOrder() {
    AtomicBoolean reading = new AtomicBoolean();
    Dataset slow =
        new ChangedDataset(TinyData.streamed(TinyData.of(64, 1))) {
          @Override
          public boolean streaming() {
            return true;
          }

          @Override
          public void read(int[] indices, int from, int to, ByteBuffer target) {
            reading.set(true);
            LockSupport.parkNanos(50_000_000); // still at it when the run ends
            super.read(indices, from, to, target);
            reading.set(false);
          }
        };
    TrainingListener interrupting =
        new TrainingListener() {
          @Override
          public void onUpdate(Trainer trainer) {
            trainer.stop();
            Thread.currentThread().interrupt();
          }
        };
    long live = Device.liveBytes();
    try (Device device = Device.of("cpu", 1);
        Trainer trainer =
            Trainer.of(TinyData.convolutional())
                .batchSize(16)
                .updates(4)
                .listener(interrupting)
                .on(device)) {
      History history = trainer.fit(slow, null);
      assertTrue(Thread.interrupted());
      assertFalse(reading.get(), "the reader outlives the run");
      assertTrue(history.stopped());
      assertEquals(1, history.updates());
    }
    assertEquals(live, Device.liveBytes());
  }

  @Test
  void aClosedTrainerRefusesQuietly() {
    Device device = Device.of("cpu", 1);
    Trainer trainer = Trainer.of(TinyData.convolutional()).batchSize(8).updates(1).on(device);
    trainer.close();
    trainer.close();
    device.close();
    trainer.close();
  }
}
