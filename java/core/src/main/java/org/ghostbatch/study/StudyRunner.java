package org.ghostbatch.study;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.System.Logger;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.ghostbatch.analysis.Measures;
import org.ghostbatch.data.DataOptions;
import org.ghostbatch.data.DataPair;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Datasets;
import org.ghostbatch.device.Device;
import org.ghostbatch.io.AtomicFiles;
import org.ghostbatch.io.Hashes;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.train.DivergedException;
import org.ghostbatch.train.History;
import org.ghostbatch.train.RunFolder;
import org.ghostbatch.train.TensorBoard;
import org.ghostbatch.train.Trainer;
import org.ghostbatch.train.TrainingListener;
import org.ghostbatch.train.TrainingSpec;

/**
 * Runs a study: seed by seed, and of each seed arm after arm, each alone on all threads of the
 * device. All arms of a seed start from the same weights, which is checked.
 *
 * <p>Its folder holds a run folder for each run, {@code study.json} (the study, results and table),
 * {@code runs.csv} (a row a run) and {@code table.csv} (a row an arm), written after each run. A
 * study that is started again on the same folder goes on with what is missing.
 */
public final class StudyRunner {
  private static final Logger LOG = System.getLogger("org.ghostbatch");
  private static final String STUDY = "study.json";
  private static final String START = "start.txt";

  private final Study study;
  private final Device device;
  private final Path folder;
  private final DataOptions options;
  private final Listener listener;
  private final Map<String, DataPair> data = new HashMap<>();
  private final Map<Long, String> starts = new HashMap<>();
  private final List<StudyResult> results = new ArrayList<>();
  private volatile boolean stopped;
  private volatile Trainer trainer;

  /** Is told how a study goes, in the thread that runs it. */
  public interface Listener {
    /** Before a run; what it returns listens to its training. */
    default TrainingListener onRun(Study.Arm arm, long seed, int number, int of) {
      return new TrainingListener() {};
    }

    /** After a run; {@code kept} where an earlier call had done it. */
    default void onResult(StudyResult result, int number, int of, boolean kept) {}
  }

  /**
   * @param device stays the caller's
   * @param folder new, empty, or that of the same study begun before
   * @param options how data is loaded, but for what the arms say
   * @throws IllegalArgumentException where it is none of these, or an arm's settings are not a
   *     valid spec
   */
  public StudyRunner(
      Study study, Device device, Path folder, DataOptions options, Listener listener) {
    this.options = options;
    this.study = study.with(new JsonObject().put("backend", device.name()));
    this.device = device;
    this.folder = folder;
    this.listener = listener;
    this.study.arms().forEach(arm -> spec(arm, study.seeds().get(0)));
    checkFolder();
  }

  private void checkFolder() {
    if (Files.isRegularFile(folder.resolve(STUDY))) {
      JsonObject before = Json.readObject(folder.resolve(STUDY)).getObject("study");
      if (!Json.write(before).equals(Json.write(study.toJson()))) {
        throw new IllegalArgumentException(
            "[study] needs a new folder, or one of the same study, got " + folder);
      }
    } else if (Files.exists(folder)) {
      try (Stream<Path> files = Files.list(folder)) {
        if (files.findAny().isPresent()) {
          throw new IllegalArgumentException(
              "[study] needs a new or an empty folder, got " + folder);
        }
      } catch (IOException e) {
        throw new UncheckedIOException("[study] cannot read " + folder + ": " + e.getMessage(), e);
      }
    }
  }

  private static TrainingSpec spec(Study.Arm arm, long seed) {
    try {
      TrainingSpec spec = TrainingSpec.builder().set(arm.settings()).seed(seed).build();
      Datasets.check(spec.data());
      Measures.check(spec.measures());
      return spec;
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException(e.getMessage() + ", in arm \"" + arm.name() + "\"", e);
    }
  }

  /** Ends the run in progress after its update, and the study. From any thread. */
  public void stop() {
    stopped = true;
    Trainer running = trainer;
    if (running != null) {
      running.stop();
    }
  }

  /** Whether {@link #stop} ended it before its end. */
  public boolean stopped() {
    return stopped;
  }

  /**
   * Loads the data of all runs that are missing, and writes nothing: who calls it before {@link
   * #run} can end the process at any time until then, and hears of absent data before the first run
   * instead of between two.
   */
  public void load() {
    for (long seed : study.seeds()) {
      for (Study.Arm arm : study.arms()) {
        if (finished(arm, seed) == null) {
          data(spec(arm, seed));
        }
      }
    }
  }

  /** Runs what is missing, and returns the table of what is there. */
  public StudyTable run() {
    try {
      Files.createDirectories(folder);
    } catch (IOException e) {
      throw new UncheckedIOException("[study] cannot make " + folder + ": " + e.getMessage(), e);
    }
    write();
    int of = study.seeds().size() * study.arms().size();
    int number = 0;
    for (long seed : study.seeds()) {
      for (Study.Arm arm : study.arms()) {
        number++;
        StudyResult kept = finished(arm, seed);
        StudyResult result =
            kept != null ? kept : train(arm, seed, listener.onRun(arm, seed, number, of));
        if (stopped) {
          return StudyTable.of(study, results);
        }
        if (result == null) {
          continue; // it diverged
        }
        String start = starts.computeIfAbsent(seed, key -> result.start());
        if (!start.equals(result.start())) {
          throw new IllegalStateException(
              "[study] needs all arms of seed "
                  + seed
                  + " to start from the same weights, but "
                  + arm.name()
                  + " does not");
        }
        results.add(result);
        write();
        listener.onResult(result, number, of, kept != null);
      }
    }
    return StudyTable.of(study, results);
  }

