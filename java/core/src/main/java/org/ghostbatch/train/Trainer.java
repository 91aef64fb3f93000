package org.ghostbatch.train;

import java.lang.System.Logger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import org.ghostbatch.data.DataPair;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Normalization;
import org.ghostbatch.device.Augmentation;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Engine;
import org.ghostbatch.device.EngineSpec;
import org.ghostbatch.device.Lanes;
import org.ghostbatch.device.LoadSpec;
import org.ghostbatch.device.LossResult;
import org.ghostbatch.device.NativeObject;
import org.ghostbatch.device.NetworkPlan;
import org.ghostbatch.device.NormMode;
import org.ghostbatch.device.RunningStatistics;
import org.ghostbatch.device.Samples;
import org.ghostbatch.device.StepSpec;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;
import org.ghostbatch.io.Json;
import org.ghostbatch.nn.Linear;
import org.ghostbatch.nn.MicroBatch;
import org.ghostbatch.nn.ModelFile;
import org.ghostbatch.nn.Models;
import org.ghostbatch.nn.Network;
import org.ghostbatch.nn.Sequential;
import org.ghostbatch.nn.Weights;
import org.ghostbatch.optim.BatchRule;
import org.ghostbatch.optim.BatchSchedule;
import org.ghostbatch.optim.LearningRate;
import org.ghostbatch.optim.Optimizer;
import org.ghostbatch.optim.RegimeAdaptation;
import org.ghostbatch.optim.Schedule;
import org.ghostbatch.random.Philox;
import org.ghostbatch.random.Purpose;

/**
 * Trains one network, once. {@link #fit} does a whole run; or an app drives it step by step: {@link
 * #prepare}, then any number of {@link #step}s and {@link #evaluate}s.
 *
 * <p>Used by one thread; only {@link #stop} may be called from any. Same seed, data and settings
 * give the same bits on any number of threads.
 */
public final class Trainer implements AutoCloseable {
  private static final Logger LOG = System.getLogger("org.ghostbatch");
  private static final String KERNELS = "kernels";
  private static final String KERNEL_CHOICES = "kernel_choices";

  /**
   * Samples that an evaluation copies to native memory at a time: a constant, as results must not
   * follow the machine.
   */
  private static final int EVALUATION_CHUNK = 4096;

  /**
   * Updates from one whose gradient noise is measured to the next: it costs a few percent of one.
   */
  private static final int NOISE_EVERY = 8;

  private final Sequential layers;
  private final TrainingSpec spec;
  private final Device device;
  private final int threads;
  private final List<TrainingListener> listeners;
  private final float[] sampleWeights;
  private final boolean profiling;
  private final Map<String, Measure> measures;
  private final boolean measuringNoise;
  private final String kernelChoices;
  private Checkpoint checkpoint; // null unless the run goes on, and is not prepared yet
  private final StepSpec trainStep = new StepSpec();
  private final StepSpec evaluationStep = new StepSpec();
  private final LossResult evaluationResult = new LossResult();

  // Made by prepare.
  private Network network;
  private Normalization normalization;
  private List<String> classNames;
  private TrainingPlan plan;
  private Lanes lanes;
  private NetworkPlan networkPlan;
  private Engine engine;
  private VectorKernels vectors;
  private Updater updater;
  private GradientRule rule;
  private BatchPass pass;
  private Tensor start;
  private Tracer tracer; // null unless profiling
  private Dataset whole;
  private Dataset prepared;
  private Dataset validation;
  private WeightAverage average;
  private float[] factors;
  private double[] noise = new double[0];
  private BatchFeed feed; // null unless fit is at work

  // Of the run so far.
  private RunState state = new RunState();
  private double lastLoss = Double.NaN;
  private double lastAccuracy = Double.NaN;
  private double lastGradientNorm = Double.NaN;
  private boolean begun;
  private boolean finished;
  private boolean averaged;
  private String fingerprint;
  private boolean closed;
  private volatile boolean stopped;

  private Trainer(Builder builder, Device device, TrainingSpec spec) {
    this.layers = builder.layers;
    this.spec = spec;
    this.device = device;
    this.threads = spec.threads() == 0 ? device.threads() : spec.threads();
    this.listeners = List.copyOf(builder.listeners);
    this.sampleWeights = builder.sampleWeights;
    this.profiling = builder.profiling;
    this.measures = Map.copyOf(builder.measures);
    this.measuringNoise = builder.measuringNoise;
    this.kernelChoices = builder.kernelChoices;
    this.checkpoint = builder.checkpoint;
  }

  /** A builder for these layers, with the defaults of {@link TrainingSpec#builder}. */
  public static Builder of(Sequential layers) {
    return new Builder(
        Check.present("trainer", "layers", layers), TrainingSpec.builder().model(nameOf(layers)));
  }

  /** A builder for the model that a spec names, with so many classes. */
  public static Builder of(TrainingSpec spec, int classes) {
    Check.present("trainer", "a spec", spec);
    return new Builder(Models.byName(spec.model(), classes), spec.toBuilder());
  }

