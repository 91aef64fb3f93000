package org.ghostbatch.benchmarks;

import java.nio.file.Path;
import java.util.Locale;
import org.ghostbatch.data.DataOptions;
import org.ghostbatch.data.DataPair;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Datasets;
import org.ghostbatch.device.Device;
import org.ghostbatch.nn.Models;
import org.ghostbatch.optim.BatchRule;
import org.ghostbatch.optim.BatchSchedule;
import org.ghostbatch.train.CheckpointInterval;
import org.ghostbatch.train.EpochRow;
import org.ghostbatch.train.Trainer;
import org.ghostbatch.train.TrainingListener;

/**
 * How long LeNet takes to a test accuracy on MNIST, by batch: with the one that the gradient noise
 * scale chooses ({@code auto}) and with fixed ones. Tested every 4,096 samples, outside the time
 * that counts. See benchmarks/noise-batch.
 */
public final class TimeToAccuracy {
  private static final double[] TARGETS = {0.975, 0.985};
  private static final int EVERY = 4096;
  private static final int EPOCHS = 10;

  private TimeToAccuracy() {}

  /**
   * @param args folder of MNIST (empty: the usual one), seeds and batches, each list with commas
   */
  public static void main(String[] args) {
    DataOptions options = DataOptions.defaults();
    DataPair data =
        Datasets.load("mnist", args[0].isEmpty() ? options : options.withFolder(Path.of(args[0])));
    Dataset train = data.train().withNormalization(data.normalization());
    Dataset test = data.test().withNormalization(data.normalization());
    System.out.printf(
        "%-8s %4s %7s %8s %8s %8s %8s%n",
        "batch", "seed", "test %", "updates", "samples", "seconds", "of batch");
    for (String seed : args[1].split(",")) {
      for (String batch :
          args[2].split(",")) { // side by side, as the machine is not always as fast
        run(batch, Long.parseLong(seed), train, test);
      }
    }
  }

  private static void run(String batch, long seed, Dataset train, Dataset test) {
    BatchSchedule schedule =
        batch.equals("auto")
            ? BatchSchedule.auto(128)
            : BatchSchedule.constant(Integer.parseInt(batch));
    try (Device device = Device.of("cpu");
        Trainer trainer =
            Trainer.of(Models.lenet(10))
                .batchSize(schedule)
                .ghostBatchSize(32)
                .microBatch(32)
                .learningRate(0.05, BatchRule.sqrtFrom(128))
                .clipGradientNorm(5)
                .epochs(EPOCHS)
                .seed(seed)
                .checkpointEvery(CheckpointInterval.NONE)
                .listener(new Watch(batch, seed, test))
                .on(device)) {
      trainer.fit(train, test);
    }
  }

  /** Tests the network as it trains, prints when it reaches a target, and stops it at the last. */
  private static final class Watch implements TrainingListener {
    private final String batch;
    private final long seed;
    private final Dataset test;
    private long next = EVERY;
    private long samples;
    private long since;
    private long trained; // nanoseconds, without tests
    private int reached;

    Watch(String batch, long seed, Dataset test) {
      this.batch = batch;
      this.seed = seed;
      this.test = test;
    }

    @Override
    public void onStart(Trainer trainer) {
      since = System.nanoTime();
    }

    @Override
    public void onUpdate(Trainer trainer) {
      long now = System.nanoTime();
      trained += now - since;
      since = now;
      long size = trainer.samples() - samples;
      samples = trainer.samples();
      if (samples < next) {
        return;
      }
      next += EVERY;
      double accuracy = trainer.evaluate(test).accuracy();
      for (; reached < TARGETS.length && accuracy >= TARGETS[reached]; reached++) {
        System.out.printf(
            Locale.ROOT,
            "%-8s %4d %7.1f %8d %8d %8.2f %8d%n",
            batch,
            seed,
            100 * TARGETS[reached],
            trainer.updates(),
            samples,
            trained / 1e9,
            size);
      }
      if (reached == TARGETS.length) {
        trainer.stop();
      }
      since = System.nanoTime();
    }

    @Override
    public void onEpochEnd(Trainer trainer, EpochRow row) {
      since = System.nanoTime(); // after its evaluation
    }
  }
}
