package org.ghostbatch.train;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.System.Logger;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.ghostbatch.device.Engine;
import org.ghostbatch.io.AtomicFiles;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;

/**
 * The folder of a run: {@code config.json} (the spec, and what it resolved to), {@code metrics.csv}
 * (a row an epoch), {@code distances.csv} (of the weights from their start, by update), {@code
 * measures.csv} (a row a figure, where the spec has measures), {@code model.safetensors}, {@code
 * summary.json}, {@code checkpoint/} (the last two; one that is damaged stays there with the ending
 * {@code .damaged}), {@code best/} (networks of the best validation accuracy). As a listener of a
 * {@link Trainer} it writes them when it is time; each file is whole or not there. While it is
 * open, no other process can open the folder.
 *
 * <p>A run that was interrupted, or killed at any moment, goes on where its last checkpoint is:
 *
 * <pre>{@code
 * try (RunFolder folder = RunFolder.resume(path);
 *     Trainer trainer = folder.trainer(10).on(device)) {
 *   trainer.fit(train, test);
 * }
 * }</pre>
 */
public final class RunFolder implements TrainingListener, AutoCloseable {
  static final String CONFIG = "config.json";
  private static final String KERNEL_CHOICES = "kernel_choices";
  static final String METRICS = "metrics.csv";
  static final String DISTANCES = "distances.csv";
  static final String MEASURES = "measures.csv";
  static final String MODEL = "model.safetensors";
  static final String SUMMARY = "summary.json";
  static final String CHECKPOINTS = "checkpoint";
  static final String BEST = "best";
  private static final String LOCK = ".lock";
  private static final String DAMAGED = ".damaged";
  private static final String BEST_NAME = "epoch-[0-9]+\\.safetensors";
  private static final Logger LOG = System.getLogger("org.ghostbatch");

  /**
   * Folders that this process has open. A second channel on a lock file may not even be opened: on
   * POSIX its closing lets go of the process's lock.
   */
  private static final Set<Path> OPEN = ConcurrentHashMap.newKeySet();

  private final Path folder;
  private final Path real;
  private final FileChannel channel;
  private final FileLock lock;
  private TrainingSpec spec;
  private Checkpoint checkpoint;
  private String kernelChoices = ""; // those in config.json
  private long saved;

  private RunFolder(Path folder, Path real, FileChannel channel, FileLock lock) {
    this.folder = folder;
    this.real = real;
    this.channel = channel;
    this.lock = lock;
  }

  /**
   * Makes a folder for a new run, and its parents.
   *
   * @throws IllegalArgumentException where it holds a run already, or another process uses it
   */
  public static RunFolder create(Path folder) {
    RunFolder opened = made(folder);
    for (String file :
        List.of(CONFIG, METRICS, DISTANCES, MEASURES, MODEL, SUMMARY, CHECKPOINTS, BEST)) {
      if (Files.exists(folder.resolve(file))) {
        opened.close();
        throw Check.bad(
            "run folder", "a new folder, or one without a run", folder + " with " + file);
      }
    }
    return opened;
  }

