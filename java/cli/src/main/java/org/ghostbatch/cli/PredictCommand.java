package org.ghostbatch.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.ghostbatch.data.ImageFile;
import org.ghostbatch.device.Device;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.train.Prediction;
import org.ghostbatch.train.Predictor;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Classes of image files. */
@Command(
    name = "predict",
    description =
        "Tells the classes of images, which are scaled to cover the network's input and cut around the centre.",
    customSynopsis =
        "ghostbatch predict (--run DIR | --checkpoint FILE) [--json] [--backend NAME] [--threads N] IMAGE...%n")
final class PredictCommand implements Callable<Integer> {
  @ArgGroup(multiplicity = "1", exclusive = true)
  private ModelSource source;

  @Parameters(arity = "1..*", paramLabel = "IMAGE", description = "PNG or JPEG files.")
  private List<Path> images;

  @Option(names = "--json", description = "One JSON object on standard output.")
  private boolean json;

  @Mixin private DeviceOptions device;
  @Mixin private CommonOptions common;

  @Override
  public Integer call() {
    try (Device opened = device.open();
        Predictor predictor = Predictor.load(source.file(), opened)) {
      byte[][] samples =
          images.stream()
              .map(image -> ImageFile.read(image, predictor.inputShape()))
              .toArray(byte[][]::new);
      List<Prediction> predictions = predictor.predict(samples);
      if (json) {
        System.out.println(Json.write(json(predictions)));
      } else {
        for (int i = 0; i < predictions.size(); i++) {
          Prediction prediction = predictions.get(i);
          System.out.printf(
              Locale.ROOT,
              "%s: %s (%s)%n",
              images.get(i),
              prediction.className(),
              Figures.percent(prediction.probability()));
        }
      }
    }
    return Main.DONE;
  }

  private JsonObject json(List<Prediction> predictions) {
    List<JsonObject> items = new ArrayList<>();
    for (int i = 0; i < predictions.size(); i++) {
      Prediction prediction = predictions.get(i);
      List<Double> probabilities = new ArrayList<>();
      for (float probability : prediction.probabilities()) {
        probabilities.add(Json.finiteOrNull(probability));
      }
      items.add(
          new JsonObject()
              .put("image", images.get(i).toString())
              .put("label", prediction.label())
              .put("class", prediction.className())
              .put("probabilities", probabilities));
    }
    return new JsonObject().put("model", source.file().toString()).put("predictions", items);
  }
}
