package org.ghostbatch.cli;

import java.util.ArrayList;
import java.util.List;
import org.ghostbatch.data.Datasets;
import org.ghostbatch.device.Augmentation;
import org.ghostbatch.device.RunningStatistics;
import org.ghostbatch.nn.Models;
import org.ghostbatch.optim.Adam;
import org.ghostbatch.optim.AdamW;
import org.ghostbatch.optim.BatchRule;
import org.ghostbatch.optim.BatchSchedule;
import org.ghostbatch.optim.LearningRate;
import org.ghostbatch.optim.Optimizer;
import org.ghostbatch.optim.RegimeAdaptation;
import org.ghostbatch.optim.Schedule;
import org.ghostbatch.optim.Sgd;
import org.ghostbatch.train.CheckpointInterval;
import org.ghostbatch.train.TrainingSpec;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Option;

/** The flags of {@code train} that say what is trained and how. Null: not given. */
final class TrainFlags {
  @ArgGroup(validate = false, heading = "%nNetwork and data:%n", order = 1)
  NetworkAndData network = new NetworkAndData();

  @ArgGroup(validate = false, heading = "%nBatch and length:%n", order = 2)
  BatchAndLength batch = new BatchAndLength();

  @ArgGroup(validate = false, heading = "%nLearning rate:%n", order = 3)
  Rate rate = new Rate();

  @ArgGroup(validate = false, heading = "%nOptimizer:%n", order = 4)
  Update update = new Update();

  @ArgGroup(validate = false, heading = "%nAverages, validation and checkpoints:%n", order = 5)
  Keeping keeping = new Keeping();

  /**
   * The run that these flags describe.
   *
   * @throws UsageException where they contradict each other, or a value is out of range
   */
  TrainingSpec.Builder spec() {
    return UsageException.check(this::build);
  }

  private TrainingSpec.Builder build() {
    require(network.model != null, "needs --model", "none");
    require(network.data != null, "needs --data", "none");
    require(
        Models.names().contains(network.model),
        "--model needs one of " + Models.names(),
        network.model);
    require(
        Datasets.NAMES.contains(network.data),
        "--data needs one of " + Datasets.NAMES,
        network.data);
    BatchSchedule sizes = sizes();
    int base =
        rate.baseBatch != null ? rate.baseBatch : batch.batchSchedule != null ? sizes.first() : 128;
    TrainingSpec.Builder spec =
        TrainingSpec.builder()
            .model(network.model)
            .data(network.data)
            .dataDir(network.dataDir)
            .batch(sizes)
            .ghost(ghost())
            .optimizer(optimizer())
            .learningRate(
                new LearningRate(
                    schedule(), rule(base), rate.warmupEpochs == null ? 0 : rate.warmupEpochs));
    length(spec);
    if (network.trainSamples != null) {
      require(network.trainSamples > 0, "--train-samples needs 1 or more", network.trainSamples);
      spec.trainSamples(network.trainSamples);
    }
    if (network.augment != null) {
      spec.augmentation(Augmentation.of(network.augment));
    }
    if (network.labelSmoothing != null) {
      spec.labelSmoothing(network.labelSmoothing);
    }
    if (batch.runningStats != null) {
      spec.runningStatistics(RunningStatistics.of(batch.runningStats));
    }
    if (batch.regimeAdaptation) {
      spec.regimeAdaptation(new RegimeAdaptation(base));
    }
    if (update.clip != null) {
      require(update.clip > 0, "--clip needs a norm > 0", update.clip);
      spec.clipGradientNorm(update.clip);
    }
    if (update.gradientNoise != null) {
      spec.gradientNoise(update.gradientNoise);
    }
    keeping(spec);
    return spec;
  }

  private void keeping(TrainingSpec.Builder spec) {
    if (keeping.ema != null) {
      require(keeping.ema > 0, "--ema needs a factor in (0, 1)", keeping.ema);
      spec.ema(keeping.ema);
    }
    if (keeping.swa != null) {
      require(keeping.swa >= 0, "--swa needs 0 or more epochs", keeping.swa);
      spec.swaFrom(keeping.swa);
    }
    if (keeping.validation != null) {
      spec.validation(keeping.validation);
    }
    if (keeping.earlyStop != null) {
      require(keeping.earlyStop > 0, "--early-stop needs 1 or more epochs", keeping.earlyStop);
      spec.earlyStop(keeping.earlyStop);
    }
    if (keeping.keepBest != null) {
      require(keeping.keepBest > 0, "--keep-best needs 1 or more", keeping.keepBest);
      spec.keepBest(keeping.keepBest);
    }
    if (keeping.checkpointEvery != null) {
      spec.checkpointEvery(CheckpointInterval.parse(keeping.checkpointEvery));
    }
  }

  private BatchSchedule sizes() {
    exactlyOne("--batch", batch.batch, "--batch-schedule", batch.batchSchedule);
    return batch.batch != null
        ? BatchSchedule.constant(batch.batch)
        : BatchSchedule.parse(batch.batchSchedule);
  }

  private int ghost() {
    if (batch.ghost == null || batch.ghost.equals("none")) {
      return 0;
    }
    boolean number = batch.ghost.matches("[0-9]{1,9}");
    require(
        number && Integer.parseInt(batch.ghost) > 0,
        "--ghost needs a number of samples, or none",
        batch.ghost);
    return Integer.parseInt(batch.ghost);
  }

  private void length(TrainingSpec.Builder spec) {
    exactlyOne("--epochs", batch.epochs, "--updates", batch.updates);
    if (batch.epochs != null) {
      require(batch.epochs > 0, "--epochs needs 1 or more", batch.epochs);
      spec.epochs(batch.epochs);
    } else {
      require(batch.updates > 0, "--updates needs 1 or more", batch.updates);
      require(!batch.regimeAdaptation, "--regime-adaptation needs --epochs", "--updates");
      spec.updates(batch.updates);
    }
  }

