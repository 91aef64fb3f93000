package org.ghostbatch.study;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;

/**
 * What one arm came to with one seed. Accuracies are in 0..1; train figures are evaluated at the
 * end, without augmentation, on the whole training set.
 *
 * @param start fingerprint of the initial weights, the same for all arms of a seed
 * @param epochs passes over the training set
 * @param seconds of the whole run
 * @param measures what the arm's {@code measure} asks for, by name, as measured last
 */
public record StudyResult(
    String arm,
    long seed,
    String start,
    int epochs,
    long updates,
    double trainLoss,
    double trainAccuracy,
    double testLoss,
    double testAccuracy,
    double weightDistance,
    double imagesPerSecond,
    double seconds,
    Map<String, Double> measures) {

  /** Column names of {@link #csv}. */
  static final String CSV_HEADER =
      "arm,seed,epochs,updates,train_loss,train_accuracy,test_loss,test_accuracy,weight_distance,images_per_second,"
          + "seconds";

  public StudyResult {
    measures = Collections.unmodifiableMap(new LinkedHashMap<>(measures)); // in their order
  }

  /** Train minus test accuracy. */
  public double generalizationGap() {
    return trainAccuracy - testAccuracy;
  }

  String csv() {
    return Csv.row(
        arm,
        seed,
        epochs,
        updates,
        trainLoss,
        trainAccuracy,
        testLoss,
        testAccuracy,
        weightDistance,
        imagesPerSecond,
        seconds);
  }

  /** The result as a JSON object. */
  JsonObject json() {
    JsonObject measured = new JsonObject();
    measures.forEach((name, value) -> measured.put(name, Json.finiteOrNull(value)));
    return new JsonObject()
        .put("arm", arm)
        .put("seed", seed)
        .put("start", start)
        .put("epochs", epochs)
        .put("updates", updates)
        .put("train_loss", Json.finiteOrNull(trainLoss))
        .put("train_accuracy", Json.finiteOrNull(trainAccuracy))
        .put("test_loss", Json.finiteOrNull(testLoss))
        .put("test_accuracy", Json.finiteOrNull(testAccuracy))
        .put("weight_distance", Json.finiteOrNull(weightDistance))
        .put("images_per_second", Json.finiteOrNull(imagesPerSecond))
        .put("seconds", seconds)
        .put("measures", measured);
  }

  /** The members that {@code summary.json} of a run has, as a result. */
  static StudyResult of(String arm, String start, JsonObject summary) {
    Map<String, Double> measures = new LinkedHashMap<>();
    if (summary.has("measures")) {
      JsonObject measured = summary.getObject("measures");
      measured.names().forEach(name -> measures.put(name, number(measured, name)));
    }
    return new StudyResult(
        arm,
        summary.getLong("seed"),
        start,
        summary.getInt("epochs"),
        summary.getLong("updates"),
        number(summary, "train_loss"),
        number(summary, "train_accuracy"),
        number(summary, "test_loss"),
        number(summary, "test_accuracy"),
        number(summary, "weight_distance"),
        number(summary, "images_per_second"),
        number(summary, "seconds"),
        measures);
  }

  /** A diverged loss is null in JSON. */
  private static double number(JsonObject summary, String name) {
    return summary.isNull(name) ? Double.NaN : summary.getDouble(name);
  }
}
