package org.ghostbatch.cli;

import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.ghostbatch.analysis.Measures;
import org.ghostbatch.data.Datasets;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.nn.Models;
import org.ghostbatch.optim.BatchRule;
import org.ghostbatch.optim.BatchSchedule;
import org.ghostbatch.optim.Optimizer;
import org.ghostbatch.optim.Schedule;
import org.ghostbatch.train.MeasurePlan;
import org.ghostbatch.train.Recipe;
import org.ghostbatch.train.TrainingSpec;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Option;

/** The flags of {@code train} that say what is trained and how. Null, or false: not given. */
final class TrainFlags {
  /** The optimizer of a run that names none. */
  private static final String SGD = "sgd(momentum=0.9,weight-decay=1e-4)";

  @ArgGroup(validate = false, heading = "%nNetwork and data:%n", order = 1)
  NetworkAndData network = new NetworkAndData();

  @ArgGroup(validate = false, heading = "%nBatch and length:%n", order = 2)
  BatchAndLength batch = new BatchAndLength();

  @ArgGroup(validate = false, heading = "%nLearning rate:%n", order = 3)
  Rate rate = new Rate();

  @ArgGroup(validate = false, heading = "%nOptimizer:%n", order = 4)
  Update update = new Update();

  @ArgGroup(validate = false, heading = "%nSharpness-aware and conservative training:%n", order = 5)
  Flatness flatness = new Flatness();

  @ArgGroup(validate = false, heading = "%nAverages, validation and checkpoints:%n", order = 6)
  Keeping keeping = new Keeping();

  @ArgGroup(validate = false, heading = "%nMeasures while it trains:%n", order = 7)
  Measuring measuring = new Measuring();

  /**
   * The members of a spec that {@code base} has (of a config file, or none), over those of {@code
   * --recipe}, with what these flags say in their place. A flag that is a part of a member, as
   * {@code --momentum} is of the optimizer, changes that part alone.
   *
   * @throws UsageException where the flags contradict each other, or a value is out of range
   */
  JsonObject over(JsonObject base) {
    return UsageException.check(
        () -> {
          JsonObject all = recipe(base);
          base.names().forEach(name -> all.put(name, base.get(name)));
          networkAndData(all);
          batchAndLength(all);
          rate(all);
          update(all);
          flatness(all);
          keeping(all);
          measuring(all);
          return all;
        });
  }

  /**
   * The spec that has these members, and the defaults for the others.
   *
   * @throws UsageException where one is missing that has no default, or a value is out of range
   */
  static TrainingSpec spec(JsonObject members) {
    return UsageException.check(
        () -> {
          require(isSet(members, "model"), "needs --model", "none");
          require(isSet(members, "data"), "needs --data", "none");
          requireNames(members);
          require(isSet(members, "batch"), "needs either --batch or --batch-schedule", "neither");
          require(
              isSet(members, "epochs") || isSet(members, "updates"),
              "needs either --epochs or --updates",
              "neither");
          return TrainingSpec.fromJson(members);
        });
  }

  /** Refuses names of networks, data sets and measures that there are not. */
  static void requireNames(JsonObject members) {
    requireName(members, "model", Models.names());
    if (isSet(members, "data")) {
      UsageException.check(() -> Datasets.check(members.getString("data")));
    }
    if (isSet(members, "measure")) {
      UsageException.check(() -> Measures.check(MeasurePlan.parse(members.getString("measure"))));
    }
  }

  private static void requireName(JsonObject members, String member, Collection<String> names) {
    if (isSet(members, member)) {
      String name = members.getString(member);
      require(names.contains(name), "--" + member + " needs one of " + names, name);
    }
  }

  /** Whether there is such a member that is not null. */
  static boolean isSet(JsonObject members, String name) {
    return members.has(name) && !members.isNull(name);
  }

  private static void put(JsonObject all, String member, Object value) {
    if (value != null) {
      all.put(member, value);
    }
  }

  /** The members of the recipe, if there is one; a length in updates displaces its epochs. */
  private JsonObject recipe(JsonObject base) {
    if (network.recipe == null) {
      return new JsonObject();
    }
    String model =
        network.model != null
            ? network.model
            : isSet(base, "model") ? base.getString("model") : null;
    require(model != null, "--recipe needs --model", "none");
    JsonObject members = Recipe.of(network.recipe, model);
    if (batch.updates != null || isSet(base, "updates")) {
      members.put("epochs", null).put("regime_adaptation", null);
    }
    return members;
  }