  /** A builder for these layers with the settings of a spec, as for a run that goes on. */
  public static Builder of(Sequential layers, TrainingSpec spec) {
    return new Builder(
        Check.present("trainer", "layers", layers),
        Check.present("trainer", "a spec", spec).toBuilder());
  }

  /** The name of these layers, where they are one of {@link Models}. */
  private static String nameOf(Sequential layers) {
    int last = layers.layers().size() - 1;
    if (last >= 0 && layers.layers().get(last) instanceof Linear output) {
      for (String name : Models.names()) {
        if (Models.byName(name, output.out()).equals(layers)) {
          return name;
        }
      }
    }
    return "custom";
  }

  /** Collects settings; {@link #on} makes the trainer. */
  public static final class Builder {
    private final Sequential layers;
    private final TrainingSpec.Builder spec;
    private final List<TrainingListener> listeners = new ArrayList<>();
    private float[] sampleWeights;
    private final Map<String, Measure> measures = new HashMap<>();
    private boolean profiling;
    private boolean measuringNoise;
    private String kernelChoices = "";
    private Checkpoint checkpoint;

    private Builder(Sequential layers, TrainingSpec.Builder spec) {
      this.layers = layers;
      this.spec = spec;
    }

    /** B: samples of an update. */
    public Builder batchSize(int batch) {
      spec.batch(BatchSchedule.constant(batch));
      return this;
    }

    /**
     * Samples of an update, by epoch; or as the gradient noise scale says, which is measured then
     * ({@link BatchSchedule#auto}, {@link BatchSchedule#noise}).
     */
    public Builder batchSize(BatchSchedule schedule) {
      spec.batch(schedule);
      return this;
    }

    /**
     * V: samples over which batch norm takes its statistics; 0: the whole batch, plain batch norm.
     */
    public Builder ghostBatchSize(int ghost) {
      spec.ghost(ghost);
      return this;
    }

    public Builder runningStatistics(RunningStatistics policy) {
      spec.runningStatistics(policy);
      return this;
    }

    public Builder optimizer(Optimizer optimizer) {
      spec.optimizer(optimizer);
      return this;
    }

    /** A constant rate. */
    public Builder learningRate(double rate) {
      spec.schedule(new Schedule.Constant(rate));
      return this;
    }

    /** A constant rate, multiplied as the rule says. */
    public Builder learningRate(double rate, BatchRule rule) {
      spec.schedule(new Schedule.Constant(rate)).batchRule(rule);
      return this;
    }

    /** A schedule, multiplied as the rule says. */
    public Builder learningRate(Schedule schedule, BatchRule rule) {
      spec.schedule(schedule).batchRule(rule);
      return this;
    }

    public Builder learningRate(LearningRate learningRate) {
      spec.learningRate(learningRate);
      return this;
    }

    public Builder warmupEpochs(double epochs) {
      spec.warmupEpochs(epochs);
      return this;
    }

    /** Epochs and boundaries are multiplied by batch / base. */
    public Builder regimeAdaptation(int base) {
      spec.regimeAdaptation(new RegimeAdaptation(base));
      return this;
    }

    public Builder clipGradientNorm(double norm) {
      spec.clipGradientNorm(norm);
      return this;
    }

    /**
     * Each sample's gradient is multiplied by a draw from N(1, sigma^2) (Hoffer et al. 2017, arXiv
     * 1705.08741).
     */
    public Builder gradientNoise(double sigma) {
      spec.gradientNoise(sigma);
      return this;
    }

    /**
     * Sharpness-aware minimization: updates follow the gradient at w + rho g / ||g||, a second pass
     * over the batch (Foret et al. 2021, arXiv 2010.01412); 0: none.
     */
    public Builder sam(double rho) {
      spec.sam(rho);
      return this;
    }

    /**
     * Adaptive SAM, with a radius in the scale of each parameter (Kwon et al. 2021, arXiv
     * 2102.11600); 0: none.
     */
    public Builder asam(double rho) {
      spec.asam(rho);
      return this;
    }

    /**
     * M: SAM or ASAM perturb groups of at most M samples apart, each of whole ghosts; 0: the batch.
     */
    public Builder samGroup(int samples) {
      spec.samGroup(samples);
      return this;
    }

    /**
     * Conservative training: an update goes to about argmin_x f(x) + lambda / 2 ||x - x_k||^2, by
     * {@link #proximalSteps} steps of the optimizer on its batch (Keskar et al. 2017, arXiv
     * 1609.04836, Appendix E); 0: not.
     */
    public Builder proximal(double lambda) {
      spec.proximal(lambda);
      return this;
    }

    /** Steps of the optimizer in an update of conservative training; 3 unless said. */
    public Builder proximalSteps(int steps) {
      spec.proximalSteps(steps);
      return this;
    }

    /**
     * Adversarial training: updates follow the mean of the gradients at the inputs and at inputs
     * moved by epsilon to where the loss rises, value by value, a second pass over the batch
     * (Goodfellow et al. 2014, arXiv 1412.6572, section 6); 0: none.
     *
     * @param epsilon in units of the input before mean and standard deviation are taken out: 1 is
     *     the range of bytes, floats count as they are
     */
    public Builder adversarial(double epsilon) {
      spec.adversarial(epsilon);
      return this;
    }

