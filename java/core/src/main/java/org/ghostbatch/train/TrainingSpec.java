package org.ghostbatch.train;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.function.BiConsumer;
import java.util.function.BiFunction;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.ghostbatch.data.DataOptions;
import org.ghostbatch.device.Augmentation;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.RunningStatistics;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.optim.BatchRule;
import org.ghostbatch.optim.BatchSchedule;
import org.ghostbatch.optim.LearningRate;
import org.ghostbatch.optim.Optimizer;
import org.ghostbatch.optim.RegimeAdaptation;
import org.ghostbatch.optim.Schedule;
import org.ghostbatch.optim.Sgd;

/**
 * A training run: what the builder fills, the flags of {@code train} parse into, and {@code
 * config.json} holds. Two runs of one spec give the same bits, whatever the number of threads.
 *
 * @param model name of one of {@link org.ghostbatch.nn.Models}, or {@code custom}
 * @param data name of a data set, or {@code custom}
 * @param dataDir its folder, or null for the default one
 * @param imageSize height and width to which images in files are scaled and cut; 0: they stay as
 *     they are
 * @param trainSamples the first so many samples of the training set; 0: all
 * @param learningRate schedule, rule for the batch size and warm-up, before regime adaptation
 * @param regimeAdaptation stretches epochs and boundaries; null: not
 * @param batch samples of an update, by epoch, or as the noise scale says
 * @param ghost V: samples over which batch norm takes its statistics; 0: the whole batch
 * @param epochs passes over the training set before regime adaptation; 0 where updates count
 * @param updates length in updates; 0 where epochs count
 * @param clipGradientNorm largest Euclidean norm of the gradient; 0: none
 * @param gradientNoise sigma of the factors N(1, sigma^2) of each sample's gradient; 0: none
 * @param sam radius rho of sharpness-aware minimization; 0: none
 * @param asam radius rho of adaptive SAM; 0: none
 * @param samGroup M: largest number of samples with a perturbation of their own in SAM and ASAM, a
 *     multiple of the ghost batch; 0: the whole batch
 * @param proximal lambda of conservative training, which keeps an update near its start; 0: none
 * @param proximalSteps steps of the optimizer in an update of conservative training
 * @param adversarial epsilon of adversarial training, in units of the input before mean and
 *     standard deviation are taken out: 1 is the range of bytes, floats count as they are; 0: none
 * @param labelSmoothing in [0, 1)
 * @param ema d of the moving average w_e = d w_e + (1 - d) w of the weights; 0: none
 * @param swaFrom whole epochs after which stochastic weight averaging starts; -1: none
 * @param validation share of the training set that is set aside, for early stop and the best
 *     networks; 0: none
 * @param earlyStop epochs without a better validation accuracy (or as good, at a lower loss) after
 *     which the run ends; 0: never
 * @param keepBest how many of the networks with the best validation accuracy are kept; 0: none
 * @param checkpointEvery when the state of the run is saved
 * @param measures what is measured of the network while it trains, and when
 * @param measureSamples how many samples of the training set measures look at; 0: all
 * @param initFrom run folder or model file with the first weights, or null
 * @param backend name of the device
 * @param precision of activations: f32, bf16, or f64 on the reference backend
 * @param threads lanes; 0: the device's number. Results do not depend on it
 * @param microBatch S; 0: by the rule of {@link org.ghostbatch.nn.MicroBatch}
 * @param seed of weights, order of samples, augmentation, dropout and noise
 */