  /**
   * Makes a folder for a new run in the place of what an earlier one has left there, which is
   * removed.
   *
   * @throws IllegalArgumentException where another process uses it
   */
  public static RunFolder replace(Path folder) {
    RunFolder opened = made(folder);
    try (Stream<Path> files = Files.walk(folder)) {
      // A folder comes before its files, so that this is from the inside out.
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        if (!file.equals(folder) && !file.equals(folder.resolve(LOCK))) {
          Files.delete(file);
        }
      }
      return opened;
    } catch (IOException e) {
      opened.close();
      throw new UncheckedIOException(
          "[run folder] cannot clear " + folder + ": " + e.getMessage(), e);
    }
  }

  private static RunFolder made(Path folder) {
    Check.present("run folder", "a path", folder);
    try {
      Files.createDirectories(folder);
    } catch (IOException e) {
      throw new UncheckedIOException(
          "[run folder] cannot make " + folder + ": " + e.getMessage(), e);
    }
    return lock(folder);
  }

  /**
   * Opens the folder of a run that goes on. A checkpoint that is damaged is set aside, with a
   * warning, for the one before it; without any, the run begins anew.
   *
   * @throws IllegalArgumentException where it holds no run, or another process uses it
   */
  public static RunFolder resume(Path folder) {
    Check.present("run folder", "a path", folder);
    if (!Files.isRegularFile(folder.resolve(CONFIG))) {
      throw Check.bad(
          "run folder",
          "a folder with a run, that is with " + CONFIG,
          Files.isDirectory(folder) ? folder + " without it" : "no folder " + folder);
    }
    RunFolder opened = lock(folder);
    try {
      opened.readRun();
      return opened;
    } catch (RuntimeException e) {
      opened.close();
      throw e;
    }
  }

  private void readRun() {
    spec = config(folder);
    kernelChoices = kernelChoices(Json.readObject(folder.resolve(CONFIG)));
    removeTemporaries();
    for (Path file : Checkpoint.files(folder.resolve(CHECKPOINTS))) {
      // A file that cannot be read, or not by this version, may be whole: that ends the attempt.
      if (Checkpoint.isWhole(file)) {
        checkpoint = Checkpoint.parse(file);
        saved = checkpoint.updates();
        return;
      }
      LOG.log(
          Logger.Level.WARNING,
          "[run folder] {0} is damaged, and set aside; falling back to the checkpoint before it, if"
              + " there is one",
          file);
      setAside(file);
    }
  }

  private static void setAside(Path file) {
    try {
      Files.move(
          file,
          file.resolveSibling(file.getFileName() + DAMAGED),
          StandardCopyOption.REPLACE_EXISTING);
    } catch (IOException e) {
      LOG.log(Logger.Level.WARNING, "[run folder] cannot rename {0}: {1}", file, e.getMessage());
    }
  }

  /** What a process that was killed while it wrote has left. */
  private void removeTemporaries() {
    for (Path place : List.of(folder, folder.resolve(CHECKPOINTS), folder.resolve(BEST))) {
      try {
        if (Files.isDirectory(place)) {
          AtomicFiles.removeTemporaries(place);
        }
      } catch (IOException e) {
        LOG.log(Logger.Level.WARNING, "[run folder] cannot tidy {0}: {1}", place, e.getMessage());
      }
    }
  }

  private static RunFolder lock(Path folder) {
    try {
      Path real = folder.toRealPath();
      RunFolder opened = OPEN.add(real) ? tryLock(folder, real) : null;
      if (opened == null) {
        throw Check.bad("run folder", "a folder that no other run uses", folder);
      }
      return opened;
    } catch (IOException e) {
      throw new UncheckedIOException(
          "[run folder] cannot open " + folder + ": " + e.getMessage(), e);
    }
  }

  /** Null where another process has the lock. */
  private static RunFolder tryLock(Path folder, Path real) throws IOException {
    RunFolder opened = null;
    FileChannel channel = null;
    try {
      channel =
          FileChannel.open(
              folder.resolve(LOCK), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
      FileLock lock = channel.tryLock();
      opened = lock == null ? null : new RunFolder(folder, real, channel, lock);
      return opened;
    } finally {
      if (opened == null) {
        if (channel != null) {
          channel.close();
        }
        OPEN.remove(real);
      }
    }
  }

  /**
   * The spec of the run in a folder.
   *
   * @throws UncheckedIOException where its file cannot be read
   * @throws IllegalArgumentException naming the file, and what is not as a spec needs it
   */
  public static TrainingSpec config(Path folder) {
    Path file = folder.resolve(CONFIG);
    JsonObject json = Json.readObject(file);
    try {
      return TrainingSpec.fromJson(json);
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException(e.getMessage() + ", in " + file, e);
    }
  }

  /**
   * The kernels that a run has chosen by timing them: for {@link Trainer.Builder#kernelChoices}.
   *
   * @param config members of its {@code config.json}
   * @return empty where it has none
   * @throws IllegalArgumentException where they are no lines of text
   */
  public static String kernelChoices(JsonObject config) {
    Object resolved = config.has(TrainingSpec.RESOLVED) ? config.get(TrainingSpec.RESOLVED) : null;
    if (!(resolved instanceof JsonObject members) || !members.has(KERNEL_CHOICES)) {
      return "";
    }
    Object choices = members.get(KERNEL_CHOICES);
    if (!(choices instanceof List<?> lines && lines.stream().allMatch(String.class::isInstance))) {
      throw Check.bad("run folder", KERNEL_CHOICES + " as a list of texts", choices);
    }
    return lines.stream().map(line -> line + "\n").collect(Collectors.joining());
  }

  /** The file with the spec of the run in a folder, and with what it resolved to. */
  public static Path configFile(Path folder) {
    return folder.resolve(CONFIG);
  }

  /** The model file of the run in a folder. */
  public static Path model(Path folder) {
    return folder.resolve(MODEL);
  }

  /**
   * The outcome of the run in a folder; figures of the whole training set are null where it was
   * stopped.
   */
  public static Path summaryFile(Path folder) {
    return folder.resolve(SUMMARY);
  }

  /**
   * Whether the run in a folder ended early, for its validation did not get better any more, as its
   * metrics say.
   */
  public static boolean stoppedEarly(Path folder) {
    TrainingSpec spec = config(folder);
    if (spec.earlyStop() == 0) {
      return false;
    }
    RunState state = new RunState();
    metrics(folder).forEach(row -> state.validated(row.validationLoss(), row.validationAccuracy()));
    return state.sinceBest >= spec.earlyStop();
  }

  /** The epochs of the run in a folder. */
  public static List<EpochRow> metrics(Path folder) {
    return rows(folder.resolve(METRICS), EpochRow::parse);
  }

  /** How far the weights of the run in a folder were from their start, by update. */
  public static List<DistanceRow> distances(Path folder) {
    return rows(folder.resolve(DISTANCES), DistanceRow::parse);
  }

  /** What was measured in the run in a folder; empty where its spec has no measures. */
  public static List<MeasureRow> measures(Path folder) {
    Path file = folder.resolve(MEASURES);
    return Files.exists(file) ? rows(file, MeasureRow::parse) : List.of();
  }

  private static <T> List<T> rows(Path file, Function<String, T> parse) {
    try (Stream<String> lines = Files.lines(file)) {
      return lines.skip(1).map(parse).toList();
    } catch (IOException e) {
      throw new UncheckedIOException("[run folder] cannot read " + file + ": " + e.getMessage(), e);
    }
  }

  public Path path() {
    return folder;
  }

  /**
   * The settings of the run that is resumed.
   *
   * @throws IllegalStateException for a new run
   */
  public TrainingSpec spec() {
    if (spec == null) {
      throw new IllegalStateException("[run folder] needs a run to resume, got a new one");
    }
    return spec;
  }

  /** The checkpoint that the run goes on from; null where it begins. */
  public Checkpoint checkpoint() {
    return checkpoint;
  }

  /**
   * The kernels that the run has chosen by timing them, as far as it is; empty where it has none.
   */
  public String kernelChoices() {
    return kernelChoices;
  }

  /** Updates in its newest checkpoint; 0 where it has none. */
  public long savedUpdates() {
    return saved;
  }

  /**
   * A builder for the run that goes on: with its spec, from its last checkpoint, written to this
   * folder. What it measures is to be given again.
   *
   * @param classes of its data
   * @throws IllegalStateException for a new run
   */
  public Trainer.Builder trainer(int classes) {
    return Trainer.of(spec(), classes)
        .listener(this)
        .checkpoint(checkpoint)
        .kernelChoices(kernelChoices);
  }

  @Override
  public void onStart(Trainer trainer) {
    writeConfig(trainer);
    writeMetrics(trainer);
    writeMeasures(trainer);
    removeFallen(trainer);
    checkpoint = null; // it is as large as the vectors
  }

  private void writeConfig(Trainer trainer) {
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
            .put("data_fingerprint", trainer.fingerprint())
            .put(
                "versions",
                new JsonObject()
                    .put("ghostbatch", version())
                    .put("java", System.getProperty("java.version"))
                    .put("os", System.getProperty("os.name") + " " + System.getProperty("os.arch"))
                    .put("device", trainer.device().description().lines().toList()))
            .put("kernels", kernels);
    String choices = trainer.device().kernelChoices();
    if (!choices.isEmpty()) {
      resolved.put(KERNEL_CHOICES, choices.lines().toList());
    }
    JsonObject config = trainer.spec().toJson().put(TrainingSpec.RESOLVED, resolved);
    write(CONFIG, Json.writeIndented(config));
    kernelChoices = choices; // not before: where writing fails, the next time tries again
  }

  /** What was made since, as for a measure, may have added choices. */
  private void writeChoices(Trainer trainer) {
    if (!trainer.device().kernelChoices().equals(kernelChoices)) {
      writeConfig(trainer);
    }
  }

  private void writeMetrics(Trainer trainer) {
    boolean validation = trainer.spec().validation() > 0;
    StringBuilder metrics = new StringBuilder(EpochRow.csvHeader(validation)).append('\n');
    trainer.rows().forEach(row -> metrics.append(row.csv(validation)).append('\n'));
    write(METRICS, metrics.toString());
    StringBuilder distances = new StringBuilder(DistanceRow.CSV_HEADER).append('\n');
    trainer.distances().forEach(row -> distances.append(row.csv()).append('\n'));
    write(DISTANCES, distances.toString());
  }

  private void writeMeasures(Trainer trainer) {
    if (trainer.spec().measures().entries().isEmpty()) {
      return;
    }
    StringBuilder measures = new StringBuilder(MeasureRow.CSV_HEADER).append('\n');
    trainer.measured().forEach(row -> measures.append(row.csv()).append('\n'));
    write(MEASURES, measures.toString());
  }

  private static String version() {
    String version = RunFolder.class.getPackage().getImplementationVersion();
    return version == null ? "development" : version;
  }

  @Override
  public void onEpochEnd(Trainer trainer, EpochRow row) {
    // A full disk may have room again later: training goes on, and the next row tries again.
    attempt(() -> writeMetrics(trainer));
    if (best(trainer).contains(row.epoch())) {
      attempt(
          () -> {
            createFolder(BEST);
            trainer.save(bestFile(row.epoch()));
            removeFallen(trainer);
          });
    }
  }

  @Override
  public void onMeasure(Trainer trainer, List<MeasureRow> rows) {
    attempt(() -> writeMeasures(trainer));
  }

  @Override
  public void onCheckpoint(Trainer trainer) {
    attempt(
        () -> {
          writeChoices(trainer); // first: what is saved depends on them
          Path written = trainer.checkpoint().write(createFolder(CHECKPOINTS));
          saved = trainer.updates();
          List<Path> files = Checkpoint.files(folder.resolve(CHECKPOINTS));
          // A run that fell back to an earlier checkpoint may meet later ones of its first course.
          List<Path> older =
              files.stream().filter(file -> Checkpoint.updatesOf(file) < saved).limit(1).toList();
          for (Path file : files) {
            if (!file.equals(written) && !older.contains(file)) {
              remove(file);
            }
          }
        });
  }

  private static void attempt(Runnable writing) {
    try {
      writing.run();
    } catch (UncheckedIOException e) {
      LOG.log(Logger.Level.WARNING, "{0}; training goes on", e.getMessage());
    }
  }

  private Path createFolder(String name) {
    try {
      return Files.createDirectories(folder.resolve(name));
    } catch (IOException e) {
      throw new UncheckedIOException(
          "[run folder] cannot make " + folder.resolve(name) + ": " + e.getMessage(), e);
    }
  }

  private static void remove(Path file) {
    try {
      Files.deleteIfExists(file);
    } catch (IOException e) {
      throw new UncheckedIOException(
          "[run folder] cannot remove " + file + ": " + e.getMessage(), e);
    }
  }

  private Path bestFile(int epoch) {
    return folder.resolve(BEST).resolve("epoch-" + epoch + ".safetensors");
  }

  /** Epochs of the best validation accuracy so far: ties by loss, then the earlier. */
  private static List<Integer> best(Trainer trainer) {
    return trainer.rows().stream()
        .filter(row -> Double.isFinite(row.validationAccuracy()))
        .sorted(
            Comparator.comparingDouble(EpochRow::validationAccuracy)
                .reversed()
                .thenComparingDouble(EpochRow::validationLoss)
                .thenComparingInt(EpochRow::epoch))
        .limit(trainer.spec().keepBest())
        .map(EpochRow::epoch)
        .toList();
  }

  /** Removes the networks of epochs that are not among the best any more. */
  private void removeFallen(Trainer trainer) {
    if (!Files.isDirectory(folder.resolve(BEST))) {
      return;
    }
    List<Path> best = best(trainer).stream().map(this::bestFile).toList();
    try (Stream<Path> files = Files.list(folder.resolve(BEST))) {
      files
          .filter(file -> file.getFileName().toString().matches(BEST_NAME))
          .filter(file -> !best.contains(file))
          .forEach(RunFolder::remove);
    } catch (IOException e) {
      throw new UncheckedIOException(
          "[run folder] cannot read " + folder.resolve(BEST) + ": " + e.getMessage(), e);
    }
  }

  @Override
  public void onEnd(Trainer trainer, History history) {
    attempt(() -> writeMetrics(trainer));
    attempt(() -> writeMeasures(trainer));
    writeChoices(trainer);
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
    json.put("batch", spec.batch().constant() ? spec.batch().first() : spec.batch().toString());
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
    if (spec.validation() > 0) {
      EpochRow last = history.epochs().isEmpty() ? null : history.last();
      json.put("validation_loss", last == null ? null : Json.finiteOrNull(last.validationLoss()));
      json.put(
          "validation_accuracy",
          last == null ? null : Json.finiteOrNull(last.validationAccuracy()));
      List<Integer> epochs = best(trainer);
      json.put("best_epochs", epochs);
    }
    json.put("weight_distance", Json.finiteOrNull(history.weightDistance()));
    if (!spec.measures().entries().isEmpty()) {
      JsonObject last = new JsonObject();
      trainer.measured().forEach(row -> last.put(row.name(), Json.finiteOrNull(row.value())));
      json.put("measures", last);
    }
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
        OPEN.remove(real);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(
          "[run folder] cannot close " + folder + ": " + e.getMessage(), e);
    }
  }
}
