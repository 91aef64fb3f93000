package org.ghostbatch.benchmarks.peers;

import java.nio.file.Path;
import org.ghostbatch.data.DataPair;
import org.ghostbatch.device.Augmentation;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.optim.BatchSchedule;
import org.ghostbatch.optim.Sgd;
import org.ghostbatch.train.EpochRow;
import org.ghostbatch.train.RunFolder;
import org.ghostbatch.train.Trainer;
import org.ghostbatch.train.TrainingListener;
import org.ghostbatch.train.TrainingSpec;

/** A recipe with GhostBatch on the CPU, as {@code ghostbatch train} does it. */
final class GhostBatchRun {
  private GhostBatchRun() {}

  static void run(Recipe recipe, DataPair data, Path folder) {
    TrainingSpec spec =
        TrainingSpec.builder()
            .model("resnet" + recipe.depth())
            .data(data.name())
            .trainSamples(recipe.trainSamples())
            .batch(BatchSchedule.constant(recipe.batch()))
            .ghost(recipe.ghost())
            .optimizer(Sgd.withMomentum(Recipe.MOMENTUM).weightDecay(recipe.weightDecay()))
            .learningRate(recipe.learningRate())
            .clipGradientNorm(recipe.clip())
            .augmentation(Augmentation.PAD_CROP_FLIP)
            .epochs(recipe.epochs())
            .precision(DataType.of(recipe.precision()))
            .threads(recipe.threads())
            .seed(recipe.seed())
            .build();
    try (Device device = Device.of("cpu");
        RunFolder files = RunFolder.create(folder);
        Trainer trainer =
            Trainer.of(spec, data.train().classes())
                .listener(new Updates(folder)) // before the run folder, which completes the run
                .listener(files)
                .on(device)) {
      trainer.fit(data);
    }
  }

  /** Writes {@code updates.csv} each epoch, and says how the run goes. */
  private static final class Updates implements TrainingListener {
    private final Path folder;
    private final RunFiles.Updates rows = new RunFiles.Updates();

    Updates(Path folder) {
      this.folder = folder;
    }

    @Override
    public void onUpdate(Trainer trainer) {
      rows.add(
          trainer.updates(),
          trainer.lastLearningRate(),
          trainer.lastLoss(),
          trainer.lastAccuracy(),
          trainer.lastGradientNorm());
    }

    @Override
    public void onEpochEnd(Trainer trainer, EpochRow row) {
      rows.write(folder);
      Accuracy.log(row);
    }
  }
}
