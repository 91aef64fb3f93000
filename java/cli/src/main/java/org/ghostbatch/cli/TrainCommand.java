package org.ghostbatch.cli;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.stream.Stream;
import org.ghostbatch.analysis.Measures;
import org.ghostbatch.data.DataPair;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Datasets;
import org.ghostbatch.device.Device;
import org.ghostbatch.io.AtomicFiles;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.optim.BatchSchedule;
import org.ghostbatch.train.EpochRow;
import org.ghostbatch.train.History;
import org.ghostbatch.train.MeasureRow;
import org.ghostbatch.train.RunFolder;
import org.ghostbatch.train.TensorBoard;
import org.ghostbatch.train.Trainer;
import org.ghostbatch.train.TrainingListener;
import org.ghostbatch.train.TrainingSpec;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Trains a network into a run folder. */
@Command(
    name = "train",
    description = {
      "Trains a network into a run folder.",
      "The folder holds config.json, metrics.csv, measures.csv, model.safetensors, summary.json, checkpoint/ for "
          + "--resume, and events.out.tfevents.* for TensorBoard."
    },
    customSynopsis =
        "ghostbatch train --model M --data D [--data-dir DIR] --batch B [--ghost V|none]%n"
            + "                        (--epochs E | --updates U) [--out DIR] [OPTION...]%n"
            + "       ghostbatch train --find-lr --model M --data D --batch B [OPTION...]%n"
            + "       ghostbatch train --resume DIR [--epochs E | --updates U] [--threads N]%n"
            + "                        [--quiet]%n")
final class TrainCommand implements Callable<Integer> {
  @Mixin private TrainFlags flags;

  @ArgGroup(validate = false, heading = "%nRun:%n", order = 10)
  private RunOptions run = new RunOptions();

  @ArgGroup(validate = false, heading = "%nDevice:%n", order = 11)
  private DeviceOptions device = new DeviceOptions();

  @ArgGroup(validate = false, heading = "%nDownloads:%n", order = 12)
  private DataFlags loading = new DataFlags();

  @ArgGroup(validate = false, heading = "%nHelp:%n", order = 13)
  private CommonOptions common = new CommonOptions();

  @Spec private CommandSpec command;

  /** What the library logs; kept here, as a level lasts only as long as its logger. */
  private static final Logger LOG = Logger.getLogger("org.ghostbatch");

  private ConfigFile config; // null without --config

  /** What may be given beside --resume. */
  private static final Set<String> RESUMABLE =
      Set.of(
          "--resume",
          "--offline",
          "--epochs",
          "--updates",
          "--threads",
          "--quiet",
          "--profile",
          "--debug");

  static final class RunOptions {
    @Option(
        names = "--out",
        paramLabel = "DIR",
        description =
            "The run folder, new or empty. Default: runs/MODEL-DATA-bBATCH..., a new one.")
    Path out;

    @Option(
        names = "--resume",
        paramLabel = "DIR",
        description =
            "Go on with the run in this folder, to the same bits as if it had never stopped. Only its end, by "
                + "--epochs or --updates, and --threads may be given anew.")
    Path resume;

    @Option(
        names = "--seed",
        paramLabel = "N",
        description = "Of weights, order, augmentation and noise. Default: 1.")
    Long seed;

    @Option(
        names = "--init-from",
        paramLabel = "RUN",
        description =
            "First weights: a run folder, or a safetensors file of the same network, ours or PyTorch's.")
    Path initFrom;

    @Option(
        names = "--config",
        paramLabel = "FILE",
        description =
            "Settings from a JSON or YAML file, as config.json of a run, which it repeats bit for bit; flags go before.")
    Path config;

    @Option(
        names = "--precision",
        completionCandidates = Candidates.Precisions.class,
        paramLabel = "TYPE",
        description = "f32, bf16, or f64 on the reference backend. Default: f32.")
    String precision;

