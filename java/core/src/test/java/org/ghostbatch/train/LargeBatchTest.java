package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Strokes;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Engine;
import org.ghostbatch.nn.Models;
import org.ghostbatch.optim.BatchRule;
import org.ghostbatch.optim.Lamb;
import org.ghostbatch.optim.Lars;
import org.ghostbatch.optim.Optimizer;
import org.ghostbatch.optim.Schedule;
import org.ghostbatch.optim.Sgd;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What is meant for large batches, on strokes with a sixth of the training set a batch. */
@Timeout(300)
class LargeBatchTest {
  private static final Dataset TRAIN = Strokes.train();
  private static final Dataset TEST = Strokes.test();
  private static final int EPOCHS = 10;
  private static final double RATE = 1;

  private static Trainer.Builder builder(Optimizer optimizer) {
    return Trainer.of(Models.byName("lenet-small", 10))
        .batchSize(1000)
        .ghostBatchSize(125)
        .optimizer(optimizer)
        .epochs(EPOCHS)
        .threads(2);
  }

  private static double accuracy(Optimizer optimizer, double rate) {
    try (Device device = Device.of("cpu");
        Trainer trainer =
            builder(optimizer)
                .learningRate(new Schedule.Cosine(rate), BatchRule.none())
                .warmupEpochs(1)
                .on(device)) {
      History history = trainer.fit(TRAIN, TEST);
      System.out.println(optimizer + ": " + history.train() + ", " + history.test());
      return history.test().accuracy();
    }
  }

  @Test
  void larsAndLambLearn() {
    assertTrue(accuracy(Lars.of().trust(0.02).weightDecay(1e-4), 0.7) > 0.85);
    assertTrue(accuracy(Lamb.of(), 0.03) > 0.85);
  }

  /** At a rate that is too high to end at, averages of the weights are better than the weights. */
  @Test
  void averagesOfWeightsAreBetterThanTheWeights() {
    try (Device device = Device.of("cpu");
        Trainer trainer = builder(Sgd.withMomentum(0.9)).learningRate(RATE).on(device)) {
      trainer.prepare(TRAIN);
      Engine engine = trainer.engine();
      TrainingSpec.Builder spec = trainer.spec().toBuilder();
      try (WeightAverage ema =
              WeightAverage.of(
                  spec.ema(0.9).build(), device, trainer.vectors(), engine.parameters());
          WeightAverage swa =
              WeightAverage.of(
                  spec.ema(0).swaFrom(6).build(), device, trainer.vectors(), engine.parameters());
          BatchFeed feed = new MemoryFeed(device, TRAIN, 1000, 1)) {
        for (int epoch = 0; epoch < EPOCHS; epoch++) {
          feed.start(epoch, 1000);
          for (int update = 0; update < trainer.updatesOf(epoch); update++) {
            feed.next();
            trainer.step(feed.samples(), feed.rows(), feed.count(), null, RATE, epoch);
            ema.afterUpdate(engine.parameters());
          }
          swa.afterEpoch(epoch + 1, engine.parameters());
        }
        double raw = trainer.evaluate(TEST).accuracy();
        double[] accuracies = new double[4];
        int i = 0;
        for (WeightAverage average : Arrays.asList(ema, swa)) {
          trainer.vectors().copy(average.weights(), engine.parameters());
          engine.parametersChanged();
          accuracies[i++] = trainer.evaluate(TEST).accuracy();
          trainer.recomputeStatistics(TRAIN);
          accuracies[i++] = trainer.evaluate(TEST).accuracy();
        }
        String text = "weights " + raw + ", averages " + Arrays.toString(accuracies);
        System.out.println(text);
        assertTrue(accuracies[1] > raw && accuracies[3] > raw, text);
      }
    }
  }
}