    public Builder augmentation(Augmentation augmentation) {
      spec.augmentation(augmentation);
      return this;
    }

    public Builder labelSmoothing(double smoothing) {
      spec.labelSmoothing(smoothing);
      return this;
    }

    /**
     * The final network has the exponential moving average w_e = d w_e + (1 - d) w of the weights,
     * with statistics recomputed.
     */
    public Builder ema(double factor) {
      spec.ema(factor);
      return this;
    }

    /**
     * The final network has the mean of the weights after each epoch behind the first {@code
     * epochs} (Izmailov et al. 2018, arXiv 1803.05407), with statistics recomputed.
     */
    public Builder swaFrom(int epochs) {
      spec.swaFrom(epochs);
      return this;
    }

    /** Share of the training set that is set aside, chosen by the seed. */
    public Builder validation(double share) {
      spec.validation(share);
      return this;
    }

    /** Ends after so many epochs without a better validation accuracy. */
    public Builder earlyStop(int epochs) {
      spec.earlyStop(epochs);
      return this;
    }

    /** Keeps so many networks of best validation accuracy in the run folder. */
    public Builder keepBest(int networks) {
      spec.keepBest(networks);
      return this;
    }

    public Builder checkpointEvery(CheckpointInterval interval) {
      spec.checkpointEvery(interval);
      return this;
    }

    /** Length in passes over the training set. */
    public Builder epochs(int epochs) {
      spec.epochs(epochs);
      return this;
    }

    /** Length in updates. */
    public Builder updates(long updates) {
      spec.updates(updates);
      return this;
    }

    /** Of weights, order, augmentation, dropout and noise. */
    public Builder seed(long seed) {
      spec.seed(seed);
      return this;
    }

    /** First weights: a run folder, or a file as {@link Weights} reads, ours or PyTorch's. */
    public Builder initFrom(Path run) {
      spec.initFrom(run.toString());
      return this;
    }

    public Builder precision(DataType precision) {
      spec.precision(precision);
      return this;
    }

    /**
     * Number of native threads; two trainers share a machine by their sums. Results do not depend
     * on it.
     */
    public Builder threads(int threads) {
      spec.threads(threads);
      return this;
    }

    /** S: rows of one pass of the kernels; 0: by rule. Changes bits, not meaning. */
    public Builder microBatch(int rows) {
      spec.microBatch(rows);
      return this;
    }

    /** A factor for the loss and gradient of each training sample, by its number; not copied. */
    public Builder sampleWeights(float[] weights) {
      sampleWeights = weights;
      return this;
    }

    /**
     * Measures the network after every so many epochs, and after the last, for {@link
     * TrainingListener#onMeasure}: its weights as they train, also where their average is the final
     * network. The run has the same bits as without, and its times leave measures out. A measure
     * that fails is a warning; one that {@link Trainer#stop} ends is taken when the run goes on.
     *
     * @param name of lower-case letters, digits and dashes; takes the place of one of that name
     */
    public Builder measure(String name, int everyEpochs, Measure measure) {
      spec.measure(name, everyEpochs);
      measures.put(name, Check.present("trainer", "a measure", measure));
      return this;
    }

    /** Samples of the training set that measures look at, always the same ones; 0: all. */
    public Builder measureSamples(int samples) {
      spec.measureSamples(samples);
      return this;
    }

    public Builder listener(TrainingListener listener) {
      listeners.add(Check.present("trainer", "a listener", listener));
      return this;
    }

    /**
     * Where the run goes on, or null for its start: {@link #prepare} restores it. The run is then
     * the same, bit for bit, as one that never stopped; only {@code threads} may differ, and its
     * end may be later.
     */
    public Builder checkpoint(Checkpoint checkpoint) {
      this.checkpoint = checkpoint;
      return this;
    }

    /**
     * Kernels as an earlier run has chosen them: its device's {@link Device#kernelChoices}. {@link
     * #prepare} gives them to this one's device, as it does with those of a checkpoint.
     */
    public Builder kernelChoices(String text) {
      Check.present("trainer", "kernel choices", text);
      kernelChoices = text;
      return this;
    }

    /** Whether to measure where time goes, for {@link Trainer#profile}. */
    public Builder profile(boolean on) {
      profiling = on;
      return this;
    }

    /**
     * Whether to measure the gradient noise scale, for {@link Trainer#noiseScale}, in every eighth
     * update. The run stays the same, bit for bit; its time grows by less than 1 %. An update needs
     * at least 4 micro-batches, and with batch norm each of them whole ghosts, which {@link
     * Trainer#prepare} checks.
     */
    public Builder measureNoise(boolean on) {
      measuringNoise = on;
      return this;
    }

    /**
     * The trainer, on a device that stays the caller's.
     *
     * @throws IllegalArgumentException where settings are missing or do not fit together, or are
     *     not those of the checkpoint's run
     */
    public Trainer on(Device device) {
      Check.present("trainer", "a device", device);
      TrainingSpec built = spec.backend(device.name()).build();
      if (!device.supports(built.precision())) {
        throw Check.bad(
            "trainer",
            "a precision that " + device.name() + " supports",
            built.precision() + ": " + device.precisionNote(built.precision()));
      }
      for (MeasurePlan.Entry entry : built.measures().entries()) {
        if (!measures.containsKey(entry.name())) {
          throw Check.bad(
              "trainer", "the measure " + entry.name() + " that its spec names", "none");
        }
      }
      if (measuringNoise && built.samGroup() > 0) {
        throw Check.bad(
            "trainer", "no SAM groups where the noise scale is measured", built.samGroup());
      }
      if (checkpoint != null) {
        built.checkResumes(checkpoint.spec());
      }
      return new Trainer(this, device, built);
    }
  }