    @Option(
        names = "--micro-batch",
        paramLabel = "N",
        description =
            "Samples of one pass of the kernels on one core. Default: by network and ghost.")
    Integer microBatch;

    @Option(
        names = "--find-lr",
        description =
            "Do not train, but suggest a learning rate: sweep it from 1e-6 to 10 over 100 updates (or --updates). "
                + "With --out DIR: leave lr-finder.csv there.")
    boolean findLr;

    @Option(
        names = "--profile",
        description =
            "Print where time went, by kind, kernel and layer; and write some updates call by call to "
                + "profile-trace.json, for ui.perfetto.dev.")
    boolean profile;

    @Option(
        names = "--quiet",
        description = "Print nothing but errors (and the profile, if asked for).")
    boolean quiet;
  }

  /** The run that flags and files describe. */
  TrainingSpec spec() {
    config = run.config == null ? null : ConfigFile.read(run.config);
    return config == null ? spec(new JsonObject()) : config.check(this::spec);
  }

  /** Flags, over the members of a config file, over those of a recipe, over the defaults. */
  private TrainingSpec spec(JsonObject config) {
    JsonObject members = flags.over(config);
    if (run.seed != null) {
      members.put("seed", run.seed);
    }
    if (run.initFrom != null) {
      members.put("init_from", run.initFrom.toString());
    }
    if (run.precision != null) {
      members.put("precision", run.precision);
    }
    if (run.microBatch != null) {
      if (run.microBatch < 1) {
        throw new UsageException("--micro-batch needs 1 or more, got " + run.microBatch);
      }
      members.put("micro_batch", run.microBatch);
    }
    if (device.named() != null) {
      members.put("backend", device.named());
    }
    if (device.threads != null) {
      members.put("threads", device.threads());
    }
    if (run.findLr) {
      long updates = flags.batch.updates == null ? FindLearningRate.UPDATES : flags.batch.updates;
      members.put("updates", updates).put("epochs", null).put("regime_adaptation", null);
      // Averages, early ends and measures are of whole runs.
      members.put("ema", null).put("swa", null).put("early_stop", null).put("keep_best", null);
      members.put("measure", null).put("measure_samples", null);
    }
    return TrainFlags.spec(members);
  }

  @Override
  public Integer call() {
    if (run.resume != null) {
      for (OptionSpec given : command.commandLine().getParseResult().matchedOptions()) {
        if (!RESUMABLE.contains(given.longestName())) {
          throw new UsageException(
              "--resume needs the settings of its run, got "
                  + given.longestName()
                  + ": only --epochs, --updates, --threads and --quiet may differ");
        }
      }
      try (RunFolder folder = UsageException.check(() -> RunFolder.resume(run.resume))) {
        return train(resumed(folder.spec()), folder, run.resume);
      }
    }
    TrainingSpec spec = spec();
    Path out = run.out != null ? requireEmpty(run.out) : run.findLr ? null : newFolder(spec);
    return train(spec, null, out);
  }

  /** The run that began, with its new end. */
  private TrainingSpec resumed(TrainingSpec begun) {
    TrainingSpec.Builder spec = begun.toBuilder();
    if (device.threads != null) {
      spec.threads(device.threads());
    }
    if (flags.batch.epochs != null) {
      spec.epochs(flags.batch.epochs);
    }
    if (flags.batch.updates != null) {
      spec.updates(flags.batch.updates);
    }
    return UsageException.check(
        () -> {
          TrainingSpec resumed = spec.build();
          resumed.checkResumes(begun);
          return resumed;
        });
  }