  private void networkAndData(JsonObject all) {
    put(all, "model", network.model);
    put(all, "data", network.data);
    put(all, "data_dir", network.dataDir);
    if (network.imageSize != null) {
      require(network.imageSize > 0, "--image-size needs 1 or more", network.imageSize);
      all.put("image_size", network.imageSize);
    }
    if (network.trainSamples != null) {
      require(network.trainSamples > 0, "--train-samples needs 1 or more", network.trainSamples);
      all.put("train_samples", network.trainSamples);
    }
    put(all, "augment", network.augment);
    put(all, "label_smoothing", network.labelSmoothing);
  }

  private void batchAndLength(JsonObject all) {
    batch(all);
    put(all, "running_stats", batch.runningStats);
    if (batch.ghost != null) {
      all.put("ghost", ghost());
    }
    notBoth("--epochs", batch.epochs, "--updates", batch.updates);
    if (batch.epochs != null) {
      require(batch.epochs > 0, "--epochs needs 1 or more", batch.epochs);
      all.put("epochs", batch.epochs).put("updates", null);
    }
    if (batch.updates != null) {
      require(batch.updates > 0, "--updates needs 1 or more", batch.updates);
      require(!batch.regimeAdaptation, "--regime-adaptation needs --epochs", "--updates");
      all.put("updates", batch.updates).put("epochs", null);
    }
    if (batch.regimeAdaptation || rate.baseBatch != null && isSet(all, "regime_adaptation")) {
      all.put("regime_adaptation", baseBatch(all, null));
    }
  }

  /** A size, sizes by epoch, or auto or noise with the base batch that they begin with. */
  private void batch(JsonObject all) {
    notBoth("--batch", batch.batch, "--batch-schedule", batch.batchSchedule);
    boolean once = "auto".equals(batch.batch);
    boolean everyEpoch = "noise".equals(batch.batchSchedule);
    boolean given = batch.batch != null || batch.batchSchedule != null;
    if (!given && rate.baseBatch != null && isSet(all, "batch")) {
      BatchSchedule before = BatchSchedule.parse(all.get("batch").toString());
      once = before.measured() == BatchSchedule.Measured.ONCE;
      everyEpoch = before.measured() == BatchSchedule.Measured.EVERY_EPOCH;
    }
    if (once || everyEpoch) {
      int base = baseBatch(all, ruleOf(all));
      all.put("batch", (once ? BatchSchedule.auto(base) : BatchSchedule.noise(base)).toString());
    } else if (batch.batch != null) {
      boolean number = batch.batch.matches("[0-9]{1,9}");
      require(number, "--batch needs a number of samples, or auto", batch.batch);
      all.put("batch", Integer.parseInt(batch.batch));
    } else {
      put(all, "batch", batch.batchSchedule);
    }
  }

  private static BatchRule ruleOf(JsonObject all) {
    return isSet(all, "lr_rule") ? BatchRule.parse(all.getString("lr_rule")) : BatchRule.none();
  }

  /** V, or null for none. */
  private Integer ghost() {
    if (batch.ghost.equals("none")) {
      return null;
    }
    boolean number = batch.ghost.matches("[0-9]{1,9}");
    require(
        number && Integer.parseInt(batch.ghost) > 0,
        "--ghost needs a number of samples, or none",
        batch.ghost);
    return Integer.parseInt(batch.ghost);
  }

  /** The base batch in force: by flag, of the rule, of regime adaptation, of the first phase. */
  private int baseBatch(JsonObject all, BatchRule rule) {
    if (rate.baseBatch != null) {
      require(rate.baseBatch > 0, "--base-batch needs 1 or more", rate.baseBatch);
      return rate.baseBatch;
    }
    if (rule != null && rule.kind() != BatchRule.Kind.NONE) {
      return rule.base();
    }
    if (isSet(all, "regime_adaptation")) {
      return all.getInt("regime_adaptation");
    }
    return isSet(all, "batch") && all.get("batch") instanceof String text && text.contains(":")
        ? BatchSchedule.parse(text).first()
        : 128;
  }

