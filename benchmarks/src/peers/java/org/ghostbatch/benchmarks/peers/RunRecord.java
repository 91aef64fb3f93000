package org.ghostbatch.benchmarks.peers;

import java.nio.file.Path;
import java.util.Map;
import org.ghostbatch.io.JsonObject;

/**
 * A complete run, read from its folder, which is named ENGINE-PRECISION-SEED.
 *
 * @param losses of each update's batch
 * @param testAccuracies after each epoch
 * @param imagesPerSecond NaN where the run was too short to tell
 */
record RunRecord(
    String engine,
    String precision,
    long seed,
    double[] losses,
    double[] testAccuracies,
    double imagesPerSecond) {
  static RunRecord read(Path folder) {
    String[] name = folder.getFileName().toString().split("-", 2);
    JsonObject summary = RunFiles.summary(folder);
    Map<String, double[]> metrics = RunFiles.columns(folder.resolve(RunFiles.METRICS));
    return new RunRecord(
        name[0],
        summary.getString("precision"),
        summary.getLong("seed"),
        RunFiles.columns(folder.resolve(RunFiles.UPDATES)).get("loss"),
        metrics.get("test_accuracy"),
        summary.isNull("images_per_second") ? Double.NaN : summary.getDouble("images_per_second"));
  }

  double finalAccuracy() {
    return testAccuracies[testAccuracies.length - 1];
  }
}