  public TrainingSpec spec() {
    return spec;
  }

  public Device device() {
    return device;
  }

  /** Lanes that the trainer runs on. */
  public int threads() {
    return threads;
  }

  /**
   * Compiles the network for this data (the first {@code trainSamples} of it where the spec says
   * so), and sets the first weights, or all state that the run's checkpoint has.
   *
   * @throws IllegalArgumentException where the data does not fit the network or the batch, or is
   *     not that of the checkpoint's run
   * @throws org.ghostbatch.device.NativeException naming bytes needed and free, and the largest
   *     ghost batch that fits, where memory is short
   * @throws IllegalStateException where it was called before
   */
  public void prepare(Dataset train) {
    Check.present("trainer", "training data", train);
    open();
    if (engine != null) {
      throw new IllegalStateException("[trainer] needs to be prepared once, got a second call");
    }
    if (spec.trainSamples() > train.count()) {
      throw Check.bad(
          "trainer", "at most the " + train.count() + " samples of its data", spec.trainSamples());
    }
    if (spec.validation() > 0) {
      if (sampleWeights != null) {
        throw Check.bad(
            "trainer", "no validation share beside weights of samples", spec.validation());
      }
      validation = TrainedRun.setAside(train, spec);
    }
    Dataset used = TrainedRun.trainedOn(train, spec);
    network = Network.of(layers, train.shape());
    if (train.classes() > network.classes()) {
      throw Check.bad(
          "trainer", "at most " + network.classes() + " classes, as its network", train.classes());
    }
    if (sampleWeights != null && sampleWeights.length != used.count()) {
      throw Check.bad(
          "trainer", "a weight for each of " + used.count() + " samples", sampleWeights.length);
    }
    if (spec.measureSamples() > used.count()) {
      throw Check.bad(
          "trainer",
          "at most the " + used.count() + " training samples to measure on",
          spec.measureSamples());
    }
    plan = new TrainingPlan(spec, used.count());
    plan.checkGhosts(network);
    if (measuringNoise || plan.follows()) {
      plan.checkMeasurable(network, MicroBatch.on(device));
    }
    if (plan.follows()) {
      state.batches.add(spec.batch().first());
      plan.follow(state.batches);
    }
    Weights first =
        checkpoint != null || spec.initFrom() == null
            ? null
            : firstWeights(Path.of(spec.initFrom()));
    normalization = train.normalization();
    classNames = names(train);
    whole = train;
    prepared = used;
    try {
      compile(first);
    } catch (RuntimeException e) {
      release();
      engine = null;
      throw e;
    }
  }

  private Weights firstWeights(Path path) {
    return Weights.read(Files.isDirectory(path) ? path.resolve(RunFolder.MODEL) : path, network);
  }

  /** Names of all outputs: the data's classes, then numbers for outputs that it does not use. */
  private List<String> names(Dataset train) {
    List<String> names = new ArrayList<>(train.classNames());
    while (names.size() < network.classes()) {
      names.add(Integer.toString(names.size()));
    }
    return List.copyOf(names);
  }

  private void compile(Weights first) {
    device.useKernelChoices(kernelChoices);
    if (checkpoint != null) {
      device.useKernelChoices(checkpoint.identity().getOrDefault(KERNEL_CHOICES, ""));
    }
    int ghost = plan.largestGhost(network);
    lanes = device.lanes(threads);
    networkPlan = network.compile(device);
    MicroBatch microBatch = MicroBatch.on(device);
    EngineSpec engineSpec =
        new EngineSpec(
            spec.precision(),
            plan.microBatch(network, microBatch),
            ghost,
            microBatch.ghostPerLane(network, plan.ghostOfRule()),
            true,
            spec.adversarial() > 0,
            load(network, normalization, spec));
    engine = device.engine(lanes, networkPlan, engineSpec);
    vectors = device.vectors(lanes);
    DataType type = spec.precision().parameterType();
    updater = new Updater(device, vectors, spec.optimizer(), type, network);
    rule = GradientRule.of(spec, device, vectors, engine);
    pass = new BatchPass(engine, trainStep, vectors);
    start = device.tensor(type, network.parameterCount());
    engine
        .parameters()
        .copyFrom(first == null ? network.initialParameters(spec.seed()) : first.parameters());
    if (engine.statistics() != null) {
      engine
          .statistics()
          .copyFrom(first == null ? network.initialStatistics() : first.statistics());
    }
    engine.parametersChanged();
    vectors.copy(engine.parameters(), start);
    average = WeightAverage.of(spec, device, vectors, engine.parameters());
    if (spec.gradientNoise() > 0 || sampleWeights != null) {
      factors = new float[spec.batch().largest(prepared.count())];
    }
    trainStep
        .runningStatistics(spec.runningStatistics())
        .ghost(spec.ghost())
        .augment(spec.augmentation() != Augmentation.NONE)
        .labelSmoothing(spec.labelSmoothing())
        .adversaryEpsilon(spec.adversarial())
        .seed(spec.seed());
    evaluationStep.mode(NormMode.RUNNING).backward(false).dropout(false).augment(false);
    if (profiling) {
      engine.profile(true);
      tracer = new Tracer(network, engine);
    }
    if (checkpoint != null) {
      restore(checkpoint);
      checkpoint = null; // it is as large as the vectors
    }
  }

