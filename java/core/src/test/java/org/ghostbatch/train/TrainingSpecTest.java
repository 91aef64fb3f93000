package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.Augmentation;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.RunningStatistics;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.nn.Models;
import org.ghostbatch.nn.Network;
import org.ghostbatch.optim.Adam;
import org.ghostbatch.optim.BatchRule;
import org.ghostbatch.optim.BatchSchedule;
import org.ghostbatch.optim.LearningRate;
import org.ghostbatch.optim.RegimeAdaptation;
import org.ghostbatch.optim.Schedule;
import org.junit.jupiter.api.Test;

class TrainingSpecTest {
  private static TrainingSpec.Builder small() {
    return TrainingSpec.builder().batch(BatchSchedule.constant(100)).epochs(2);
  }

  @Test
  void jsonBringsItBack() {
    TrainingSpec everything =
        TrainingSpec.builder()
            .model("resnet44")
            .data("cifar10")
            .dataDir("some/where")
            .imageSize(40)
            .trainSamples(500)
            .optimizer(Adam.ofDecoupled().weightDecay(0.05))
            .learningRate(
                new LearningRate(Schedule.parse("0:0.1,81:0.01"), BatchRule.sqrtFrom(64), 1.5))
            .regimeAdaptation(new RegimeAdaptation(64))
            .batch(BatchSchedule.parse("0:64,3:256"))
            .ghost(32)
            .runningStatistics(RunningStatistics.TOTAL)
            .epochs(7)
            .clipGradientNorm(5)
            .gradientNoise(0.3)
            .proximal(0.001)
            .proximalSteps(5)
            .augmentation(Augmentation.PAD_CROP_FLIP)
            .labelSmoothing(0.1)
            .ema(0.99)
            .validation(0.2)
            .earlyStop(4)
            .keepBest(2)
            .checkpointEvery(CheckpointInterval.updates(50))
            .measure("sharpness", 5)
            .measure("own-one", 1)
            .measureSamples(100)
            .initFrom("runs/first")
            .backend("reference")
            .precision(DataType.F64)
            .threads(3)
            .microBatch(96)
            .seed(-5)
            .build();
    JsonObject json = everything.toJson();
    assertEquals(TrainingSpec.MEMBERS, json.names());
    assertEquals(everything, TrainingSpec.fromJson(Json.parseObject(Json.write(json))));
    assertEquals(everything, everything.toBuilder().build());
    TrainingSpec plain = small().build();
    assertEquals(plain, TrainingSpec.fromJson(Json.parseObject(Json.write(plain.toJson()))));
    assertEquals(
        plain,
        TrainingSpec.fromJson(
            Json.parseObject("{\"batch\": 100, \"epochs\": 2, \"resolved\": {}}")));
    TrainingSpec grouped = small().ghost(25).asam(0.5).samGroup(50).build();
    assertEquals(grouped, TrainingSpec.fromJson(Json.parseObject(Json.write(grouped.toJson()))));
    TrainingSpec adversarial = small().adversarial(0.1).build();
    assertEquals(0.1, adversarial.toJson().getDouble("adversarial"));
    assertEquals(
        adversarial, TrainingSpec.fromJson(Json.parseObject(Json.write(adversarial.toJson()))));
    for (BatchSchedule batch :
        new BatchSchedule[] {BatchSchedule.auto(64), BatchSchedule.noise(32)}) {
      TrainingSpec followed = small().batch(batch).build();
      assertEquals(
          followed, TrainingSpec.fromJson(Json.parseObject(Json.write(followed.toJson()))));
    }
    TrainingSpec updates = small().updates(10).build();
    assertEquals(updates, TrainingSpec.fromJson(updates.toJson()));
  }

  @Test
  void refusesWhatDoesNotFitTogether() {
    refused("a batch size, got null", TrainingSpec.builder().epochs(1));
    refused(
        "a length in either epochs or updates, got 0 epochs and 0 updates",
        TrainingSpec.builder().batch(BatchSchedule.constant(1)));
    refused(
        "a length in epochs for regime adaptation",
        small().updates(5).regimeAdaptation(new RegimeAdaptation(10)));
    TrainingSpec.Builder auto = small().batch(BatchSchedule.auto(64));
    refused(
        "a batch that is known beforehand for regime adaptation",
        auto.regimeAdaptation(new RegimeAdaptation(10)));
    refused(
        "a length in epochs for a batch that follows the noise scale",
        auto.regimeAdaptation(null).updates(5));
    refused(
        "no SAM groups for a batch that follows the noise scale",
        auto.epochs(2).sam(0.1).samGroup(32));
    refused("a ghost batch >= 0", small().ghost(-1));
    refused("an image size >= 0", small().imageSize(-1));
    refused("a gradient norm to clip at", small().clipGradientNorm(Double.NaN));
    refused("gradient noise", small().gradientNoise(-1));
    refused("label smoothing in [0, 1)", small().labelSmoothing(1));
    refused("a radius of SAM, finite", small().sam(-0.1));
    refused("a radius of ASAM, finite", small().asam(Double.POSITIVE_INFINITY));
    refused("a lambda of conservative training, finite", small().proximal(Double.NaN));
    refused("an epsilon of adversarial training, finite", small().adversarial(-0.1));
    refused("an epsilon of adversarial training, finite", small().adversarial(Double.NaN));
    String one = "at most one of sam, asam, proximal and adversarial, got ";
    refused(one + "sam and asam", small().sam(0.05).asam(0.5));
    refused(one + "asam and proximal", small().asam(0.5).proximal(0.001));
    refused(one + "proximal and adversarial", small().proximal(0.001).adversarial(0.1));
    refused(one + "sam and adversarial", small().sam(0.05).adversarial(0.1));
    refused("a SAM group >= 0", small().sam(0.05).samGroup(-1));
    refused("sam or asam for SAM groups, got neither", small().samGroup(50));
    refused(
        "a SAM group of whole ghosts, a multiple of 20, got 50",
        small().ghost(20).sam(0.05).samGroup(50));
    refused(
        "sequential running statistics with SAM groups",
        small().sam(0.05).samGroup(50).runningStatistics(RunningStatistics.AVERAGED));
    refused("proximal steps >= 1", small().proximal(0.001).proximalSteps(0));
    refused("proximal for proximal steps, got none", small().proximalSteps(2));
    refused("measures, got null", small().measures(null));
    refused("samples to measure on >= 0", small().measureSamples(-1));
    refused("measures for samples to measure on, got none", small().measureSamples(5));
    refused("precision f32, bf16 or f64", small().precision(DataType.U8));
    refused("backend reference for precision f64", small().precision(DataType.F64));
    refused("threads in", small().threads(2000));
    assertThrows(
        IllegalArgumentException.class,
        () -> TrainingSpec.fromJson(Json.parseObject("{\"batchsize\": 1}")));
    assertThrows(
        IllegalArgumentException.class,
        () ->
            TrainingSpec.fromJson(
                Json.parseObject("{\"batch\": 1, \"epochs\": 1, \"updates\": 1}")));
  }

