package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Path;
import java.util.stream.IntStream;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Engine;
import org.ghostbatch.device.EngineSpec;
import org.ghostbatch.device.Lanes;
import org.ghostbatch.device.LoadSpec;
import org.ghostbatch.device.LossResult;
import org.ghostbatch.device.NetworkPlan;
import org.ghostbatch.device.NormMode;
import org.ghostbatch.device.Samples;
import org.ghostbatch.device.StepSpec;
import org.ghostbatch.io.SafeTensors;
import org.ghostbatch.nn.BatchNorm;
import org.ghostbatch.nn.Conv2d;
import org.ghostbatch.nn.Flatten;
import org.ghostbatch.nn.Linear;
import org.ghostbatch.nn.MaxPool2d;
import org.ghostbatch.nn.Network;
import org.ghostbatch.nn.ReLU;
import org.ghostbatch.nn.Residual;
import org.ghostbatch.nn.Sequential;
import org.ghostbatch.optim.Sgd;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Training in bf16: activations in 16 bits, all that is kept from step to step in f32. */
@Timeout(300)
class Bf16Test {
  private static final Dataset TRAIN = TinyData.of(410, 1);
  private static final Dataset TEST = TinyData.of(200, 2);

  /** Channels that oneDNN takes in bf16. */
  private static final Sequential LAYERS =
      Sequential.of(
          Conv2d.of(16, 3).padding(1).bias(false),
          BatchNorm.of(),
          ReLU.of(),
          MaxPool2d.of(2),
          Residual.of(
              Sequential.of(Conv2d.of(32, 3).padding(1).bias(false), BatchNorm.of()),
              Sequential.of(Conv2d.of(32, 1).bias(false), BatchNorm.of())),
          Flatten.of(),
          Linear.of(16),
          ReLU.of(),
          Linear.of(4));

  @TempDir Path folder;

  @BeforeEach
  void supported() {
    try (Device device = Device.of("cpu", 1)) {
      assumeTrue(device.supports(DataType.BF16), device.precisionNote(DataType.BF16));
    }
  }

  private static Trainer.Builder builder(DataType precision) {
    return Trainer.of(LAYERS)
        .batchSize(100)
        .ghostBatchSize(32)
        .optimizer(Sgd.withMomentum(0.9).weightDecay(1e-4))
        .learningRate(0.02)
        .precision(precision)
        .epochs(3)
        .seed(7);
  }

  private static History fit(String backend, DataType precision) {
    try (Device device = Device.of(backend, 2);
        Trainer trainer = builder(precision).on(device)) {
      assertEquals(DataType.F32, trainer.spec().precision().parameterType());
      return trainer.fit(TRAIN, TEST);
    }
  }

  @Test
  void learnsAsInF32OnBothBackends() {
    History f32 = fit("cpu", DataType.F32);
    for (String backend : new String[] {"cpu", "reference"}) {
      History bf16 = fit(backend, DataType.BF16);
      for (int epoch = 0; epoch < 3; epoch++) {
        double loss = bf16.epochs().get(epoch).trainLoss();
        assertEquals(f32.epochs().get(epoch).trainLoss(), loss, 0.03, backend + " " + epoch);
        assertTrue(loss != f32.epochs().get(epoch).trainLoss(), "f32 in disguise");
      }
      assertTrue(bf16.test().accuracy() > 0.9, bf16.toString());
    }
  }

  @Test
  void weightsAreFinerThanBf16AndTheFileHoldsThem() {
    Path path = folder.resolve("m.safetensors");
    try (Device device = Device.of("cpu", 2);
        Trainer trainer = builder(DataType.BF16).on(device)) {
      History history = trainer.fit(TRAIN, TEST);
      assertEquals(DataType.F32, trainer.engine().parameters().type());
      float[] parameters = trainer.engine().parameters().toFloats();
      long fine =
          IntStream.range(0, parameters.length)
              .filter(i -> (Float.floatToRawIntBits(parameters[i]) & 0xFFFF) != 0)
              .count();
      assertTrue(fine > 0.9 * parameters.length, fine + " of " + parameters.length);
      trainer.save(path);
      try (SafeTensors file = SafeTensors.open(path)) {
        file.entries()
            .forEach((name, entry) -> assertEquals(SafeTensors.Type.F32, entry.type(), name));
      }
      float[] logits = logits(trainer, TEST.take(40));
      try (Predictor predictor = Predictor.load(path, device)) {
        Evaluation evaluation = predictor.evaluate(TEST);
        assertEquals(history.test().accuracy(), evaluation.accuracy(), 0.02);
        assertEquals(history.test().loss(), evaluation.loss(), 0.02);
        assertArrayEquals(logits, predictor.logits(TEST.take(40)), 0.1f);
      }
    }
  }

  private static float[] logits(Trainer trainer, Dataset data) {
    try (Samples room = SampleCopy.room(trainer.device(), data, data.count())) {
      int[] rows = IntStream.range(0, data.count()).toArray();
      new SampleCopy(data).copy(rows, 0, rows.length, room);
      float[] logits = new float[4 * data.count()];
      StepSpec step = new StepSpec().mode(NormMode.RUNNING).backward(false).augment(false);
      trainer.engine().step(room, rows, rows.length, null, step, logits, null, new LossResult());
      return logits;
    }
  }

  /** Logits and the gradient of the input come as floats, near those of f32. */
  @Test
  void perSampleResultsAreFloats() {
    int rows = 20;
    float[][] logits = new float[2][rows * 4];
    float[][] gradients = new float[2][rows * 64];
    for (int i = 0; i < 2; i++) {
      DataType type = i == 0 ? DataType.F32 : DataType.BF16;
      try (Device device = Device.of("cpu", 2);
          Samples samples = device.samples(DataType.U8, rows, 8, 8, 1, 4)) {
        int[] all = IntStream.range(0, rows).toArray();
        new SampleCopy(TRAIN).copy(all, 0, rows, samples);
        Network network = Network.of(LAYERS, TinyData.SHAPE);
        Lanes lanes = device.lanes(2);
        NetworkPlan plan = network.compile(device);
        EngineSpec spec = new EngineSpec(type, 8, 8, false, true, true, LoadSpec.of(8, 8, 1));
        Engine engine = device.engine(lanes, plan, spec);
        engine.parameters().copyFrom(network.initialParameters(1));
        engine.statistics().copyFrom(network.initialStatistics());
        engine.parametersChanged();
        StepSpec step = new StepSpec().ghost(8);
        engine.step(samples, all, rows, null, step, logits[i], gradients[i], new LossResult());
      }
    }
    assertTrue(distance(logits[1], logits[0]) < 0.05, "" + distance(logits[1], logits[0]));
    assertTrue(
        distance(gradients[1], gradients[0]) < 0.3, "" + distance(gradients[1], gradients[0]));
  }

  /** ||a - b|| / ||b||. */
  private static double distance(float[] a, float[] b) {
    double difference = 0;
    double norm = 0;
    for (int i = 0; i < a.length; i++) {
      difference += ((double) a[i] - b[i]) * ((double) a[i] - b[i]);
      norm += (double) b[i] * b[i];
    }
    return Math.sqrt(difference / norm);
  }
}