  /**
   * How samples become inputs: as normalized in training; around byte images lies mid-grey, as in
   * Hoffer's code.
   */
  static LoadSpec load(Network network, Normalization normalization, TrainingSpec spec) {
    boolean bytes = normalization.scale() != 1;
    boolean affine = spec.augmentation() == Augmentation.AFFINE;
    LoadSpec load =
        LoadSpec.of(
                network.inputShape().height(),
                network.inputShape().width(),
                network.inputShape().channels())
            .withAugmentation(spec.augmentation())
            .withPad(4, bytes && !affine ? 127 : 0);
    return normalization.of(load).withType(spec.precision());
  }

  /** Trains a whole run on a named data set. */
  public History fit(DataPair data) {
    return fit(
        data.train().withNormalization(data.normalization()),
        data.test().withNormalization(data.normalization()));
  }

  /**
   * Trains a whole run.
   *
   * @param train the first {@code trainSamples} of it where the spec says so
   * @param test evaluated after every epoch, or null
   * @throws IllegalArgumentException where the data does not fit the network or the batch
   * @throws IllegalStateException where this trainer has trained before
   */
  public History fit(Dataset train, Dataset test) {
    Check.present("trainer", "training data", train);
    if (test != null && !test.shape().equals(train.shape())) {
      throw Check.bad("trainer", "test samples of " + train.shape(), test.shape());
    }
    return train(train, () -> new Run(this, test).run());
  }

  /** Does the one training that this trainer does, with {@link #feed} open. */
  <T> T train(Dataset train, Supplier<T> training) {
    Check.present("trainer", "training data", train);
    if (begun) {
      throw new IllegalStateException(
          "[trainer] needs a new trainer for another run, got one that has trained");
    }
    if (engine == null) {
      prepare(train);
    } else if (whole != train) {
      throw new IllegalStateException(
          "[trainer] needs the data that it was prepared for, got another");
    }
    begun = true;
    int largest = spec.batch().largest(prepared.count());
    try (BatchFeed batches =
        prepared.streaming()
            ? new StreamingFeed(device, prepared, largest, spec.seed())
            : new MemoryFeed(device, prepared, largest, spec.seed())) {
      feed = batches;
      return training.get();
    } finally {
      feed = null;
    }
  }

  /** The batches of {@link #train}. */
  BatchFeed feed() {
    return feed;
  }

  /** One update on the batch that the feed has brought. */
  void update(long epoch, double rate) {
    trainStep.epoch(epoch);
    update(feed.samples(), feed.rows(), feed.count(), factors(), rate);
  }

  /**
   * The state between two updates, as far as the run has come: copies of all vectors, about four
   * times the parameters.
   *
   * @throws IllegalStateException after a run's end, as its last epoch is closed then
   */
  public Checkpoint checkpoint() {
    ready();
    if (finished) {
      throw new IllegalStateException(
          "[trainer] needs a run in progress for a checkpoint, got one that has ended");
    }
    Map<String, Object> tensors = new LinkedHashMap<>();
    stateTensors().forEach((name, tensor) -> tensors.put(name, Checkpoint.save(tensor)));
    Map<String, String> kept = new LinkedHashMap<>();
    named()
        .forEach(
            (name, listener) -> {
              if (listener.state() != null) {
                kept.put(name, listener.state());
              }
            });
    RunState copy = state.copy();
    copy.seconds = state.secondsNow();
    copy.averages = average == null ? 0 : average.count();
    Map<String, String> identity = identity();
    if (!device.kernelChoices().isEmpty()) {
      identity.put(KERNEL_CHOICES, device.kernelChoices());
    }
    return new Checkpoint(spec, copy, identity, kept, tensors);
  }

  /** The run has come to its end: what follows does not belong to its course. */
  void finish() {
    finished = true;
  }

  /** Listeners by class, and number among those of their class. */
  private Map<String, TrainingListener> named() {
    Map<String, TrainingListener> named = new LinkedHashMap<>();
    for (TrainingListener listener : listeners) {
      int number = 0;
      while (named.putIfAbsent(listener.getClass().getName() + "#" + number, listener) != null) {
        number++;
      }
    }
    return named;
  }

  private Map<String, Tensor> stateTensors() {
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    tensors.put("parameters", engine.parameters());
    tensors.put("start", start);
    if (engine.statistics() != null) {
      tensors.put("statistics", engine.statistics());
    }
    updater.state().forEach(part -> tensors.put("optimizer." + part.name(), part.tensor()));
    if (average != null) {
      average.state().forEach(part -> tensors.put(part.name(), part.tensor()));
    }
    return tensors;
  }

