package org.ghostbatch.cli;

import java.nio.file.Path;
import java.util.concurrent.Callable;
import org.ghostbatch.data.DataPair;
import org.ghostbatch.data.Datasets;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.Device;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.train.Evaluation;
import org.ghostbatch.train.Predictor;
import org.ghostbatch.train.RunFolder;
import org.ghostbatch.train.TrainingSpec;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Loss and accuracy of a trained network on test data. */
@Command(
    name = "evaluate",
    description =
        "Tells loss and accuracy of a trained network on the test set of its data, or of other data.",
    customSynopsis =
        "ghostbatch evaluate (--run DIR | --checkpoint FILE) [--data D] [--data-dir DIR] [--json]%n"
            + "                           [--offline] [--backend NAME] [--threads N]%n")
final class EvaluateCommand implements Callable<Integer> {
  @ArgGroup(multiplicity = "1", exclusive = true)
  private ModelSource source;

  @Option(
      names = "--data",
      paramLabel = "D",
      description =
          DataFlags.NAMES
              + "; images are scaled to the network's input. Default: the data of the run.")
  private String data;

  @Option(
      names = "--data-dir",
      paramLabel = "DIR",
      description =
          "Folder of the data's files, or one that holds it. Default: that of the run, $GHOSTBATCH_DATA.")
  private String dataDir;

  @Option(names = "--json", description = "One JSON object on standard output.")
  private boolean json;

  @Mixin private DataFlags loading;
  @Mixin private DeviceOptions device;
  @Mixin private CommonOptions common;

  @Override
  public Integer call() {
    if (data == null && source.run == null) {
      throw new UsageException("--checkpoint needs --data: a model file does not name its data");
    }
    if (data != null) {
      UsageException.check(() -> Datasets.check(data));
    }
    Path model = source.file();
    String name = data;
    String folder = dataDir;
    if (name == null) {
      TrainingSpec spec = RunFolder.config(source.run);
      name = spec.data();
      folder = folder == null ? spec.dataDir() : folder;
    }
    try (Device opened = device.open();
        Predictor predictor = Predictor.load(model, opened)) {
      SampleShape input = predictor.inputShape();
      DataPair pair =
          Datasets.load(
              name,
              loading
                  .options(opened.threads(), Terminal.standardError())
                  .withFolder(folder == null ? null : Path.of(folder))
                  .withImageSize(input.height(), input.width()));
      Evaluation evaluation = predictor.evaluate(pair.test());
      if (json) {
        System.out.println(
            Json.write(
                new JsonObject()
                    .put("model", model.toString())
                    .put("data", name)
                    .put("backend", opened.name())
                    .put("samples", evaluation.samples())
                    .put("test_loss", Json.finiteOrNull(evaluation.loss()))
                    .put("test_accuracy", evaluation.accuracy())));
      } else {
        System.out.printf(
            "%s: loss %s, accuracy %s on %,d test samples%n",
            name,
            Figures.number(evaluation.loss()),
            Figures.percent(evaluation.accuracy()),
            evaluation.samples());
      }
    }
    return Main.DONE;
  }
}