  private Path runFolder(Study.Arm arm, long seed) {
    return folder.resolve(arm.name().replace(' ', '_') + "-seed" + seed);
  }

  /** The result of a run that an earlier call finished, else null. */
  private StudyResult finished(Study.Arm arm, long seed) {
    Path run = runFolder(arm, seed);
    if (!Files.isRegularFile(RunFolder.summaryFile(run))
        || !Files.isRegularFile(run.resolve(START))) {
      return null;
    }
    JsonObject summary = Json.readObject(RunFolder.summaryFile(run));
    TrainingSpec spec = spec(arm, seed);
    boolean whole =
        spec.updates() > 0
            ? summary.getLong("updates") == spec.updates()
            : summary.getInt("epochs") == spec.trainedEpochs();
    whole |= RunFolder.stoppedEarly(run);
    // A run that was stopped within its last epoch has a row for that, but was not evaluated.
    whole &= !summary.isNull("train_accuracy") && !summary.isNull("test_accuracy");
    return whole ? StudyResult.of(arm.name(), read(run.resolve(START)), summary) : null;
  }

  /**
   * Trains an arm, from its last checkpoint where it was interrupted. Null where it was stopped, or
   * diverged: such a run has no result, and the table counts one seed less.
   */
  private StudyResult train(Study.Arm arm, long seed, TrainingListener progress) {
    TrainingSpec spec = spec(arm, seed);
    DataPair pair = data(spec);
    Path run = runFolder(arm, seed);
    try (RunFolder saved = open(run, spec);
        TensorBoard board = new TensorBoard(run);
        Trainer made =
            Measures.addTo(Trainer.of(spec, pair.train().classes()), spec.measures())
                .listener(saved)
                .listener(board)
                .listener(new StartRecorder(run.resolve(START)))
                .listener(progress)
                .checkpoint(saved.checkpoint())
                .kernelChoices(saved.kernelChoices())
                .on(device)) {
      trainer = made;
      if (!stopped) {
        Dataset train = pair.train().withNormalization(pair.normalization());
        fit(made, train, pair.test().withNormalization(pair.normalization()), saved);
      }
    } catch (DivergedException e) {
      LOG.log(Logger.Level.WARNING, "{0}, seed {1}: {2}", arm.name(), seed + "", e.getMessage());
      return null;
    } finally {
      trainer = null;
    }
    return stopped ? null : finished(arm, seed);
  }

  /** The folder of a run that was interrupted, or a new one in the place of any other. */
  private static RunFolder open(Path run, TrainingSpec spec) {
    if (Files.exists(RunFolder.configFile(run))) {
      RunFolder begun = RunFolder.resume(run);
      if (begun.spec().equals(spec)) {
        return begun;
      }
      begun.close();
    }
    return RunFolder.replace(run);
  }

  private void fit(Trainer made, Dataset train, Dataset test, RunFolder saved) {
    if (study.testEveryEpoch()) {
      made.fit(train, test);
      return;
    }
    History history = made.fit(train, null);
    if (!history.stopped()) {
      saved.onEnd(
          made,
          new History(
              history.epochs(),
              false,
              history.updates(),
              history.train(),
              made.evaluate(test),
              history.weightDistance(),
              history.imagesPerSecond(),
              history.seconds()));
    }
  }

  private DataPair data(TrainingSpec spec) {
    return data.computeIfAbsent(
        spec.data() + " " + spec.dataDir() + " " + spec.imageSize(),
        key -> Datasets.load(spec.data(), spec.dataOptions(options)));
  }

  /** Writes the fingerprint of the first weights, of a run that begins. */
  private record StartRecorder(Path file) implements TrainingListener {
    @Override
    public void onStart(Trainer trainer) {
      if (trainer.updates() > 0) {
        return;
      }
      float[] weights = trainer.engine().parameters().toFloats();
      ByteBuffer bytes = ByteBuffer.allocate(Math.multiplyExact(4, weights.length));
      bytes.asFloatBuffer().put(weights);
      byte[] digest = Hashes.of("SHA-256").digest(bytes.array());
      AtomicFiles.write(file, HexFormat.of().formatHex(digest).getBytes(StandardCharsets.UTF_8));
    }
  }

  private void write() {
    StudyTable table = StudyTable.of(study, results);
    StringBuilder runs = new StringBuilder(StudyResult.CSV_HEADER).append('\n');
    results.forEach(result -> runs.append(result.csv()).append('\n'));
    JsonObject json =
        new JsonObject()
            .put("study", study.toJson())
            .put("results", results.stream().map(StudyResult::json).toList())
            .put("table", table.json());
    write("runs.csv", runs.toString());
    write("table.csv", table.csv());
    write(STUDY, Json.writeIndented(json));
  }

  private void write(String name, String text) {
    AtomicFiles.write(folder.resolve(name), text.getBytes(StandardCharsets.UTF_8));
  }

  private static String read(Path file) {
    try {
      return Files.readString(file);
    } catch (IOException e) {
      throw new UncheckedIOException("[study] cannot read " + file + ": " + e.getMessage(), e);
    }
  }
}