  private void rate(JsonObject all) {
    schedule(all);
    BatchRule rule = ruleOf(all);
    int base = baseBatch(all, rule);
    if (rate.lrRule != null) {
      require(
          List.of("none", "sqrt", "linear").contains(rate.lrRule),
          "--lr-rule needs none, sqrt or linear",
          rate.lrRule);
      all.put("lr_rule", rate.lrRule.equals("none") ? "none" : rate.lrRule + ":" + base);
    } else if (rule.kind() != BatchRule.Kind.NONE) {
      all.put("lr_rule", new BatchRule(rule.kind(), base).toString());
    }
    put(all, "warmup_epochs", rate.warmupEpochs);
  }

  private void schedule(JsonObject all) {
    List<String> kinds = new ArrayList<>();
    if (rate.schedule != null) {
      kinds.add("--schedule");
    }
    if (rate.cosine) {
      kinds.add("--cosine");
    }
    if (rate.poly != null) {
      kinds.add("--poly");
    }
    require(kinds.size() <= 1, "needs at most one of --schedule, --cosine and --poly", kinds);
    if (rate.schedule != null) {
      require(
          rate.lr == null, "--schedule gives the rates itself: needs no --lr", "--lr " + rate.lr);
      require(
          rate.schedule.contains(":"),
          "--schedule needs EPOCH:RATE,..., as in 0:0.1,81:0.01",
          rate.schedule);
      all.put("schedule", Schedule.parse(rate.schedule).toString());
      return;
    }
    if (kinds.isEmpty() && rate.lr == null) {
      return;
    }
    Schedule before =
        isSet(all, "schedule")
            ? Schedule.parse(all.getString("schedule"))
            : new Schedule.Constant(0.1);
    double lr = rate.lr != null ? rate.lr : before.rate(0, 1);
    Schedule schedule;
    if (rate.cosine) {
      schedule = new Schedule.Cosine(lr);
    } else if (rate.poly != null) {
      schedule = new Schedule.Polynomial(lr, rate.poly);
    } else if (before instanceof Schedule.Cosine) {
      schedule = new Schedule.Cosine(lr);
    } else if (before instanceof Schedule.Polynomial polynomial) {
      schedule = new Schedule.Polynomial(lr, polynomial.power());
    } else if (before instanceof Schedule.Steps steps) {
      throw new UsageException(
          "--lr needs a schedule with one rate, got " + steps + ": --schedule replaces it");
    } else {
      schedule = new Schedule.Constant(lr);
    }
    all.put("schedule", schedule.toString());
  }

  private void update(JsonObject all) {
    if (update.optimizer != null || !update.settings().isEmpty()) {
      all.put("optimizer", optimizer(all));
    }
    if (update.clip != null) {
      require(update.clip > 0, "--clip needs a norm > 0", update.clip);
      all.put("clip", update.clip);
    }
    put(all, "gradient_noise", update.gradientNoise);
  }

  /** The optimizer as its text, {@code name(setting=value,...)}, with the settings of the flags. */
  private String optimizer(JsonObject all) {
    Optimizer before = Optimizer.parse(isSet(all, "optimizer") ? all.getString("optimizer") : SGD);
    String name = update.optimizer == null ? before.name() : update.optimizer;
    if (!name.equals(before.name())) {
      before = name.equals("sgd") ? Optimizer.parse(SGD) : Optimizer.parse(name).weightDecay(1e-4);
    }
    Map<String, String> settings = new LinkedHashMap<>();
    String text = before.toString();
    for (String setting : text.substring(name.length() + 1, text.length() - 1).split(",")) {
      settings.put(setting.split("=")[0], setting.split("=")[1]);
    }
    update
        .settings()
        .forEach(
            (setting, value) -> {
              require(
                  settings.containsKey(setting),
                  "--" + setting + " needs an optimizer that has it",
                  name);
              settings.put(setting, value.toString());
            });
    List<String> texts = new ArrayList<>();
    settings.forEach((setting, value) -> texts.add(setting + "=" + value));
    return Optimizer.parse(name + "(" + String.join(",", texts) + ")").toString();
  }

