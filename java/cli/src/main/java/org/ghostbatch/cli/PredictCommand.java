package org.ghostbatch.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
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
    description = {
      "Tells the classes of images.",
      "Images are scaled to cover the network's input and cut around the centre."
    },
    customSynopsis =
        "ghostbatch predict (--run DIR | --checkpoint FILE) [--top K] [--json]%n"
            + "                          [--backend NAME] [--threads N] IMAGE...%n")
final class PredictCommand implements Callable<Integer> {
  @ArgGroup(multiplicity = "1", exclusive = true)
  private ModelSource source;

  @Parameters(arity = "1..*", paramLabel = "IMAGE", description = "PNG or JPEG files.")
  private List<Path> images;

  @Option(
      names = "--top",
      paramLabel = "K",
      defaultValue = "3",
      description = "How many of the most likely classes to tell. Default: 3.")
  private int top;

  @Option(names = "--json", description = "One JSON object on standard output.")
  private boolean json;

  @Mixin private DeviceOptions device;
  @Mixin private CommonOptions common;

  @Override
  public Integer call() {
    if (top < 1) {
      throw new UsageException("--top needs 1 or more, got " + top);
    }
    try (Device opened = device.open();
        Predictor predictor = Predictor.load(source.file(), opened)) {
      byte[][] samples =
          images.stream()
              .map(image -> ImageFile.read(image, predictor.inputShape()))
              .toArray(byte[][]::new);
      List<Prediction> predictions = predictor.predict(samples);
      if (json) {
        System.out.println(Json.write(json(predictions, predictor.classNames())));
      } else {
        for (int i = 0; i < predictions.size(); i++) {
          System.out.println(
              images.get(i) + ": " + text(predictions.get(i), predictor.classNames()));
        }
      }
    }
    return Main.DONE;
  }

  /** The most likely class and its probability, then the next. */
  private String text(Prediction prediction, List<String> names) {
    float[] probabilities = prediction.probabilities();
    return Arrays.stream(prediction.top(top))
        .mapToObj(c -> names.get(c) + " (" + Figures.percent(probabilities[c]) + ")")
        .collect(Collectors.joining(", "));
  }

  private JsonObject json(List<Prediction> predictions, List<String> names) {
    List<JsonObject> items = new ArrayList<>();
    for (int i = 0; i < predictions.size(); i++) {
      Prediction prediction = predictions.get(i);
      List<Double> probabilities = new ArrayList<>();
      for (float probability : prediction.probabilities()) {
        probabilities.add(Json.finiteOrNull(probability));
      }
      List<JsonObject> likely = new ArrayList<>();
      for (int c : prediction.top(top)) {
        likely.add(
            new JsonObject()
                .put("label", c)
                .put("class", names.get(c))
                .put("probability", probabilities.get(c)));
      }
      items.add(
          new JsonObject()
              .put("image", images.get(i).toString())
              .put("label", prediction.label())
              .put("class", prediction.className())
              .put("top", likely)
              .put("probabilities", probabilities));
    }
    return new JsonObject().put("model", source.file().toString()).put("predictions", items);
  }
}
