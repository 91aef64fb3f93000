package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.stream.IntStream;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Strokes;
import org.ghostbatch.device.Adversary;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Engine;
import org.ghostbatch.device.LossResult;
import org.ghostbatch.device.NormMode;
import org.ghostbatch.device.Samples;
import org.ghostbatch.device.StepSpec;
import org.ghostbatch.nn.ModelFile;
import org.ghostbatch.nn.Models;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** What adversarial training is for, on strokes; and what an engine refuses. */
@Timeout(300)
class AdversarialTest {
  private static final Dataset TRAIN = Strokes.train();
  private static final Dataset TEST = Strokes.test();
  private static final double EPSILON = 0.1;
  private static final int ATTACKED = 2000;

  private static Trainer.Builder builder(double epsilon) {
    return Trainer.of(Models.byName("lenet-small", 10))
        .batchSize(100)
        .ghostBatchSize(50)
        .learningRate(0.05)
        .epochs(3)
        .adversarial(epsilon);
  }

  private static ModelFile trained(Device device, double epsilon, DataType precision) {
    try (Trainer trainer = builder(epsilon).precision(precision).on(device)) {
      trainer.fit(TRAIN, null);
      return trainer.model();
    }
  }

  private record Attack(Evaluation clean, Evaluation attacked) {}

  /** The fast gradient sign method on test images, statistics running. */
  private static Attack attack(Device device, ModelFile model) {
    try (Trainer attacker = builder(EPSILON).on(device);
        Samples samples = SampleCopy.room(device, TEST, ATTACKED)) {
      attacker.prepare(TRAIN);
      Engine engine = attacker.engine();
      engine.parameters().copyFrom(model.parameters());
      engine.statistics().copyFrom(model.statistics());
      engine.parametersChanged();
      int[] rows = IntStream.range(0, ATTACKED).toArray();
      new SampleCopy(TEST).copy(rows, 0, ATTACKED, samples);
      StepSpec step = new StepSpec().mode(NormMode.RUNNING).dropout(false).augment(false);
      step.adversary(Adversary.RECORD).adversaryEpsilon(EPSILON);
      return new Attack(
          evaluation(engine, samples, rows, step),
          evaluation(engine, samples, rows, step.adversary(Adversary.APPLY).backward(false)));
    }
  }

  private static Evaluation evaluation(Engine engine, Samples samples, int[] rows, StepSpec step) {
    LossResult result = new LossResult();
    engine.step(samples, rows, rows.length, null, step, null, null, result);
    double count = rows.length;
    return new Evaluation(result.loss() / count, result.correct() / count, rows.length);
  }

  @ParameterizedTest
  @EnumSource(
      value = DataType.class,
      names = {"F32", "BF16"})
  void networksTrainedSoWithstandTheAdversary(DataType precision) {
    try (Device device = Device.of("cpu", 2)) {
      if (!device.supports(precision)) {
        return;
      }
      Attack plain = attack(device, trained(device, 0, precision));
      Attack adversarial = attack(device, trained(device, EPSILON, precision));
      System.out.println(plain + "\n" + adversarial);
      assertTrue(plain.attacked.loss() > 2 * plain.clean.loss(), plain.toString());
      assertTrue(adversarial.attacked.loss() > adversarial.clean.loss(), adversarial.toString());
      assertTrue(adversarial.clean.accuracy() > 0.85, adversarial.toString());
      assertTrue(
          adversarial.attacked.accuracy() > plain.attacked.accuracy() + 0.2,
          plain + " " + adversarial);
    }
  }

  @Test
  void anEngineAppliesOnlyWhatItRecorded() {
    Dataset train = TinyData.of(100, 1);
    try (Device device = Device.of("cpu", 2);
        Samples samples = SampleCopy.room(device, train, 100);
        Trainer trainer =
            Trainer.of(TinyData.withoutNorm())
                .batchSize(100)
                .updates(1)
                .adversarial(0.1)
                .on(device);
        Trainer without = Trainer.of(TinyData.withoutNorm()).batchSize(100).updates(1).on(device)) {
      int[] rows = IntStream.range(0, 100).toArray();
      new SampleCopy(train).copy(rows, 0, 100, samples);
      trainer.prepare(train);
      without.prepare(train);
      Engine engine = trainer.engine();
      StepSpec step = new StepSpec().adversaryEpsilon(0.1).adversary(Adversary.APPLY);
      refused(
          "the signs of the batch of 100 recorded, got 0 rows of them",
          engine,
          samples,
          rows,
          100,
          step);
      LossResult result = new LossResult();
      engine.step(samples, rows, 60, null, step.adversary(Adversary.RECORD), null, null, result);
      double clean = result.loss();
      step.adversary(Adversary.APPLY);
      refused("batch of 100 recorded, got 60 rows", engine, samples, rows, 100, step);
      engine.step(samples, rows, 60, null, step, null, null, result);
      assertTrue(result.loss() > clean, clean + " " + result.loss());
      refused(
          "a finite epsilon of the adversary >= 0",
          engine,
          samples,
          rows,
          60,
          step.adversaryEpsilon(Double.NaN));
      step.adversaryEpsilon(0).adversary(Adversary.RECORD);
      refused("gradient of its input to record", without.engine(), samples, rows, 60, step);
      refused("gradient of its input to record", engine, samples, rows, 60, step.backward(false));
    }
  }

  private static void refused(
      String part, Engine engine, Samples samples, int[] rows, int batch, StepSpec step) {
    var error =
        assertThrows(
            IllegalArgumentException.class,
            () -> engine.step(samples, rows, batch, null, step, null, null, new LossResult()));
    assertTrue(error.getMessage().contains(part), error.getMessage());
  }

  /** Pixels of bytes and the same as floats of their range: epsilon means the same. */
  @Test
  void epsilonIsInUnitsOfTheInputBeforeNormalization() {
    int count = 100;
    byte[][] images = TinyData.images(count, 1);
    byte[] bytes = new byte[count * 64];
    float[] floats = new float[bytes.length];
    int[] labels = new int[count];
    for (int i = 0; i < count; i++) {
      System.arraycopy(images[i], 0, bytes, i * 64, 64);
      labels[i] = i % 4;
    }
    for (int i = 0; i < bytes.length; i++) {
      floats[i] = (bytes[i] & 0xFF) / 255f;
    }
    Dataset ofBytes = Dataset.of(bytes, TinyData.SHAPE, labels);
    Dataset ofFloats = Dataset.of(floats, TinyData.SHAPE, labels);
    double[] one = first(ofBytes, 0.1);
    double[] other = first(ofFloats, 0.1);
    double[] clean = first(ofBytes, 0);
    double distance = 0;
    double moved = 0;
    for (int i = 0; i < one.length; i++) {
      distance += (one[i] - other[i]) * (one[i] - other[i]);
      moved += (one[i] - clean[i]) * (one[i] - clean[i]);
    }
    assertTrue(Math.sqrt(distance) < 1e-4 * Math.sqrt(moved), distance + " of " + moved);
  }

  /** Parameters after an update. */
  private static double[] first(Dataset data, double epsilon) {
    try (Device device = Device.of("reference", 2);
        Trainer trainer =
            Trainer.of(TinyData.withoutNorm())
                .batchSize(data.count())
                .updates(1)
                .precision(DataType.F64)
                .adversarial(epsilon)
                .on(device)) {
      trainer.fit(data, null);
      return trainer.model().parameters();
    }
  }
}