  /** What a run that goes on must share with the one that began, beside the spec. */
  private Map<String, String> identity() {
    Map<String, String> identity = new LinkedHashMap<>();
    identity.put("data", fingerprint());
    identity.put("network", Json.write(network.layers().toJson()));
    identity.put("micro_batch", Long.toString(engine.microBatch()));
    List<String> kernels = new ArrayList<>();
    for (int i = 0; i < network.operationNames().size(); i++) {
      kernels.add(engine.implementation(i));
    }
    identity.put(KERNELS, String.join(", ", kernels));
    return identity;
  }

  /** The training data's fingerprint. */
  String fingerprint() {
    if (fingerprint == null) {
      fingerprint = prepared.fingerprint();
    }
    return fingerprint;
  }

  /** Takes the place of the first weights. */
  private void restore(Checkpoint checkpoint) {
    identity()
        .forEach(
            (name, value) -> {
              String theirs = checkpoint.identity().get(name);
              if (value.equals(theirs)) {
                return;
              }
              if (!name.equals(KERNELS)) {
                throw Check.bad(
                    "trainer", "the " + name + " that the run began with, " + theirs, value);
              }
              LOG.log(
                  Logger.Level.WARNING,
                  "[trainer] the run goes on with other kernels than it began with, as on another"
                      + " processor: its bits will not be those of a run that never stopped");
            });
    state = checkpoint.state().copy();
    plan.follow(state.batches);
    state.requireOn(plan);
    Map<String, Tensor> tensors = stateTensors();
    if (!tensors.keySet().equals(checkpoint.tensors().keySet())) {
      throw Check.bad(
          "trainer", "a checkpoint with " + tensors.keySet(), checkpoint.tensors().keySet());
    }
    tensors.forEach(checkpoint::restore);
    engine.parametersChanged();
    updater.updates(state.updates * rule.steps());
    if (average != null) {
      average.count(state.averages);
    }
    named()
        .forEach(
            (name, listener) -> {
              String kept = checkpoint.listeners().get(name);
              if (kept != null) {
                listener.restore(kept);
              }
            });
  }

  /** Rows of the epochs so far. */
  List<EpochRow> rows() {
    return List.copyOf(state.rows);
  }

  /** Distances of the weights from their start, by update. */
  List<DistanceRow> distances() {
    return List.copyOf(state.distances);
  }

  /** What was measured so far. */
  public List<MeasureRow> measured() {
    return List.copyOf(state.measures);
  }

  Measure measure(String name) {
    return measures.get(name);
  }

  /** Factors of the samples' gradients, or null for 1. */
  private float[] factors() {
    if (factors == null) {
      return null;
    }
    int count = feed.count();
    if (spec.gradientNoise() > 0) {
      if (noise.length != count) {
        noise = new double[count];
      }
      Philox.gaussian(spec.seed(), Purpose.NOISE.stream(0), state.samples, noise);
    }
    for (int i = 0; i < count; i++) {
      double factor = spec.gradientNoise() > 0 ? 1 + spec.gradientNoise() * noise[i] : 1;
      factors[i] =
          (float) (sampleWeights == null ? factor : factor * sampleWeights[feed.sample(i)]);
    }
    return factors;
  }

  /**
   * One update on samples[rows[0..count)], with the trainer's ghost batch, gradient rule, clipping
   * and optimizer.
   *
   * @param samples of this trainer's device, of the prepared data's shape
   * @param weights factors of each sample's loss and gradient, or null for 1
   * @param epoch keys the augmentation
   * @return the mean loss
   */
  public double step(
      Samples samples, int[] rows, int count, float[] weights, double learningRate, long epoch) {
    ready();
    Check.present("trainer", "rows", rows);
    if (count < 1 || count > rows.length) {
      throw Check.bad("trainer", "a batch of 1 to " + rows.length + " rows", count);
    }
    if (weights != null && weights.length < count) {
      throw Check.bad("trainer", "a weight for each of " + count + " samples", weights.length);
    }
    begun = true;
    trainStep.epoch(epoch);
    update(samples, rows, count, weights, learningRate);
    return lastLoss;
  }

  private void update(
      Samples samples, int[] rows, int count, float[] weights, double learningRate) {
    trainStep.step(state.updates);
    pass.batch(samples, rows, count, weights);
    pass.measure(measuresNoise() && state.updates % NOISE_EVERY == 0 ? state.noise : null);
    double norm = descend(0, learningRate);
    for (int step = 1; step < rule.steps(); step++) {
      descend(step, learningRate);
    }
    if (average != null) {
      average.afterUpdate(engine.parameters());
      traced("average of the weights");
    }
    state.updates++;
    state.samples += count;
    state.lastRate = learningRate;
    lastLoss = pass.loss() / count;
    lastAccuracy = (double) pass.correct() / count;
    lastGradientNorm = norm;
  }

  private boolean measuresNoise() {
    return measuringNoise
        || switch (spec.batch().measured()) {
          case NEVER -> false;
          case ONCE -> state.epoch == 0;
          case EVERY_EPOCH -> true;
        };
  }