  /**
   * @param resumed the open folder of a run that goes on, or null for a new one in {@code out}
   */
  private int train(TrainingSpec spec, RunFolder resumed, Path out) {
    Terminal terminal = run.quiet ? Terminal.silent() : Terminal.standardError();
    LOG.setLevel(run.quiet ? Level.WARNING : null);
    try (Interrupt interrupt = new Interrupt();
        Device opened = device.open(spec)) {
      DataPair data =
          Datasets.load(spec.data(), spec.dataOptions(loading.options(opened.threads(), terminal)));
      if (!interrupt.hold()) {
        return Main.DONE;
      }
      Dataset train = data.train().withNormalization(data.normalization());
      Dataset test = data.test().withNormalization(data.normalization());
      RunListener listener = new RunListener(terminal);
      try (Trainer trainer =
          UsageException.check(
              () ->
                  Measures.addTo(Trainer.of(spec, train.classes()), spec.measures())
                      .profile(run.profile)
                      .listener(listener)
                      .checkpoint(resumed == null ? null : resumed.checkpoint())
                      .kernelChoices(kernelChoices(spec, resumed))
                      .on(opened))) {
        UsageException.check(
            () -> {
              trainer.prepare(train);
              return trainer;
            });
        describe(terminal, trainer, test, out);
        if (resumed != null) {
          terminal.line("resumed after update " + trainer.updates());
        }
        interrupt.stopWith(trainer::stop);
        if (interrupt.raised()) {
          return Main.DONE;
        }
        if (run.findLr) {
          FindLearningRate.run(trainer, train, out, terminal);
          return Main.DONE;
        }
        try (RunFolder folder =
            resumed != null ? resumed : UsageException.check(() -> RunFolder.create(out))) {
          listener.folder = folder;
          return fit(trainer, train, test, folder, terminal);
        }
      }
    }
  }

  /** Those of the run that goes on, or of the one that a config file is of. */
  private String kernelChoices(TrainingSpec spec, RunFolder resumed) {
    if (resumed != null) {
      return resumed.kernelChoices();
    }
    return config == null ? "" : config.kernelChoices(spec.backend());
  }

  private static int fit(
      Trainer trainer, Dataset train, Dataset test, RunFolder folder, Terminal terminal) {
    History history = trainer.fit(train, test);
    terminal.clear();
    if (history.stopped()) {
      terminal.line("stopped after update " + history.updates() + ": " + goingOn(history, folder));
    } else {
      terminal.line(
          String.format(
              Locale.ROOT,
              "%stest accuracy %s, training accuracy %s, %s; run folder %s",
              trainer.averaged() ? "averaged weights: " : "",
              Figures.percent(history.test().accuracy()),
              Figures.percent(history.train().accuracy()),
              Figures.duration(history.seconds()),
              folder.path()));
    }
    return Main.DONE; // after a signal the JVM ends with its status instead
  }

  private static String goingOn(History history, RunFolder folder) {
    if (folder.savedUpdates() == history.updates()) {
      return "go on with ghostbatch train --resume " + folder.path();
    }
    return folder.savedUpdates() > 0
        ? "the last that is saved is "
            + folder.savedUpdates()
            + ": go on from there with ghostbatch train --resume "
            + folder.path()
        : "there is no checkpoint; train from its network with --init-from "
            + folder.path()
            + ", as a new run";
  }

  private void describe(Terminal terminal, Trainer trainer, Dataset test, Path out) {
    TrainingSpec spec = trainer.spec();
    terminal.line(
        String.format(
            Locale.ROOT,
            "%s on %s: %,d parameters, %,d training and %,d test samples, batch %s, ghost %s; %s, %d %s, "
                + "micro-batch %d, %s%s",
            spec.model(),
            spec.data(),
            trainer.network().parameterCount(),
            trainer.trainingSamples(),
            test.count(),
            spec.batch(),
            spec.ghost() == 0 ? "none" : spec.ghost(),
            trainer.device().name(),
            trainer.threads(),
            trainer.threads() == 1 ? "thread" : "threads",
            trainer.engine().microBatch(),
            Figures.bytes(trainer.engine().bytes()),
            out == null ? "" : "; " + out));
    if (spec.ghost() > 0 && !trainer.network().hasBatchNorm()) {
      terminal.line("note: " + spec.model() + " has no batch norm, so --ghost changes nothing");
    }
  }

