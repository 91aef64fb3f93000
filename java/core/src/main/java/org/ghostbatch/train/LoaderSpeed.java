package org.ghostbatch.train;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.Augmentation;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Engine;
import org.ghostbatch.device.EngineSpec;
import org.ghostbatch.device.Lanes;
import org.ghostbatch.device.LoadSpec;
import org.ghostbatch.device.LossResult;
import org.ghostbatch.device.NetworkPlan;
import org.ghostbatch.device.NormMode;
import org.ghostbatch.device.StepSpec;
import org.ghostbatch.nn.GlobalAvgPool;
import org.ghostbatch.nn.Linear;
import org.ghostbatch.nn.MicroBatch;
import org.ghostbatch.nn.Network;
import org.ghostbatch.nn.Sequential;
import org.ghostbatch.random.Shuffle;

/**
 * How fast samples come to a network, by the path that training takes: read in shuffled batches,
 * then augmented and normalized on the lanes.
 *
 * @param name {@code read}: batches of the data set; {@code augment}: from native memory into
 *     micro-batches; {@code all}: both, one batch ahead, as in a run on streaming data
 * @param images that were measured
 * @param seconds that they took
 */
public record LoaderSpeed(String name, long images, double seconds) {
  /** Samples that are augmented from native memory: as many as fit. */
  private static final long MEMORY = 1L << 28;

  private static final long SEED = 1;

  public double imagesPerSecond() {
    return images / seconds;
  }

  /** Does a batch of an endless run; the samples that it held. */
  private interface Batches {
    int next();
  }

  /**
   * Measures a data set. What reading costs is measured only where it decodes, so of streaming data
   * sets.
   *
   * @param threads lanes
   * @param seconds that each of the figures is measured for, after a third of that to warm up
   */
  public static List<LoaderSpeed> measure(
      Device device,
      int threads,
      Dataset data,
      int batch,
      Augmentation augmentation,
      double seconds) {
    Check.present("loader", "a device", device);
    Check.present("loader", "data", data);
    Check.present("loader", "an augmentation", augmentation);
    if (batch < 1 || batch > data.count()) {
      throw Check.bad("loader", "a batch of 1 to " + data.count() + " samples", batch);
    }
    if (!(seconds > 0 && seconds <= 3600)) {
      throw Check.bad("loader", "0 to 3600 seconds", seconds);
    }
    List<LoaderSpeed> speeds = new ArrayList<>();
    if (data.streaming()) {
      speeds.add(time("read", seconds, new Reading(data, batch)::next));
    }
    int fitting = (int) Math.min(data.count(), Math.max(batch, MEMORY / data.sampleBytes()));
    try (var loading =
        new Loading(
            device,
            threads,
            data,
            augmentation,
            new MemoryFeed(device, data.take(fitting), batch, SEED),
            fitting,
            batch)) {
      speeds.add(time("augment", seconds, loading::next));
    }
    try (var loading =
        new Loading(
            device,
            threads,
            data,
            augmentation,
            new StreamingFeed(device, data, batch, SEED),
            data.count(),
            batch)) {
      speeds.add(time("all", seconds, loading::next));
    }
    return speeds;
  }

  private static LoaderSpeed time(String name, double seconds, Batches batches) {
    run(name, seconds / 3, batches);
    return run(name, seconds, batches);
  }

  private static LoaderSpeed run(String name, double seconds, Batches batches) {
    long begin = System.nanoTime();
    long images = 0;
    double taken;
    do {
      images += batches.next();
      taken = (System.nanoTime() - begin) / 1e9;
    } while (taken < seconds);
    return new LoaderSpeed(name, images, taken);
  }

  /** Reads batches in shuffled order. */
  private static final class Reading {
    private final Dataset data;
    private final int batch;
    private final int[] order;
    private final ByteBuffer target;
    private long epoch;
    private int position;

    Reading(Dataset data, int batch) {
      this.data = data;
      this.batch = batch;
      this.order = new int[data.count()];
      this.position = order.length;
      this.target =
          ByteBuffer.allocateDirect(Math.multiplyExact(batch, data.sampleBytes()))
              .order(ByteOrder.nativeOrder());
    }

    int next() {
      if (position == order.length) {
        Shuffle.fill(order, SEED, epoch++);
        position = 0;
      }
      int count = Math.min(batch, order.length - position);
      data.read(order, position, position + count, target.clear());
      position += count;
      return count;
    }
  }

  /** Brings batches to a network that does next to nothing with them. */
  private static final class Loading implements AutoCloseable {
    private final BatchFeed feed;
    private final int samples;
    private final int batch;
    private final Lanes lanes;
    private final NetworkPlan plan;
    private final Engine engine;
    private final StepSpec step =
        new StepSpec().mode(NormMode.RUNNING).backward(false).dropout(false).seed(SEED);
    private final LossResult result = new LossResult();
    private long epoch = -1;
    private int left;

    Loading(
        Device device,
        int threads,
        Dataset data,
        Augmentation augmentation,
        BatchFeed feed,
        int samples,
        int batch) {
      this.feed = feed;
      this.samples = samples;
      this.batch = batch;
      Network network =
          Network.of(Sequential.of(GlobalAvgPool.of(), Linear.of(data.classes())), data.shape());
      LoadSpec load =
          data.normalization()
              .of(
                  LoadSpec.of(data.shape().height(), data.shape().width(), data.shape().channels())
                      .withAugmentation(augmentation));
      lanes = device.lanes(threads);
      plan = network.compile(device);
      engine =
          device.engine(
              lanes,
              plan,
              new EngineSpec(
                  DataType.F32,
                  MicroBatch.on(device).of(network, 0, batch),
                  0,
                  false,
                  false,
                  false,
                  load));
      engine.parameters().copyFrom(network.initialParameters(SEED));
      engine.parametersChanged();
    }

    int next() {
      if (left == 0) {
        feed.start(++epoch, batch);
        left = samples;
      }
      feed.next();
      engine.step(
          feed.samples(), feed.rows(), feed.count(), null, step.epoch(epoch), null, null, result);
      left -= feed.count();
      return feed.count();
    }

    @Override
    public void close() {
      feed.close();
      engine.close();
      plan.close();
      lanes.close();
    }
  }
}