  /**
   * Chooses the batch size of an epoch that begins, where it follows the noise scale. Where noise
   * hides the gradient, the scale is what it is at least; where nothing was measured, the size
   * stays.
   */
  void chooseBatch() {
    if (!plan.follows() || state.batches.size() > state.epoch) {
      return;
    }
    int batch = plan.batch(state.epoch);
    boolean chosen = spec.batch().measured() == BatchSchedule.Measured.ONCE && state.epoch > 1;
    NoiseScale noise = state.noise.estimate();
    if (!chosen && noise.updates() > 1) {
      boolean ghosts = network.hasBatchNorm() && spec.ghost() > 0;
      batch =
          plan.next(
              Double.isNaN(noise.scale()) ? noise.low() : noise.scale(),
              ghosts ? spec.ghost() : engine.microBatch(),
              network);
    }
    state.batches.add(batch);
    if (!chosen) {
      LOG.log(
          Logger.Level.INFO,
          "[trainer] epoch " + (state.epoch + 1) + ": batch " + batch + ", noise scale " + noise);
    }
  }

  /**
   * A step of the optimizer, from 0 within an update; gives its gradient's norm before clipping.
   */
  private double descend(int step, double learningRate) {
    rule.gradient(pass, step);
    traced("forward and backward");
    double norm = vectors.norm(engine.gradients());
    traced("gradient norm");
    if (!Double.isFinite(pass.loss()) || !Double.isFinite(norm)) {
      throw DivergedException.at(
          state.updates + 1, pass.loss() / pass.count(), norm, network, engine, vectors);
    }
    double clip = spec.clipGradientNorm();
    updater.update(
        learningRate,
        clip > 0 && norm > clip ? clip / norm : 1,
        engine.parameters(),
        engine.gradients());
    engine.parametersChanged();
    traced("optimizer");
    return norm;
  }

  /**
   * The rate of update {@code update} of epoch {@code epoch}, both from 0, as {@link #fit} uses it.
   */
  public double learningRate(int epoch, int update) {
    ready();
    return plan.rate(epoch, update);
  }

  /** The batch size of epoch {@code epoch}, from 0, as {@link #fit} uses it. */
  public int batchSize(int epoch) {
    ready();
    return plan.batch(epoch);
  }

  /** Updates of epoch {@code epoch}, from 0, as {@link #fit} uses it. */
  public int updatesOf(int epoch) {
    ready();
    return plan.updatesOf(epoch);
  }

  /** Updates of the whole run. */
  public long totalUpdates() {
    ready();
    return plan.totalUpdates();
  }

  /** Length of the run in epochs, the last of them perhaps a part. */
  public double epochs() {
    ready();
    return plan.epochs();
  }

  /**
   * Loss and accuracy on a data set, with running statistics, without dropout, augmentation and
   * label smoothing.
   */
  public Evaluation evaluate(Dataset data) {
    Check.present("trainer", "data", data);
    ready();
    restFeed();
    int chunk = Math.min(data.count(), EVALUATION_CHUNK);
    int[] indices = new int[chunk];
    int[] rows = new int[chunk];
    for (int i = 0; i < chunk; i++) {
      rows[i] = i;
    }
    double loss = 0;
    long correct = 0;
    SampleCopy copy = new SampleCopy(data);
    if (profiling) {
      engine.pauseProfile(true); // the profile is that of training
    }
    try (Samples room = SampleCopy.room(device, data, chunk)) {
      for (int first = 0; first < data.count(); first += chunk) {
        for (TrainingListener listener : listeners) {
          listener.onEvaluation(this, first, data.count());
        }
        int count = Math.min(chunk, data.count() - first);
        for (int i = 0; i < count; i++) {
          indices[i] = first + i;
        }
        copy.copy(indices, 0, count, room);
        engine.step(room, rows, count, null, evaluationStep, null, null, evaluationResult);
        loss += evaluationResult.loss();
        correct += evaluationResult.correct();
      }
      for (TrainingListener listener : listeners) {
        listener.onEvaluation(this, data.count(), data.count());
      }
    } finally {
      if (profiling) {
        engine.pauseProfile(false);
      }
    }
    return new Evaluation(loss / data.count(), (double) correct / data.count(), data.count());
  }

  /**
   * Makes batch norm's running statistics those of the parameters as they are now: the mean of the
   * statistics of all ghosts of {@code data}, cut into ghosts as in training. For parameters that
   * were written from outside, such as averages of weights; training needs none of it.
   *
   * @see BatchNormStatistics#recompute
   */
  public void recomputeStatistics(Dataset data) {
    Check.present("trainer", "data", data);
    ready();
    if (!network.hasBatchNorm()) {
      return;
    }
    restFeed();
    if (profiling) {
      engine.pauseProfile(true); // the profile is that of training
    }
    try {
      BatchNormStatistics.recompute(device, engine, vectors, data, ghost(), spec.seed());
    } finally {
      if (profiling) {
        engine.pauseProfile(false);
      }
    }
  }

  /** What is evaluated may be what the next batch is being read from. */
  void restFeed() {
    if (feed != null) {
      feed.rest();
    }
  }