  /** Passes all on to the run folder, once there is one, and to the progress. */
  private final class RunListener implements TrainingListener {
    private final Terminal terminal;
    private final TrainProgress progress;
    private RunFolder folder;
    private TensorBoard tensorBoard;

    RunListener(Terminal terminal) {
      this.terminal = terminal;
      this.progress = new TrainProgress(terminal, "", true);
    }

    @Override
    public void onStart(Trainer trainer) {
      folder.onStart(trainer);
      if (config != null) {
        config.notes(RunFolder.configFile(folder.path())).forEach(terminal::line);
      }
      tensorBoard = new TensorBoard(folder.path());
      tensorBoard.onStart(trainer);
      progress.onStart(trainer);
    }

    @Override
    public void onUpdate(Trainer trainer) {
      tensorBoard.onUpdate(trainer);
      progress.onUpdate(trainer);
    }

    @Override
    public void onEpochEnd(Trainer trainer, EpochRow row) {
      folder.onEpochEnd(trainer, row);
      tensorBoard.onEpochEnd(trainer, row);
      progress.onEpochEnd(trainer, row);
    }

    @Override
    public void onEvaluation(Trainer trainer, int done, int of) {
      progress.onEvaluation(trainer, done, of);
    }

    @Override
    public void onMeasuring(Trainer trainer, String measure, String what, long done, long of) {
      progress.onMeasuring(trainer, measure, what, done, of);
    }

    @Override
    public void onMeasure(Trainer trainer, List<MeasureRow> rows) {
      folder.onMeasure(trainer, rows);
      tensorBoard.onMeasure(trainer, rows);
      progress.onMeasure(trainer, rows);
    }

    @Override
    public void onCheckpoint(Trainer trainer) {
      folder.onCheckpoint(trainer);
    }

    @Override
    public void onEnd(Trainer trainer, History history) {
      folder.onEnd(trainer, history);
      tensorBoard.onEnd(trainer, history);
      if (run.profile) {
        System.out.print(trainer.profile().table());
        trainer.trace().write(folder.path().resolve("profile-trace.json"));
      }
    }
  }

  /** The folder, which must be new, or hold nothing but the lock of an earlier run. */
  static Path requireEmpty(Path folder) {
    if (Files.exists(folder)) {
      try (Stream<Path> files = Files.list(folder)) {
        if (files.anyMatch(
            file ->
                !file.getFileName().toString().equals(".lock") && !AtomicFiles.isTemporary(file))) {
          throw new UsageException("--out needs a new or an empty folder, got " + folder);
        }
      } catch (IOException e) {
        throw new UncheckedIOException("cannot read " + folder + ": " + e.getMessage(), e);
      }
    }
    return folder;
  }

  private static Path newFolder(TrainingSpec spec) {
    String name =
        spec.model()
            + "-"
            + spec.data().replaceAll("[^A-Za-z0-9._-]+", "-")
            + "-b"
            + spec.batch().first()
            + growth(spec.batch())
            + (spec.ghost() > 0 ? "-g" + spec.ghost() : "")
            + "-s"
            + spec.seed();
    return unused(Path.of("runs"), name);
  }

  /** What a folder's name says of a batch that does not stay what it is first. */
  private static String growth(BatchSchedule batch) {
    return switch (batch.measured()) {
      case NEVER -> batch.constant() ? "" : "to" + batch.largest(0);
      case ONCE -> "auto";
      case EVERY_EPOCH -> "noise";
    };
  }

  /** The folder of that name, or with the first number behind it that is not taken. */
  static Path unused(Path parent, String name) {
    Path folder = parent.resolve(name);
    for (int i = 2; Files.exists(folder); i++) {
      folder = parent.resolve(name + "-" + i);
    }
    return folder;
  }
}