  private static void refused(String text, TrainingSpec.Builder builder) {
    String message = assertThrows(IllegalArgumentException.class, builder::build).getMessage();
    assertTrue(message.startsWith("[training] needs " + text), message);
  }

  @Test
  void regimeAdaptationStretchesEverything() {
    TrainingSpec spec =
        small()
            .batch(BatchSchedule.constant(1024))
            .epochs(3)
            .schedule(Schedule.parse("0:0.1,2:0.01"))
            .warmupEpochs(0.5)
            .swaFrom(2)
            .regimeAdaptation(new RegimeAdaptation(128))
            .build();
    assertEquals(24, spec.trainedEpochs());
    assertEquals(16, spec.trainedSwaFrom());
    assertEquals(
        new LearningRate(Schedule.parse("0:0.1,16:0.01"), BatchRule.none(), 4),
        spec.trainedLearningRate());
  }

  @Test
  void theCourseOfARun() {
    TrainingPlan plan =
        new TrainingPlan(small().batch(BatchSchedule.parse("0:100,2:300")).epochs(3).build(), 1050);
    assertEquals(11, plan.updatesOf(0));
    assertEquals(4, plan.updatesOf(2));
    assertEquals(26, plan.totalUpdates());
    assertEquals(3, plan.epochs());
    TrainingPlan updates =
        new TrainingPlan(
            small().batch(BatchSchedule.parse("0:100,2:300")).updates(24).build(), 1050);
    assertEquals(2.5, updates.epochs());
    assertTrue(updates.done(2, 24) && !updates.done(3, 23));
    assertEquals(0.1, plan.rate(1, 3));
    var error =
        assertThrows(IllegalArgumentException.class, () -> new TrainingPlan(small().build(), 99));
    assertEquals(
        "[training] needs a batch of at most the 99 training samples, got 100", error.getMessage());
  }

  @Test
  void groupsThatCutTheOnlyGhostAreRefused() {
    Network norm = Network.of(Models.f1(2), new SampleShape(1, 1, 4));
    Network none = Network.of(Models.softmax(2), new SampleShape(1, 1, 4));
    TrainingSpec.Builder groups = small().sam(0.05).samGroup(50);
    TrainingPlan plain = new TrainingPlan(groups.build(), 200);
    plain.checkGhosts(none);
    var error = assertThrows(IllegalArgumentException.class, () -> plain.checkGhosts(norm));
    assertEquals(
        "[training] needs a ghost batch that SAM groups of 50 are multiples of, got none, so that"
            + " batch norm takes the whole batch of 100",
        error.getMessage());
    new TrainingPlan(groups.ghost(25).build(), 200).checkGhosts(norm);
    new TrainingPlan(groups.ghost(0).samGroup(100).build(), 200).checkGhosts(norm);
  }

  @Test
  void aGhostOfOneValueIsRefused() {
    Network vectors = Network.of(Models.f1(2), new SampleShape(1, 1, 4));
    Network images = Network.of(Models.resnet20(2), new SampleShape(8, 8, 1));
    new TrainingPlan(small().build(), 200).checkGhosts(vectors);
    new TrainingPlan(small().build(), 201).checkGhosts(images);
    for (TrainingPlan plan :
        new TrainingPlan[] {
          new TrainingPlan(small().build(), 201), // the last batch
          new TrainingPlan(small().ghost(1).build(), 200),
          new TrainingPlan(
              small().batch(BatchSchedule.constant(101)).ghost(2).build(),
              101) // 51 ghosts, some of 1
        }) {
      var error = assertThrows(IllegalArgumentException.class, () -> plan.checkGhosts(vectors));
      assertTrue(
          error.getMessage().startsWith("[training] needs at least 2 values per channel"),
          error.getMessage());
    }
  }
}
