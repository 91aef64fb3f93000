package org.ghostbatch.cli;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.ghostbatch.data.DataOptions;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Datasets;
import org.ghostbatch.device.Augmentation;
import org.ghostbatch.device.Device;
import org.ghostbatch.io.AtomicFiles;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.train.LoaderSpeed;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Measures parts of a training. */
@Command(
    name = "bench",
    description = {
      "Measures how fast data is loaded (suite loader), by the path that training takes.",
      "read: files are read, decoded and scaled (of folder: only). augment: samples in memory are augmented and "
          + "normalized. all: both, as in a run whose data does not fit into memory."
    },
    customSynopsis =
        "ghostbatch bench --suite loader [--data D] [--data-dir DIR] [--image-size N] [--augment KIND]%n"
            + "                        [--batch B] [--seconds X] [--threads N] [--out FILE.json]%n")
final class BenchCommand implements Callable<Integer> {
  @Option(names = "--suite", paramLabel = "NAME", required = true, description = "loader.")
  private String suite;

  @Option(
      names = "--data",
      paramLabel = "D",
      defaultValue = "strokes",
      description = DataFlags.NAMES + ". Default: strokes.")
  private String data;

  @Option(
      names = "--data-dir",
      paramLabel = "DIR",
      description = "Folder of the data's files, or one that holds it. Default: $GHOSTBATCH_DATA.")
  private Path dataDir;

  @Option(
      names = "--image-size",
      paramLabel = "N",
      description = "As in train. Default: images as they are.")
  private Integer imageSize;

  @Option(
      names = "--augment",
      paramLabel = "KIND",
      defaultValue = "pad-crop-flip",
      description = "none, flip, crop-flip, pad-crop-flip or affine. Default: pad-crop-flip.")
  private String augment;

  @Option(
      names = "--batch",
      paramLabel = "B",
      defaultValue = "1024",
      description =
          "Samples that are brought together. Default: 1024, or all where there are fewer.")
  private int batch;

  @Option(
      names = "--seconds",
      paramLabel = "X",
      defaultValue = "3",
      description = "How long each figure is measured. Default: 3.")
  private double seconds;

  @Option(
      names = "--out",
      paramLabel = "FILE.json",
      description = "Also write the figures to this file.")
  private Path out;

  @Mixin private DataFlags loading;
  @Mixin private DeviceOptions device;
  @Mixin private CommonOptions common;

  @Override
  public Integer call() {
    if (!suite.equals("loader")) {
      throw new UsageException("--suite needs loader, got " + suite);
    }
    UsageException.check(() -> Datasets.check(data));
    if (batch < 1) {
      throw new UsageException("--batch needs 1 or more, got " + batch);
    }
    if (!(seconds > 0 && seconds <= 3600)) {
      throw new UsageException("--seconds needs a time above 0 up to 3600, got " + seconds);
    }
    Augmentation augmentation = UsageException.check(() -> Augmentation.of(augment));
    DataOptions options =
        UsageException.check(
            () ->
                loading
                    .options(device.threads(), Terminal.standardError())
                    .withFolder(dataDir)
                    .withImageSize(
                        imageSize == null ? 0 : imageSize, imageSize == null ? 0 : imageSize)
                    .withMemory(0)); // decoded whenever they are read, however many there are
    try (Device opened = device.open()) {
      Dataset train = Datasets.load(data, options).train();
      List<LoaderSpeed> speeds =
          LoaderSpeed.measure(
              opened,
              device.threads(),
              train,
              Math.min(batch, train.count()),
              augmentation,
              seconds);
      System.out.print(table(train, speeds));
      if (out != null) {
        AtomicFiles.write(out, (json(train, speeds) + "\n").getBytes(StandardCharsets.UTF_8));
      }
    }
    return Main.DONE;
  }

  private String table(Dataset train, List<LoaderSpeed> speeds) {
    TextTable table = new TextTable("loader", "images/s", "us an image", "images", "threads");
    for (LoaderSpeed speed : speeds) {
      table.row(
          speed.name(),
          String.format(Locale.ROOT, "%,.0f", speed.imagesPerSecond()),
          String.format(Locale.ROOT, "%.2f", 1e6 / speed.imagesPerSecond()),
          String.format(Locale.ROOT, "%,d", speed.images()),
          Integer.toString(device.threads()));
    }
    return String.format(
        Locale.ROOT,
        "%s: %,d images as %s, %s, batch %d%n%s",
        data,
        train.count(),
        train.shape(),
        augment,
        Math.min(batch, train.count()),
        table);
  }

  private String json(Dataset train, List<LoaderSpeed> speeds) {
    List<JsonObject> rows =
        speeds.stream()
            .map(
                speed ->
                    new JsonObject()
                        .put("suite", suite)
                        .put("name", speed.name())
                        .put("images_per_second", speed.imagesPerSecond())
                        .put("images", speed.images())
                        .put("seconds", speed.seconds())
                        .put("threads", device.threads())
                        .put("batch", Math.min(batch, train.count()))
                        .put("data", data)
                        .put("shape", train.shape().toString())
                        .put("augment", augment))
            .toList();
    return Json.writeIndented(
        new JsonObject()
            .put("version", Version.text())
            .put("processors", Runtime.getRuntime().availableProcessors())
            .put("rows", rows));
  }
}
