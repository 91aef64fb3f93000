package org.ghostbatch.train;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import org.ghostbatch.data.DataOptions;
import org.ghostbatch.data.DataPair;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Datasets;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.io.AtomicFiles;
import org.ghostbatch.nn.ModelFile;

/**
 * What the folder of a run has for an analysis: its spec, its network, and its data.
 *
 * @param train what it trained on, as {@link #trainedOn} says
 */
public record TrainedRun(
    Path folder, TrainingSpec spec, ModelFile model, Dataset train, Dataset test) {

  /**
   * Reads a run folder and loads its data.
   *
   * @param options how; without a folder, the run's
   */
  public static TrainedRun open(Path folder, DataOptions options) {
    Check.present("run folder", "a path", folder);
    TrainingSpec spec = RunFolder.config(folder);
    ModelFile model = ModelFile.read(RunFolder.model(folder));
    SampleShape input = model.network().inputShape();
    DataOptions own =
        options.folder() == null && spec.dataDir() != null
            ? options.withFolder(Path.of(spec.dataDir()))
            : options;
    DataPair pair =
        Datasets.load(
            spec.data(),
            own.withImageSize(input.height(), input.width()).withChannels(input.channels()));
    return new TrainedRun(folder, spec, model, trainedOn(pair.train(), spec), pair.test());
  }

  /**
   * Of a training set, what a run of this spec trains on: its first samples, less what it sets
   * aside.
   */
  public static Dataset trainedOn(Dataset all, TrainingSpec spec) {
    return spec.validation() == 0 ? used(all, spec) : split(all, spec).train();
  }

  /** Of a training set, what a run of this spec sets aside. */
  public static Dataset setAside(Dataset all, TrainingSpec spec) {
    return split(all, spec).validation();
  }

  private static Dataset.Split split(Dataset all, TrainingSpec spec) {
    return used(all, spec).split(spec.validation(), spec.seed());
  }

  private static Dataset used(Dataset all, TrainingSpec spec) {
    return spec.trainSamples() == 0 ? all : all.take(Math.min(spec.trainSamples(), all.count()));
  }

  /** Tells this network from others: a hash of its file. */
  public String fingerprint() {
    try {
      return AtomicFiles.hash(RunFolder.model(folder));
    } catch (IOException e) {
      throw new UncheckedIOException(
          "[run folder] cannot read " + RunFolder.model(folder) + ": " + e.getMessage(), e);
    }
  }

  /**
   * Samples over which batch norm took its statistics in training, at most where the batch followed
   * the noise scale; 0 without batch norm.
   */
  public int ghost() {
    int batch = spec.batch().largest(train.count());
    int ghost = spec.ghost() == 0 ? batch : Math.min(spec.ghost(), batch);
    return model.network().hasBatchNorm() ? Math.min(ghost, train.count()) : 0;
  }
}