  private void flatness(JsonObject all) {
    if (flatness.sam != null) {
      require(flatness.sam > 0, "--sam needs a radius > 0", flatness.sam);
      all.put("sam", flatness.sam);
    }
    if (flatness.asam != null) {
      require(flatness.asam > 0, "--asam needs a radius > 0", flatness.asam);
      all.put("asam", flatness.asam);
    }
    if (flatness.samGroup != null) {
      require(flatness.samGroup > 0, "--sam-group needs 1 or more samples", flatness.samGroup);
      all.put("sam_group", flatness.samGroup);
    }
    if (flatness.proximal != null) {
      require(flatness.proximal > 0, "--proximal needs a lambda > 0", flatness.proximal);
      all.put("proximal", flatness.proximal);
    }
    if (flatness.proximalSteps != null) {
      require(isSet(all, "proximal"), "--proximal-steps needs --proximal", "none");
      all.put("proximal_steps", flatness.proximalSteps);
    }
    put(all, "adversarial", flatness.adversarial);
  }

  private void keeping(JsonObject all) {
    if (keeping.ema != null) {
      require(keeping.ema > 0, "--ema needs a factor in (0, 1)", keeping.ema);
      all.put("ema", keeping.ema);
    }
    if (keeping.swa != null) {
      require(keeping.swa >= 0, "--swa needs 0 or more epochs", keeping.swa);
      all.put("swa", keeping.swa);
    }
    put(all, "validation", keeping.validation);
    if (keeping.earlyStop != null) {
      require(keeping.earlyStop > 0, "--early-stop needs 1 or more epochs", keeping.earlyStop);
      all.put("early_stop", keeping.earlyStop);
    }
    if (keeping.keepBest != null) {
      require(keeping.keepBest > 0, "--keep-best needs 1 or more", keeping.keepBest);
      all.put("keep_best", keeping.keepBest);
    }
    put(all, "checkpoint_every", keeping.checkpointEvery);
  }

  private void measuring(JsonObject all) {
    if (measuring.measure != null) {
      all.put("measure", measuring.measure);
      if (measuring.measure.equals("none")) {
        all.put("measure_samples", null);
      }
    }
    if (measuring.samples != null) {
      require(measuring.samples > 0, "--measure-samples needs 1 or more", measuring.samples);
      all.put("measure_samples", measuring.samples);
    }
  }

  private static void notBoth(String first, Object a, String second, Object b) {
    require(a == null || b == null, "needs either " + first + " or " + second, "both");
  }

  private static void require(boolean holds, String needs, Object got) {
    if (!holds) {
      throw new UsageException(needs + ", got " + got);
    }
  }

  static final class NetworkAndData {
    @Option(
        names = "--model",
        completionCandidates = Candidates.Networks.class,
        paramLabel = "M",
        description = "The network: ${COMPLETION-CANDIDATES}.")
    String model;

    @Option(
        names = "--data",
        completionCandidates = Candidates.Data.class,
        paramLabel = "D",
        description = "The data: " + DataFlags.NAMES + ".")
    String data;

    @Option(
        names = "--recipe",
        completionCandidates = Candidates.Recipes.class,
        paramLabel = "NAME",
        description =
            "keskar or hoffer: the settings that this paper's code trains the network with, batch and length "
                + "included; --config and flags go before.")
    String recipe;

    @Option(
        names = "--data-dir",
        paramLabel = "DIR",
        description =
            "Folder of the data's files, or one that holds it (mnist/, cifar-10-batches-bin/). "
                + "Default: $GHOSTBATCH_DATA. What is absent is downloaded to $GHOSTBATCH_CACHE "
                + "(~/.cache/ghostbatch/data).")
    String dataDir;

    @Option(
        names = "--image-size",
        paramLabel = "N",
        description =
            "Scale the images of folder: so that the shorter side is N, and cut N x N from the centre. "
                + "Default: as they are, if all have one size; else it must be given.")
    Integer imageSize;

    @Option(
        names = "--train-samples",
        paramLabel = "N",
        description = "Train on the first N samples. Default: all.")
    Integer trainSamples;

