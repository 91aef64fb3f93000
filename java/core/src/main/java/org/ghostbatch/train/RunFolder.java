package org.ghostbatch.train;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import org.ghostbatch.device.Engine;
import org.ghostbatch.io.AtomicFiles;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;

/**
 * The folder of a run: {@code config.json} (the spec, and what it resolved to), {@code metrics.csv}
 * (a row an epoch), {@code model.safetensors}, {@code summary.json}. As a listener of a {@link
 * Trainer} it writes them when it is time; each file is whole or not there. While it is open, no
 * other process can open the folder.
 */
public final class RunFolder implements TrainingListener, AutoCloseable {
  static final String CONFIG = "config.json";
  static final String METRICS = "metrics.csv";
  static final String MODEL = "model.safetensors";
  static final String SUMMARY = "summary.json";
  private static final String LOCK = ".lock";

  private final Path folder;
  private final FileChannel channel;
  private final FileLock lock;
  private final StringBuilder metrics = new StringBuilder(EpochRow.CSV_HEADER).append('\n');

  private RunFolder(Path folder, FileChannel channel, FileLock lock) {
    this.folder = folder;
    this.channel = channel;
    this.lock = lock;
  }

  /**
   * Makes a folder for a new run, and its parents.
   *
   * @throws IllegalArgumentException where it holds a run already, or another process uses it
   */
  public static RunFolder create(Path folder) {
    Check.present("run folder", "a path", folder);
    FileChannel channel = null;
    try {
      Files.createDirectories(folder);
      channel =
          FileChannel.open(
              folder.resolve(LOCK), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
      FileLock lock = tryLock(channel);
      if (lock == null) {
        channel.close();
        throw Check.bad("run folder", "a folder that no other run uses", folder);
      }
      for (String file : List.of(CONFIG, METRICS, MODEL, SUMMARY)) {
        if (Files.exists(folder.resolve(file))) {
          lock.release();
          channel.close();
          throw Check.bad(
              "run folder", "a new folder, or one without a run", folder + " with " + file);
        }
      }
      return new RunFolder(folder, channel, lock);
    } catch (IOException e) {
      throw new UncheckedIOException(
          "[run folder] cannot make " + folder + ": " + e.getMessage(), e);
    }
  }

  private static FileLock tryLock(FileChannel channel) throws IOException {
    try {
      return channel.tryLock();
    } catch (OverlappingFileLockException e) {
      return null; // held by this process
    }
  }

  /** The spec of the run in a folder. */
  public static TrainingSpec config(Path folder) {
    try {
      return TrainingSpec.fromJson(Json.parseObject(Files.readString(folder.resolve(CONFIG))));
    } catch (IOException e) {
      throw new UncheckedIOException(
          "[run folder] cannot read " + folder.resolve(CONFIG) + ": " + e.getMessage(), e);
    }
  }

  /** The model file of the run in a folder. */
  public static Path model(Path folder) {
    return folder.resolve(MODEL);
  }

  /**
   * The outcome of the run in a folder; its train and test figures are null where it was stopped
   * within an epoch.
   */
  public static Path summaryFile(Path folder) {
    return folder.resolve(SUMMARY);
  }

  public Path path() {
    return folder;
  }

  @Override
  public void onStart(Trainer trainer) {
    Engine engine = trainer.engine();
    JsonObject kernels = new JsonObject();
    List<String> names = trainer.network().operationNames();
    for (int i = 0; i < names.size(); i++) {
      kernels.put(names.get(i), engine.implementation(i));
    }
    JsonObject resolved =
        new JsonObject()
            .put("micro_batch", engine.microBatch())
            .put("threads", trainer.threads())
            .put("engine_bytes", engine.bytes())
            .put("data_fingerprint", trainer.data().fingerprint())
            .put(
                "versions",
                new JsonObject()
                    .put("ghostbatch", version())
                    .put("java", System.getProperty("java.version"))
                    .put("os", System.getProperty("os.name") + " " + System.getProperty("os.arch"))
                    .put("device", trainer.device().description().lines().toList()))
            .put("kernels", kernels);
    JsonObject config = trainer.spec().toJson().put(TrainingSpec.RESOLVED, resolved);
    write(CONFIG, Json.writeIndented(config));
    write(METRICS, metrics.toString());
  }

  private static String version() {
    String version = RunFolder.class.getPackage().getImplementationVersion();
    return version == null ? "development" : version;
  }

  @Override
  public void onEpochEnd(Trainer trainer, EpochRow row) {
    metrics.append(row.csv()).append('\n');
    write(METRICS, metrics.toString());
  }

  @Override
  public void onEnd(Trainer trainer, History history) {
    trainer.save(folder.resolve(MODEL));
    write(SUMMARY, Json.writeIndented(summary(trainer, history)));
  }

  /** The members of {@code summary.json}; accuracies in 0..1, null for what is not a number. */
  public static JsonObject summary(Trainer trainer, History history) {
    TrainingSpec spec = trainer.spec();
    Evaluation train = history.train();
    Evaluation test = history.test();
    JsonObject json = new JsonObject();
    json.put("model", spec.model());
    json.put("data", spec.data());
    json.put("backend", spec.backend());
    json.put("device", trainer.device().description().lines().findFirst().orElse(spec.backend()));
    json.put("precision", spec.precision().toString());
    json.put(
        "batch",
        spec.batch().phases().size() == 1 ? spec.batch().first() : spec.batch().toString());
    json.put("ghost", spec.ghost() == 0 ? null : spec.ghost());
    json.put("micro_batch", trainer.engine().microBatch());
    json.put("seed", spec.seed());
    json.put("threads", trainer.threads());
    json.put("epochs", history.epochs().size());
    json.put("updates", history.updates());
    json.put("parameters", trainer.network().parameterCount());
    json.put("train_loss", train == null ? null : Json.finiteOrNull(train.loss()));
    json.put("train_accuracy", train == null ? null : train.accuracy());
    json.put("test_loss", test == null ? null : Json.finiteOrNull(test.loss()));
    json.put("test_accuracy", test == null ? null : test.accuracy());
    json.put("best_test_accuracy", Json.finiteOrNull(history.bestTestAccuracy()));
    json.put("weight_distance", Json.finiteOrNull(history.weightDistance()));
    json.put("images_per_second", Json.finiteOrNull(history.imagesPerSecond()));
    json.put("peak_rss_bytes", peakResidentBytes());
    json.put("seconds", history.seconds());
    return json;
  }

  /** The largest resident memory of this process so far; null where the system does not say. */
  static Long peakResidentBytes() {
    try {
      for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
        if (line.startsWith("VmHWM:")) {
          return 1024 * Long.parseLong(line.replaceAll("[^0-9]", ""));
        }
      }
    } catch (IOException e) {
      // Not Linux.
    }
    return null;
  }

  private void write(String name, String text) {
    String line = text.endsWith("\n") ? text : text + "\n";
    AtomicFiles.write(folder.resolve(name), line.getBytes(StandardCharsets.UTF_8));
  }

  /** Lets other processes use the folder; closing twice is silent. */
  @Override
  public void close() {
    try {
      if (channel.isOpen()) {
        lock.release();
        channel.close();
      }
    } catch (IOException e) {
      throw new UncheckedIOException(
          "[run folder] cannot close " + folder + ": " + e.getMessage(), e);
    }
  }
}