  /** Ends a run after the update in progress. From any thread. */
  public void stop() {
    stopped = true;
  }

  /** Whether {@link #stop} was called. */
  public boolean stopRequested() {
    return stopped;
  }

  /** Updates done. */
  public long updates() {
    return state.updates;
  }

  /** Samples trained on, each epoch's anew. */
  public long samples() {
    return state.samples;
  }

  /** Mean loss of the last update's batch. */
  public double lastLoss() {
    return lastLoss;
  }

  /** Accuracy on the last update's batch, in 0..1. */
  public double lastAccuracy() {
    return lastAccuracy;
  }

  /**
   * Norm of the gradient that the last update followed (the first that it did), before clipping.
   */
  public double lastGradientNorm() {
    return lastGradientNorm;
  }

  /**
   * The gradient noise scale as it has been of late: of the gradients at the weights before
   * updates, whatever rule updates follow.
   *
   * @throws IllegalStateException unless it is measured: see {@link Builder#measureNoise}
   */
  public NoiseScale noiseScale() {
    if (!measuringNoise && !spec.batch().follows()) {
      throw new IllegalStateException(
          "[trainer] needs to be built with measureNoise(true), got one without");
    }
    return state.noise.estimate();
  }

  /** Learning rate of the last update. */
  public double lastLearningRate() {
    return state.lastRate;
  }

  /** Euclidean distance of the parameters to their start. */
  public double weightDistance() {
    ready();
    return vectors.distance(engine.parameters(), start);
  }

  /** The network; only after {@link #prepare} or {@link #fit}. */
  public Network network() {
    ready();
    return network;
  }

  /** The engine, with the parameters, gradients and statistics; it belongs to the trainer. */
  public Engine engine() {
    ready();
    return engine;
  }

  /** Kernels on this trainer's lanes; they belong to the trainer. */
  public VectorKernels vectors() {
    ready();
    return vectors;
  }

  /** The network as it is now, with all that predictions need. */
  public ModelFile model() {
    ready();
    return new ModelFile(
        network,
        normalization,
        classNames,
        spec.precision().parameterType(),
        engine.parameters().toDoubles(),
        engine.statistics() == null ? new double[0] : engine.statistics().toDoubles());
  }

  /** Writes {@link #model} to a file, whole or not at all. */
  public void save(Path path) {
    model().write(Check.present("trainer", "a path", path));
  }

  /** Where the time of updates went, for a trainer built with {@link Builder#profile}. */
  public Profile profile() {
    profiled();
    return Profile.of(network, engine);
  }

  /**
   * Some early updates of {@link #fit} call by call, for a trainer built with {@link
   * Builder#profile}.
   */
  public Trace trace() {
    profiled();
    return tracer.trace();
  }

  private void profiled() {
    ready();
    if (!profiling) {
      throw new IllegalStateException(
          "[trainer] needs to be built with profile(true), got one without");
    }
  }

  void traced(String phase) {
    if (tracer != null) {
      tracer.phase(phase);
    }
  }

  /** The training set: of the first {@code trainSamples}, those not set aside. */
  public Dataset data() {
    ready();
    return prepared;
  }

  /** What was set aside, or null. */
  Dataset validation() {
    return validation;
  }

  /** Samples of the training set, {@link #data}. */
  public int trainingSamples() {
    return data().count();
  }

  /** The most samples over which batch norm takes its statistics; 0 without batch norm. */
  public int ghost() {
    ready();
    return plan.largestGhost(network);
  }

  TrainingPlan plan() {
    return plan;
  }

  RunState state() {
    return state;
  }

  /** The last update's batch. */
  BatchPass pass() {
    return pass;
  }

  /** Null where no weights are averaged. */
  WeightAverage average() {
    return average;
  }

  /** Null unless profiling. */
  Tracer tracer() {
    return tracer;
  }

  List<TrainingListener> listeners() {
    return listeners;
  }

  /** Makes the average of the weights the network, with its own statistics. */
  void takeAverage() {
    vectors.copy(average.weights(), engine.parameters());
    engine.parametersChanged();
    recomputeStatistics(prepared);
    averaged = true;
  }

  /** Whether the network has averaged weights now, as at the end of a run that asks for them. */
  public boolean averaged() {
    return averaged;
  }

  private void ready() {
    open();
    if (engine == null) {
      throw new IllegalStateException(
          "[trainer] needs prepare or fit first, got a trainer without data");
    }
  }

  private void open() {
    if (closed) {
      throw new IllegalStateException("[trainer] needs an open trainer, but it is closed");
    }
  }

  /**
   * Frees the network's memory; closing twice is silent. The device stays open.
   *
   * @throws IllegalStateException while an update is in progress in another thread
   */
  @Override
  public void close() {
    if (!closed) {
      release();
      closed = true;
    }
  }

  private void release() {
    // What was made from something goes before it.
    close(engine);
    close(networkPlan);
    close(vectors);
    if (updater != null) {
      updater.close();
    }
    if (rule != null) {
      rule.close();
    }
    if (start != null) {
      start.close();
    }
    if (average != null) {
      average.close();
    }
    close(lanes);
  }

  private static void close(NativeObject part) {
    if (part != null) {
      part.close();
    }
  }
}