    @Option(
        names = "--augment",
        completionCandidates = Candidates.Augmentations.class,
        paramLabel = "KIND",
        description = "${COMPLETION-CANDIDATES}. Default: none.")
    String augment;

    @Option(
        names = "--label-smoothing",
        paramLabel = "X",
        description = "Probability taken from the true class and spread over all. Default: 0.")
    Double labelSmoothing;
  }

  static final class BatchAndLength {
    @Option(
        names = "--batch",
        paramLabel = "B|auto",
        description =
            "Samples of an update; auto: --base-batch in the first epoch, which measures the gradient noise scale, "
                + "then what that is.")
    String batch;

    @Option(
        names = "--batch-schedule",
        paramLabel = "E:B,...|noise",
        description =
            "Batch sizes by epoch, as in 0:128,30:1024; noise: as auto, but measured on and followed from epoch to "
                + "epoch, at most doubled or halved. Instead of --batch.")
    String batchSchedule;

    @Option(
        names = "--ghost",
        paramLabel = "V|none",
        description =
            "Samples over which batch norm takes its statistics; none: the whole batch. Default: none.")
    String ghost;

    @Option(
        names = "--running-stats",
        completionCandidates = Candidates.Policies.class,
        paramLabel = "KIND",
        description =
            "How ghosts enter batch norm's running statistics: ${COMPLETION-CANDIDATES}. Default: sequential.")
    String runningStats;

    @Option(
        names = "--epochs",
        paramLabel = "E",
        description = "Length: passes over the training data.")
    Integer epochs;

    @Option(
        names = "--updates",
        paramLabel = "U",
        description = "Length in updates; instead of --epochs.")
    Long updates;

    @Option(
        names = "--regime-adaptation",
        description = "Multiply epochs, and the boundaries of schedules, by batch / base batch.")
    boolean regimeAdaptation;
  }

  static final class Rate {
    @Option(
        names = "--lr",
        paramLabel = "X",
        description = "Learning rate, before --lr-rule. Default: 0.1.")
    Double lr;

    @Option(
        names = "--schedule",
        paramLabel = "E:X,...",
        description = "Rates by epoch, before --lr-rule, as in 0:0.1,81:0.01; instead of --lr.")
    String schedule;

    @Option(names = "--cosine", description = "From --lr to 0 along a half cosine.")
    boolean cosine;

    @Option(names = "--poly", paramLabel = "P", description = "From --lr to 0 as (1 - done)^P.")
    Double poly;

    @Option(
        names = "--warmup-epochs",
        paramLabel = "E",
        description = "Raise the rate linearly over the first E epochs. Default: 0.")
    Double warmupEpochs;

    @Option(
        names = "--lr-rule",
        completionCandidates = Candidates.Rules.class,
        paramLabel = "RULE",
        description =
            "Multiply the rate by batch / base batch (linear), its root (sqrt), or not (none). Default: none.")
    String lrRule;

    @Option(
        names = "--base-batch",
        paramLabel = "B",
        description =
            "What --lr-rule and --regime-adaptation start from. Default: 128, or the first batch of --batch-schedule.")
    Integer baseBatch;
  }

  static final class Update {
    @Option(
        names = "--optimizer",
        completionCandidates = Candidates.Optimizers.class,
        paramLabel = "NAME",
        description = "${COMPLETION-CANDIDATES}. Default: sgd.")
    String optimizer;

    @Option(names = "--momentum", paramLabel = "X", description = "Of sgd and lars. Default: 0.9.")
    Double momentum;

    @Option(names = "--nesterov", description = "Nesterov's momentum, of sgd and lars.")
    boolean nesterov;

    @Option(
        names = "--weight-decay",
        paramLabel = "X",
        description = "On all parameters; with lars and lamb on weights alone. Default: 1e-4.")
    Double weightDecay;

    @Option(
        names = "--beta1",
        paramLabel = "X",
        description = "Of adam, adamw and lamb. Default: 0.9.")
    Double beta1;

    @Option(
        names = "--beta2",
        paramLabel = "X",
        description = "Of adam, adamw and lamb. Default: 0.999.")
    Double beta2;

    @Option(
        names = "--eps",
        paramLabel = "X",
        description = "Of adam, adamw and lamb. Default: 1e-8, of lamb 1e-6.")
    Double eps;