public record TrainingSpec(
    String model,
    String data,
    String dataDir,
    int imageSize,
    int trainSamples,
    Optimizer optimizer,
    LearningRate learningRate,
    RegimeAdaptation regimeAdaptation,
    BatchSchedule batch,
    int ghost,
    RunningStatistics runningStatistics,
    int epochs,
    long updates,
    double clipGradientNorm,
    double gradientNoise,
    double sam,
    double asam,
    int samGroup,
    double proximal,
    int proximalSteps,
    double adversarial,
    Augmentation augmentation,
    double labelSmoothing,
    double ema,
    int swaFrom,
    double validation,
    int earlyStop,
    int keepBest,
    CheckpointInterval checkpointEvery,
    MeasurePlan measures,
    int measureSamples,
    String initFrom,
    String backend,
    DataType precision,
    int threads,
    int microBatch,
    long seed) {
  private static final String KIND = "training";

  /**
   * A member of {@code config.json}.
   *
   * @param get its value; null for what is not set
   * @param set takes the value out of an object that has it, null perhaps
   */
  private record Member(
      String name, Function<TrainingSpec, Object> get, BiConsumer<Builder, JsonObject> set) {
    /** One that may not be null. */
    static <T> Member of(
        String name,
        Function<TrainingSpec, Object> get,
        BiFunction<JsonObject, String, T> read,
        BiConsumer<Builder, T> set) {
      return new Member(name, get, (b, json) -> set.accept(b, read.apply(json, name)));
    }

    /** One that may be null: {@code none}. */
    static <T> Member orNull(
        String name,
        Function<TrainingSpec, T> get,
        T none,
        BiFunction<JsonObject, String, T> read,
        BiConsumer<Builder, T> set) {
      return new Member(
          name,
          spec -> Objects.equals(get.apply(spec), none) ? null : get.apply(spec),
          (b, json) -> set.accept(b, json.isNull(name) ? none : read.apply(json, name)));
    }

    /** One that has a text. */
    static <T> Member text(
        String name,
        Function<TrainingSpec, T> get,
        Function<String, T> parse,
        BiConsumer<Builder, T> set) {
      return of(
          name,
          spec -> get.apply(spec).toString(),
          (json, key) -> parse.apply(json.getString(key)),
          set);
    }
  }

  private static final List<Member> TABLE =
      List.of(
          Member.of("model", TrainingSpec::model, JsonObject::getString, Builder::model),
          Member.of("data", TrainingSpec::data, JsonObject::getString, Builder::data),
          Member.orNull(
              "data_dir", TrainingSpec::dataDir, null, JsonObject::getString, Builder::dataDir),
          Member.orNull(
              "image_size", TrainingSpec::imageSize, 0, JsonObject::getInt, Builder::imageSize),
          Member.orNull(
              "train_samples",
              TrainingSpec::trainSamples,
              0,
              JsonObject::getInt,
              Builder::trainSamples),
          Member.of("batch", TrainingSpec::batchMember, TrainingSpec::readBatch, Builder::batch),
          Member.orNull("ghost", TrainingSpec::ghost, 0, TrainingSpec::readGhost, Builder::ghost),
          Member.text(
              "running_stats",
              TrainingSpec::runningStatistics,
              RunningStatistics::of,
              Builder::runningStatistics),
          Member.orNull("epochs", TrainingSpec::epochs, 0, JsonObject::getInt, Builder::epochs),
          Member.orNull(
              "updates", TrainingSpec::updates, 0L, JsonObject::getLong, Builder::updates),
          Member.text("optimizer", TrainingSpec::optimizer, Optimizer::parse, Builder::optimizer),
          Member.text(
              "schedule", s -> s.learningRate.schedule(), Schedule::parse, Builder::schedule),
          Member.text("lr_rule", s -> s.learningRate.rule(), BatchRule::parse, Builder::batchRule),
          Member.of(
              "warmup_epochs",
              s -> s.learningRate.warmupEpochs(),
              JsonObject::getDouble,
              Builder::warmupEpochs),
          new Member(
              "regime_adaptation",
              s -> s.regimeAdaptation == null ? null : s.regimeAdaptation.base(),
              (b, json) -> b.regimeAdaptation(readRegimeAdaptation(json))),
          Member.orNull(
              "clip",
              TrainingSpec::clipGradientNorm,
              0.0,
              JsonObject::getDouble,
              Builder::clipGradientNorm),
          Member.of(
              "gradient_noise",
              TrainingSpec::gradientNoise,
              JsonObject::getDouble,
              Builder::gradientNoise),
          Member.orNull("sam", TrainingSpec::sam, 0.0, JsonObject::getDouble, Builder::sam),
          Member.orNull("asam", TrainingSpec::asam, 0.0, JsonObject::getDouble, Builder::asam),
          Member.orNull(
              "sam_group", TrainingSpec::samGroup, 0, JsonObject::getInt, Builder::samGroup),
          Member.orNull(
              "proximal", TrainingSpec::proximal, 0.0, JsonObject::getDouble, Builder::proximal),
          Member.of(
              "proximal_steps",
              TrainingSpec::proximalSteps,
              JsonObject::getInt,
              Builder::proximalSteps),
          Member.orNull(
              "adversarial",
              TrainingSpec::adversarial,
              0.0,
              JsonObject::getDouble,
              Builder::adversarial),
          Member.text(
              "augment", TrainingSpec::augmentation, Augmentation::of, Builder::augmentation),
          Member.of(
              "label_smoothing",
              TrainingSpec::labelSmoothing,
              JsonObject::getDouble,
              Builder::labelSmoothing),
          Member.orNull("ema", TrainingSpec::ema, 0.0, JsonObject::getDouble, Builder::ema),
          Member.orNull("swa", TrainingSpec::swaFrom, -1, JsonObject::getInt, Builder::swaFrom),
          Member.of(
              "validation", TrainingSpec::validation, JsonObject::getDouble, Builder::validation),
          Member.orNull(
              "early_stop", TrainingSpec::earlyStop, 0, JsonObject::getInt, Builder::earlyStop),
          Member.orNull(
              "keep_best", TrainingSpec::keepBest, 0, JsonObject::getInt, Builder::keepBest),
          Member.text(
              "checkpoint_every",
              TrainingSpec::checkpointEvery,
              CheckpointInterval::parse,
              Builder::checkpointEvery),
          Member.orNull(
              "measure",
              spec -> spec.measures.toString(),
              MeasurePlan.NONE.toString(),
              JsonObject::getString,
              (b, plan) -> b.measures(MeasurePlan.parse(plan))),
          Member.orNull(
              "measure_samples",
              TrainingSpec::measureSamples,
              0,
              JsonObject::getInt,
              Builder::measureSamples),
          Member.orNull(
              "init_from", TrainingSpec::initFrom, null, JsonObject::getString, Builder::initFrom),
          Member.of("backend", TrainingSpec::backend, JsonObject::getString, Builder::backend),
          Member.text("precision", TrainingSpec::precision, DataType::of, Builder::precision),
          Member.orNull("threads", TrainingSpec::threads, 0, JsonObject::getInt, Builder::threads),
          Member.orNull(
              "micro_batch", TrainingSpec::microBatch, 0, JsonObject::getInt, Builder::microBatch),
          Member.of("seed", TrainingSpec::seed, JsonObject::getLong, Builder::seed));

  /** Steps in an update of conservative training, unless said: those of Keskar et al. */
  private static final int PROXIMAL_STEPS = 3;

  private static final Set<String> LENGTHS = Set.of("epochs", "updates");

  /** Names of the members of {@link #toJson}. */
  public static final Set<String> MEMBERS =
      TABLE.stream().map(Member::name).collect(Collectors.toUnmodifiableSet());

  /**
   * Member of {@code config.json} that holds what a run resolved; {@link #fromJson} passes over it.
   */
  static final String RESOLVED = "resolved";

  public TrainingSpec {
    Check.present(KIND, "a model", model);
    Check.present(KIND, "data", data);
    Check.present(KIND, "an optimizer", optimizer);
    Check.present(KIND, "a learning rate", learningRate);
    Check.present(KIND, "a batch size", batch);
    Check.present(KIND, "a policy for running statistics", runningStatistics);
    Check.present(KIND, "an augmentation", augmentation);
    Check.present(KIND, "an interval of checkpoints", checkpointEvery);
    Check.present(KIND, "measures", measures);
    Check.present(KIND, "a backend", backend);
    atLeast("an image size", imageSize, 0);
    atLeast("training samples", trainSamples, 0);
    atLeast("a ghost batch", ghost, 0);
    atLeast("epochs", epochs, 0);
    atLeast("updates", updates, 0);
    atLeast("a micro-batch", microBatch, 0);
    atLeast("epochs before weights are averaged", swaFrom, -1);
    atLeast("epochs before an early stop", earlyStop, 0);
    atLeast("a number of best networks", keepBest, 0);
    atLeast("samples to measure on", measureSamples, 0);
    if (epochs == 0 == (updates == 0)) {
      throw Check.bad(
          KIND,
          "a length in either epochs or updates",
          epochs + " epochs and " + updates + " updates");
    }
    if (regimeAdaptation != null && updates > 0) {
      throw Check.bad(KIND, "a length in epochs for regime adaptation", "updates");
    }
    if (batch.follows()) {
      checkFollows(regimeAdaptation, updates, samGroup);
    }
    notNegative("a gradient norm to clip at", clipGradientNorm);
    notNegative("gradient noise", gradientNoise);
    checkRule(sam, asam, samGroup, proximal, proximalSteps, adversarial);
    if (samGroup > 0 && ghost > 0 && samGroup % ghost != 0) {
      throw Check.bad(KIND, "a SAM group of whole ghosts, a multiple of " + ghost, samGroup);
    }
    if (samGroup > 0 && runningStatistics != RunningStatistics.SEQUENTIAL) {
      throw Check.bad(
          KIND,
          "sequential running statistics with SAM groups, as others take all ghosts of an update"
              + " at once",
          runningStatistics);
    }
    if (!(labelSmoothing >= 0 && labelSmoothing < 1)) {
      throw Check.bad(KIND, "label smoothing in [0, 1)", labelSmoothing);
    }
    if (!(ema >= 0 && ema < 1)) {
      throw Check.bad(KIND, "a factor of the moving average of weights in [0, 1)", ema);
    }
    if (ema > 0 && swaFrom >= 0) {
      throw Check.bad(KIND, "one average of the weights", "both ema and swa");
    }
    if (!(validation >= 0 && validation < 1)) {
      throw Check.bad(KIND, "a share of the training set for validation in [0, 1)", validation);
    }
    if (validation == 0 && (earlyStop > 0 || keepBest > 0)) {
      throw Check.bad(
          KIND,
          "validation data for " + (earlyStop > 0 ? "early stop" : "the best networks"),
          "a validation share of 0");
    }
    if (measureSamples > 0 && measures.entries().isEmpty()) {
      throw Check.bad(KIND, "measures for samples to measure on", "none");
    }
    if (precision != DataType.F32 && precision != DataType.BF16 && precision != DataType.F64) {
      throw Check.bad(KIND, "precision f32, bf16 or f64", precision);
    }
    if (precision == DataType.F64 && !backend.equals("reference")) {
      throw Check.bad(KIND, "backend reference for precision f64", backend);
    }
    if (threads < 0 || threads > 1024) {
      throw Check.bad(KIND, "threads in [1, 1024], or 0 for the device's", threads);
    }
    if (microBatch > 1 << 20) {
      throw Check.bad(KIND, "a micro-batch of at most 1048576", microBatch);
    }
  }

  /** What a batch that follows the noise scale goes with. */
  private static void checkFollows(RegimeAdaptation regimeAdaptation, long updates, int samGroup) {
    if (updates > 0) {
      throw Check.bad(
          KIND, "a length in epochs for a batch that follows the noise scale", "updates");
    }
    if (regimeAdaptation != null) {
      throw Check.bad(
          KIND,
          "a batch that is known beforehand for regime adaptation",
          "one that follows the noise scale");
    }
    if (samGroup > 0) {
      throw Check.bad(KIND, "no SAM groups for a batch that follows the noise scale", samGroup);
    }
  }

  private static void checkRule(
      double sam,
      double asam,
      int samGroup,
      double proximal,
      int proximalSteps,
      double adversarial) {
    notNegative("a radius of SAM", sam);
    notNegative("a radius of ASAM", asam);
    notNegative("a lambda of conservative training", proximal);
    notNegative("an epsilon of adversarial training", adversarial);
    atLeast("a SAM group", samGroup, 0);
    atLeast("proximal steps", proximalSteps, 1);
    List<String> rules = new ArrayList<>();
    if (sam > 0) {
      rules.add("sam");
    }
    if (asam > 0) {
      rules.add("asam");
    }
    if (proximal > 0) {
      rules.add("proximal");
    }
    if (adversarial > 0) {
      rules.add("adversarial");
    }
    if (rules.size() > 1) {
      throw Check.bad(
          KIND, "at most one of sam, asam, proximal and adversarial", String.join(" and ", rules));
    }
    if (samGroup > 0 && sam == 0 && asam == 0) {
      throw Check.bad(KIND, "sam or asam for SAM groups", "neither");
    }
    if (proximalSteps != PROXIMAL_STEPS && proximal == 0) {
      throw Check.bad(KIND, "proximal for proximal steps", "none");
    }
  }

  private static void atLeast(String what, long value, long least) {
    if (value < least) {
      throw Check.bad(KIND, what + " >= " + least, value);
    }
  }

  private static void notNegative(String what, double value) {
    if (!(value >= 0) || Double.isInfinite(value)) {
      throw Check.bad(KIND, what + ", finite and >= 0", value);
    }
  }

  /**
   * A builder with the defaults: SGD with momentum 0.9 and weight decay 1e-4, learning rate 0.1,
   * plain batch norm, sequential running statistics, f32 on cpu, seed 1. Batch size and length have
   * none.
   */
  public static Builder builder() {
    return new Builder();
  }

  /** How the data of this run is loaded, with the rest as {@code others} say. */
  public DataOptions dataOptions(DataOptions others) {
    return Check.present(KIND, "options", others)
        .withFolder(dataDir == null ? null : Path.of(dataDir))
        .withImageSize(imageSize, imageSize);
  }

  /** A builder with this spec's settings. */
  public Builder toBuilder() {
    return builder().set(toJson());
  }

  /**
   * Refuses a run that is not the one that began, going on: all but {@code threads} must be the
   * same, its end must not be earlier, and later only where the schedule does not follow the
   * length.
   *
   * @throws IllegalArgumentException naming the members that differ
   */
  public void checkResumes(TrainingSpec begun) {
    if (epochs < begun.epochs || updates < begun.updates) {
      throw Check.bad(
          KIND,
          "an end not before that of the run that began, "
              + begun.epochs
              + " epochs or "
              + begun.updates
              + " updates",
          epochs + " epochs or " + updates + " updates");
    }
    boolean longer = epochs != begun.epochs || updates != begun.updates;
    if (longer && learningRate.schedule().followsLength()) {
      throw Check.bad(
          KIND,
          "the end of the run that began, as "
              + learningRate.schedule()
              + " follows the length: another end would change rates that have been used",
          epochs + " epochs or " + updates + " updates");
    }
    JsonObject mine = toJson();
    JsonObject theirs = begun.toJson();
    for (String name : mine.names()) {
      boolean free = name.equals("threads") || name.equals("epochs") || name.equals("updates");
      if (!free && !Objects.equals(mine.get(name), theirs.get(name))) {
        throw Check.bad(
            KIND, name + " " + theirs.get(name) + " of the run that began", mine.get(name));
      }
    }
  }

  /** Epochs after regime adaptation; 0 where updates count. */
  public int trainedEpochs() {
    return regimeAdaptation == null ? epochs : regimeAdaptation.epochs(epochs, batch.first());
  }

  /** Epochs after which weights are averaged, after regime adaptation; -1: never. */
  public int trainedSwaFrom() {
    return regimeAdaptation == null || swaFrom < 1
        ? swaFrom
        : regimeAdaptation.epochs(swaFrom, batch.first());
  }

  /** Learning rate with all boundaries after regime adaptation. */
  public LearningRate trainedLearningRate() {
    return regimeAdaptation == null
        ? learningRate
        : learningRate.stretch(regimeAdaptation.factor(batch.first()));
  }

  /** Batch size by epoch, boundaries after regime adaptation. */
  public BatchSchedule trainedBatch() {
    return regimeAdaptation == null ? batch : batch.stretch(regimeAdaptation.factor(batch.first()));
  }

  /**
   * The spec as {@code config.json} has it: members named as the flags, {@code schedule}, {@code
   * lr_rule} and {@code optimizer} as texts, null for what is not set.
   */
  public JsonObject toJson() {
    JsonObject json = new JsonObject();
    TABLE.forEach(member -> json.put(member.name, member.get.apply(this)));
    return json;
  }

  private Object batchMember() {
    return batch.constant() ? batch.first() : batch.toString();
  }

  private static BatchSchedule readBatch(JsonObject json, String name) {
    return json.get(name) instanceof String text
        ? BatchSchedule.parse(text)
        : BatchSchedule.constant(json.getInt(name));
  }

  private static RegimeAdaptation readRegimeAdaptation(JsonObject json) {
    String name = "regime_adaptation";
    return json.isNull(name) ? null : new RegimeAdaptation(json.getInt(name));
  }

  private static int readGhost(JsonObject json, String name) {
    return "none".equals(json.get(name)) ? 0 : json.getInt(name);
  }

  /**
   * What {@link #toJson} wrote; members that are missing have their defaults.
   *
   * @throws IllegalArgumentException naming a member that is unknown, or a value that is out of
   *     range
   */
  public static TrainingSpec fromJson(JsonObject json) {
    return builder().set(json).build();
  }

  /** Collects the settings of a spec; {@link #build} checks them. */
  public static final class Builder {
    private String model = "custom";
    private String data = "custom";
    private String dataDir;
    private int imageSize;
    private int trainSamples;
    private Optimizer optimizer = Sgd.withMomentum(0.9).weightDecay(1e-4);
    private LearningRate learningRate = LearningRate.constant(0.1);
    private RegimeAdaptation regimeAdaptation;
    private BatchSchedule batch;
    private int ghost;
    private RunningStatistics runningStatistics = RunningStatistics.SEQUENTIAL;
    private int epochs;
    private long updates;
    private double clipGradientNorm;
    private double gradientNoise;
    private double sam;
    private double asam;
    private int samGroup;
    private double proximal;
    private int proximalSteps = PROXIMAL_STEPS;
    private double adversarial;
    private Augmentation augmentation = Augmentation.NONE;
    private double labelSmoothing;
    private double ema;
    private int swaFrom = -1;
    private double validation;
    private int earlyStop;
    private int keepBest;
    private CheckpointInterval checkpointEvery = CheckpointInterval.epochs(1);
    private MeasurePlan measures = MeasurePlan.NONE;
    private int measureSamples;
    private String initFrom;
    private String backend = "cpu";
    private DataType precision = DataType.F32;
    private int threads;
    private int microBatch;
    private long seed = 1;

    private Builder() {}

    public Builder model(String model) {
      this.model = model;
      return this;
    }

    public Builder data(String data) {
      this.data = data;
      return this;
    }

    public Builder dataDir(String dataDir) {
      this.dataDir = dataDir;
      return this;
    }

    public Builder imageSize(int imageSize) {
      this.imageSize = imageSize;
      return this;
    }

    public Builder trainSamples(int trainSamples) {
      this.trainSamples = trainSamples;
      return this;
    }

    public Builder optimizer(Optimizer optimizer) {
      this.optimizer = optimizer;
      return this;
    }

    public Builder learningRate(LearningRate learningRate) {
      this.learningRate = learningRate;
      return this;
    }

    /** Schedule alone; rule and warm-up stay. */
    public Builder schedule(Schedule schedule) {
      return learningRate(
          new LearningRate(schedule, learningRate.rule(), learningRate.warmupEpochs()));
    }

    /** Rule for the batch size alone. */
    public Builder batchRule(BatchRule rule) {
      return learningRate(
          new LearningRate(learningRate.schedule(), rule, learningRate.warmupEpochs()));
    }

    public Builder warmupEpochs(double epochs) {
      return learningRate(new LearningRate(learningRate.schedule(), learningRate.rule(), epochs));
    }

    public Builder regimeAdaptation(RegimeAdaptation regimeAdaptation) {
      this.regimeAdaptation = regimeAdaptation;
      return this;
    }

    public Builder batch(BatchSchedule batch) {
      this.batch = batch;
      return this;
    }

    /** V, or 0 for the whole batch. */
    public Builder ghost(int ghost) {
      this.ghost = ghost;
      return this;
    }

    public Builder runningStatistics(RunningStatistics policy) {
      this.runningStatistics = policy;
      return this;
    }

    /** Length in epochs; takes the place of updates. */
    public Builder epochs(int epochs) {
      this.epochs = epochs;
      this.updates = 0;
      return this;
    }

    /** Length in updates; takes the place of epochs. */
    public Builder updates(long updates) {
      this.updates = updates;
      this.epochs = 0;
      return this;
    }

    public Builder clipGradientNorm(double norm) {
      this.clipGradientNorm = norm;
      return this;
    }

    public Builder gradientNoise(double sigma) {
      this.gradientNoise = sigma;
      return this;
    }

    /** Radius of SAM, or 0 for none. */
    public Builder sam(double rho) {
      this.sam = rho;
      return this;
    }

    /** Radius of ASAM, or 0 for none. */
    public Builder asam(double rho) {
      this.asam = rho;
      return this;
    }

    /** M, or 0 for the whole batch. */
    public Builder samGroup(int samples) {
      this.samGroup = samples;
      return this;
    }

    /** Lambda of conservative training, or 0 for none. */
    public Builder proximal(double lambda) {
      this.proximal = lambda;
      return this;
    }

    public Builder proximalSteps(int steps) {
      this.proximalSteps = steps;
      return this;
    }

    /** Epsilon of adversarial training, or 0 for none. */
    public Builder adversarial(double epsilon) {
      this.adversarial = epsilon;
      return this;
    }

    public Builder augmentation(Augmentation augmentation) {
      this.augmentation = augmentation;
      return this;
    }

    public Builder labelSmoothing(double labelSmoothing) {
      this.labelSmoothing = labelSmoothing;
      return this;
    }

    /** Factor of the moving average of the weights, or 0 for none. */
    public Builder ema(double factor) {
      this.ema = factor;
      return this;
    }

    /** Epochs after which weights are averaged, or -1 for never. */
    public Builder swaFrom(int epochs) {
      this.swaFrom = epochs;
      return this;
    }

    public Builder validation(double share) {
      this.validation = share;
      return this;
    }

    public Builder earlyStop(int epochs) {
      this.earlyStop = epochs;
      return this;
    }

    public Builder keepBest(int networks) {
      this.keepBest = networks;
      return this;
    }

    public Builder checkpointEvery(CheckpointInterval interval) {
      this.checkpointEvery = interval;
      return this;
    }

    public Builder measures(MeasurePlan plan) {
      this.measures = plan;
      return this;
    }

    /** Another measure, after every so many epochs; takes the place of one of its name. */
    public Builder measure(String name, int everyEpochs) {
      return measures(measures.with(name, everyEpochs));
    }

    /** Samples of the training set that measures look at, or 0 for all. */
    public Builder measureSamples(int samples) {
      this.measureSamples = samples;
      return this;
    }

    public Builder initFrom(String run) {
      this.initFrom = run;
      return this;
    }

    public Builder backend(String backend) {
      this.backend = backend;
      return this;
    }

    public Builder precision(DataType precision) {
      this.precision = precision;
      return this;
    }

    public Builder threads(int threads) {
      this.threads = threads;
      return this;
    }

    public Builder microBatch(int microBatch) {
      this.microBatch = microBatch;
      return this;
    }

    public Builder seed(long seed) {
      this.seed = seed;
      return this;
    }

    /** Takes the members that {@code json} has; the others stay. */
    public Builder set(JsonObject json) {
      JsonObject known = new JsonObject();
      json.names().stream()
          .filter(name -> !name.equals(RESOLVED))
          .forEach(name -> known.put(name, json.get(name)));
      known.requireOnly(MEMBERS);
      boolean epochs = known.has("epochs") && !known.isNull("epochs");
      boolean updates = known.has("updates") && !known.isNull("updates");
      if (epochs && updates) {
        throw Check.bad(KIND, "a length in either epochs or updates", "both");
      }
      TABLE.stream()
          .filter(member -> known.has(member.name))
          .filter(member -> !LENGTHS.contains(member.name) || !known.isNull(member.name))
          .forEach(member -> member.set.accept(this, known));
      return this;
    }

    /** The spec, checked. */
    public TrainingSpec build() {
      return new TrainingSpec(
          model,
          data,
          dataDir,
          imageSize,
          trainSamples,
          optimizer,
          learningRate,
          regimeAdaptation,
          batch,
          ghost,
          runningStatistics,
          epochs,
          updates,
          clipGradientNorm,
          gradientNoise,
          sam,
          asam,
          samGroup,
          proximal,
          proximalSteps,
          adversarial,
          augmentation,
          labelSmoothing,
          ema,
          swaFrom,
          validation,
          earlyStop,
          keepBest,
          checkpointEvery,
          measures,
          measureSamples,
          initFrom,
          backend,
          precision,
          threads,
          microBatch,
          seed);
    }
  }
}