  private Schedule schedule() {
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
      return Schedule.parse(rate.schedule);
    }
    double lr = rate.lr == null ? 0.1 : rate.lr;
    if (rate.cosine) {
      return new Schedule.Cosine(lr);
    }
    return rate.poly != null ? new Schedule.Polynomial(lr, rate.poly) : new Schedule.Constant(lr);
  }

  private BatchRule rule(int base) {
    String name = rate.lrRule == null ? "none" : rate.lrRule;
    require(
        List.of("none", "sqrt", "linear").contains(name),
        "--lr-rule needs none, sqrt or linear",
        name);
    require(base > 0, "--base-batch needs 1 or more", base);
    return BatchRule.parse(name.equals("none") ? name : name + ":" + base);
  }

  private Optimizer optimizer() {
    String name = update.optimizer == null ? "sgd" : update.optimizer;
    double decay = update.weightDecay == null ? 1e-4 : update.weightDecay;
    switch (name) {
      case "sgd" -> {
        only(name, "--beta1", update.beta1, "--beta2", update.beta2, "--eps", update.eps);
        return new Sgd(update.momentum == null ? 0.9 : update.momentum, decay, update.nesterov);
      }
      case "adam", "adamw" -> {
        only(name, "--momentum", update.momentum, "--nesterov", update.nesterov ? "" : null);
        double beta1 = update.beta1 == null ? 0.9 : update.beta1;
        double beta2 = update.beta2 == null ? 0.999 : update.beta2;
        double eps = update.eps == null ? 1e-8 : update.eps;
        return name.equals("adam")
            ? new Adam(beta1, beta2, eps, decay)
            : new AdamW(beta1, beta2, eps, decay);
      }
      default -> throw new UsageException("--optimizer needs sgd, adam or adamw, got " + name);
    }
  }

  /** Refuses flags that the optimizer would ignore; names and values in turn. */
  private static void only(String optimizer, Object... flags) {
    for (int i = 0; i < flags.length; i += 2) {
      require(flags[i + 1] == null, flags[i] + " needs an optimizer that has it", optimizer);
    }
  }

  private static void exactlyOne(String first, Object a, String second, Object b) {
    require(
        (a == null) != (b == null),
        "needs either " + first + " or " + second,
        a == null ? "neither" : "both");
  }

  private static void require(boolean holds, String needs, Object got) {
    if (!holds) {
      throw new UsageException(needs + ", got " + got);
    }
  }

  static final class NetworkAndData {
    @Option(
        names = "--model",
        paramLabel = "M",
        description =
            "The network: softmax, f1, f2, c1, c2, c3, c4 (Keskar), hoffer-c1, hoffer-c3, lenet-small, lenet, "
                + "resnet20, resnet44, resnet110, wrn-16-4, vgg11, vgg16 or alexnet.")
    String model;

    @Option(
        names = "--data",
        paramLabel = "D",
        description = "The data: strokes (embedded), mnist, fashion-mnist, cifar10 or cifar100.")
    String data;

    @Option(
        names = "--data-dir",
        paramLabel = "DIR",
        description =
            "Folder of the data's files, or one that holds it (mnist/, cifar-10-batches-bin/). "
                + "Default: $GHOSTBATCH_DATA.")
    String dataDir;

    @Option(
        names = "--train-samples",
        paramLabel = "N",
        description = "Train on the first N samples. Default: all.")
    Integer trainSamples;

    @Option(
        names = "--augment",
        paramLabel = "KIND",
        description = "none, flip, crop-flip, pad-crop-flip or affine. Default: none.")
    String augment;

    @Option(
        names = "--label-smoothing",
        paramLabel = "X",
        description = "Probability taken from the true class and spread over all. Default: 0.")
    Double labelSmoothing;
  }

  static final class BatchAndLength {
    @Option(names = "--batch", paramLabel = "B", description = "Samples of an update.")
    Integer batch;

    @Option(
        names = "--batch-schedule",
        paramLabel = "E:B,...",
        description = "Batch sizes by epoch, as in 0:128,30:1024; instead of --batch.")
    String batchSchedule;

    @Option(
        names = "--ghost",
        paramLabel = "V|none",
        description =
            "Samples over which batch norm takes its statistics; none: the whole batch. Default: none.")
    String ghost;

    @Option(
        names = "--running-stats",
        paramLabel = "KIND",
        description =
            "How ghosts enter batch norm's running statistics: sequential, averaged, scaled or total. "
                + "Default: sequential.")
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
        paramLabel = "NAME",
        description = "sgd, adam or adamw. Default: sgd.")
    String optimizer;

    @Option(names = "--momentum", paramLabel = "X", description = "Of sgd. Default: 0.9.")
    Double momentum;

    @Option(names = "--nesterov", description = "Nesterov's momentum, of sgd.")
    boolean nesterov;

    @Option(
        names = "--weight-decay",
        paramLabel = "X",
        description = "On all parameters. Default: 1e-4.")
    Double weightDecay;

    @Option(names = "--beta1", paramLabel = "X", description = "Of adam and adamw. Default: 0.9.")
    Double beta1;

    @Option(names = "--beta2", paramLabel = "X", description = "Of adam and adamw. Default: 0.999.")
    Double beta2;

    @Option(names = "--eps", paramLabel = "X", description = "Of adam and adamw. Default: 1e-8.")
    Double eps;

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
        description = "Save the run's state every N epochs, or N updates. Default: 1.")
    String checkpointEvery;
  }
}