    @Option(
        names = "--trust",
        paramLabel = "X",
        description = "Factor of lars' ratio of norms. Default: 1e-3.")
    Double trust;

    @Option(
        names = "--clip",
        paramLabel = "X",
        description = "Largest norm of the gradient. Default: no limit.")
    Double clip;

    @Option(
        names = "--gradient-noise",
        paramLabel = "SIGMA",
        description = "Multiply each sample's gradient by a draw from N(1, SIGMA^2). Default: 0.")
    Double gradientNoise;

    /** Settings of the optimizer that were given, by the names that it has for them. */
    Map<String, Object> settings() {
      Map<String, Object> given = new LinkedHashMap<>();
      given.put("momentum", momentum);
      given.put("nesterov", nesterov ? true : null);
      given.put("weight-decay", weightDecay);
      given.put("beta1", beta1);
      given.put("beta2", beta2);
      given.put("eps", eps);
      given.put("trust", trust);
      given.values().removeIf(Objects::isNull);
      return given;
    }
  }

  static final class Flatness {
    @Option(
        names = "--sam",
        paramLabel = "RHO",
        description =
            "Sharpness-aware minimization: follow the gradient where the loss is about the largest within RHO (0.05) "
                + "of the weights. Two passes an update. Default: no.")
    Double sam;

    @Option(
        names = "--asam",
        paramLabel = "RHO",
        description =
            "The same with distances relative to each weight (RHO 0.5 to 2); instead of --sam. Default: no.")
    Double asam;

    @Option(
        names = "--sam-group",
        paramLabel = "M",
        description =
            "Samples for which --sam and --asam look for that place together, a multiple of --ghost. Default: the batch.")
    Integer samGroup;

    @Option(
        names = "--proximal",
        paramLabel = "LAMBDA",
        description =
            "Conservative training: an update minimizes its batch's loss + LAMBDA / 2 (1e-3) times the squared distance "
                + "from its start, by steps of the optimizer. Default: no.")
    Double proximal;

    @Option(
        names = "--proximal-steps",
        paramLabel = "N",
        description = "Steps of the optimizer in an update of --proximal, a pass each. Default: 3.")
    Integer proximalSteps;

    @Option(
        names = "--adversarial",
        paramLabel = "EPS",
        description =
            "Adversarial training: half the gradient is that at inputs moved by EPS to where the loss rises; 1 is the range "
                + "of a pixel, floats count as they are. Two passes an update. Default: 0, no.")
    Double adversarial;
  }

  static final class Keeping {
    @Option(
        names = "--ema",
        paramLabel = "D",
        description =
            "The final network has the moving average d w_e + (1 - d) w of the weights. Default: none.")
    Double ema;

    @Option(
        names = "--swa",
        paramLabel = "FROM",
        description =
            "The final network has the mean of the weights after each epoch behind the first FROM. Default: none.")
    Integer swa;

    @Option(
        names = "--validation",
        paramLabel = "FRACTION",
        description = "Part of the training data that is set aside for validation. Default: 0.")
    Double validation;

    @Option(
        names = "--early-stop",
        paramLabel = "N",
        description = "End after N epochs without a better validation accuracy.")
    Integer earlyStop;

    @Option(
        names = "--keep-best",
        paramLabel = "K",
        description = "Keep the K networks of best validation accuracy, in best/.")
    Integer keepBest;

    @Option(
        names = "--checkpoint-every",
        paramLabel = "N|Nu|none",
        description =
            "Save the run's state every N epochs, or N updates: the last two stay in checkpoint/, as do those that "
                + "--resume finds damaged, as *.damaged, until you delete them. Default: 1.")
    String checkpointEvery;
  }

  static final class Measuring {
    @Option(
        names = "--measure",
        completionCandidates = Candidates.OfMeasures.class,
        paramLabel = "NAME@E,...",
        description =
            "Measure the network after every E-th epoch (NAME: after each) and the last, into measures.csv: "
                + "${COMPLETION-CANDIDATES}, as those commands do; or none. Default: none.")
    String measure;

    @Option(
        names = "--measure-samples",
        paramLabel = "N",
        description = "Training samples that --measure looks at, always the same. Default: all.")
    Integer samples;
  }
}
