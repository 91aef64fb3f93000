package org.ghostbatch.train;

import java.util.List;
import org.ghostbatch.device.Augmentation;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.optim.Adam;
import org.ghostbatch.optim.BatchRule;
import org.ghostbatch.optim.Optimizer;
import org.ghostbatch.optim.Schedule;
import org.ghostbatch.optim.Sgd;

/**
 * The settings that a paper's released code trains its models with, as members of a {@link
 * TrainingSpec}.
 *
 * <p>{@code keskar} (arXiv 1609.04836): Adam with Keras's settings, batch 256, 20 epochs; its large
 * batch is a tenth of the training set (MNIST 6000, CIFAR 5000). {@code vgg11} as its PyTorch
 * script: batch 250, 150 epochs.
 *
 * <p>{@code hoffer} (arXiv 1705.08741): the published command with ghosts where there is one, sqrt
 * rule from the ghost batch (from 256 where there are no ghosts), gradient clipped at norm 5.
 * {@code alexnet} has no published command: its regime, with the script's batch, ghost and length.
 * Two things differ from that code: crops of MNIST and ImageNet come from {@code crop-flip}, and
 * alexnet's weight decay stays where the code drops it at epoch 15.
 *
 * @see <a href="https://github.com/keskarnitish/large-batch-training">Keskar et al.'s code</a>
 * @see <a href="https://github.com/eladhoffer/bigBatch">Hoffer et al.'s code</a>
 */
public final class Recipe {
  /** What {@link #of} knows. */
  public static final List<String> NAMES = List.of("keskar", "hoffer");

  private static final String RESNET_STEPS = "0:0.1,81:0.01,122:0.001,164:0.0001";

  private Recipe() {}

  /**
   * The members that the recipe sets for this model, named as in {@code config.json}; all others
   * keep their defaults. To be applied by {@link TrainingSpec.Builder#set} before settings of the
   * user.
   *
   * @throws IllegalArgumentException naming the recipes, or the models that the recipe covers
   */
  public static JsonObject of(String recipe, String model) {
    Check.present("recipe", "a model", model);
    return switch (Check.present("recipe", "a name", recipe)) {
      case "keskar" -> keskar(model);
      case "hoffer" -> hoffer(model);
      default -> throw Check.bad("recipe", String.join(" or ", NAMES), "\"" + recipe + "\"");
    };
  }

  private static JsonObject keskar(String model) {
    return switch (model) {
      case "f1", "f2", "c1", "c2", "c3", "c4" -> adam(256, 20);
      case "vgg11" -> adam(250, 150);
      default -> throw uncovered("keskar", "f1, f2, c1, c2, c3, c4, vgg11", model);
    };
  }

  private static JsonObject adam(int batch, int epochs) {
    return members(batch, epochs, Adam.of(), "constant(rate=0.001)", Augmentation.NONE);
  }

  private static JsonObject hoffer(String model) {
    Optimizer momentum = Sgd.withMomentum(0.9).weightDecay(1e-4);
    return switch (model) {
      case "f1" ->
          ghosts(
              members(
                  4096, 50, momentum, "0:0.1,10:0.01,20:0.001,30:0.0001", Augmentation.CROP_FLIP),
              128);
      case "hoffer-c1", "hoffer-c3" ->
          ghosts(
              members(
                  4096,
                  200,
                  Sgd.of().weightDecay(5e-4),
                  "0:0.001,60:0.01,120:0.001,180:0.0001",
                  Augmentation.PAD_CROP_FLIP),
              128);
      case "resnet20", "resnet44", "resnet110" ->
          ghosts(members(2048, 100, momentum, RESNET_STEPS, Augmentation.PAD_CROP_FLIP), 256);
      case "wrn-16-4" ->
          members(
                  1024,
                  100,
                  momentum,
                  "0:0.1,60:0.02,120:0.004,140:0.0001",
                  Augmentation.PAD_CROP_FLIP)
              .put("lr_rule", BatchRule.sqrtFrom(256).toString())
              .put("regime_adaptation", 256)
              .put("clip", 5);
      case "alexnet" ->
          ghosts(
              members(
                  2048,
                  200,
                  momentum.weightDecay(5e-4),
                  "0:0.01,10:0.005,15:0.001,20:0.0005,25:0.0001",
                  Augmentation.CROP_FLIP),
              128);
      default ->
          throw uncovered(
              "hoffer",
              "f1, hoffer-c1, hoffer-c3, resnet20, resnet44, resnet110, wrn-16-4, alexnet",
              model);
    };
  }

  /** Checked by parsing: a recipe that does not fit a spec fails here. */
  private static JsonObject members(
      int batch, int epochs, Optimizer optimizer, String schedule, Augmentation augmentation) {
    return new JsonObject()
        .put("batch", batch)
        .put("epochs", epochs)
        .put("optimizer", optimizer.toString())
        .put("schedule", Schedule.parse(schedule).toString())
        .put("augment", augmentation.toString());
  }

  private static JsonObject ghosts(JsonObject members, int ghost) {
    return members
        .put("ghost", ghost)
        .put("lr_rule", BatchRule.sqrtFrom(ghost).toString())
        .put("clip", 5);
  }

  private static IllegalArgumentException uncovered(String recipe, String models, String model) {
    return Check.bad("recipe", "for " + recipe + " one of " + models, "\"" + model + "\"");
  }
}
