package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.UnaryOperator;
import java.util.stream.IntStream;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.Augmentation;
import org.ghostbatch.device.BatchLoader;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.LoadSpec;
import org.ghostbatch.device.LossResult;
import org.ghostbatch.device.NormMode;
import org.ghostbatch.device.Samples;
import org.ghostbatch.device.StepSpec;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.nn.Parameter;
import org.ghostbatch.optim.Optimizer;
import org.ghostbatch.random.Shuffle;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** SAM, ASAM, conservative and adversarial training against the papers' formulas in doubles. */
class GradientRuleTest {
  private static final Dataset TRAIN = TinyData.of(200, 1);
  private static final double CLIP = 0.5;

  /**
   * @param ghost below 0: of a network without batch norm
   */
  private static Trainer.Builder builder(int batch, int ghost) {
    return Trainer.of(ghost < 0 ? TinyData.withoutNorm() : TinyData.convolutional())
        .batchSize(batch)
        .ghostBatchSize(Math.max(0, ghost))
        .augmentation(Augmentation.PAD_CROP_FLIP)
        .labelSmoothing(0.1)
        .clipGradientNorm(CLIP)
        .learningRate(UpdaterTest.RATE)
        .updates(1)
        .seed(3);
  }

  private static Samples samples(Device device) {
    Samples samples = device.samples(DataType.U8, TRAIN.count(), 8, 8, 1, 4);
    int[] all = IntStream.range(0, TRAIN.count()).toArray();
    new SampleCopy(TRAIN).copy(all, 0, all.length, samples);
    return samples;
  }

  /** Gradients at any weights, of one batch a time and always in one call, by another engine. */
  private static final class Oracle implements AutoCloseable {
    private final Trainer trainer;
    private final StepSpec step;
    private final LossResult result = new LossResult();
    private Samples samples;
    private int[] rows;
    private float[] factors;
    private long epoch;

    Oracle(Trainer trainer) {
      this.trainer = trainer;
      this.step = new StepSpec().ghost(trainer.spec().ghost()).labelSmoothing(0.1).seed(3);
    }

    void batch(Samples samples, int[] rows, float[] factors, long update, long epoch) {
      this.samples = samples;
      this.rows = rows;
      this.factors = factors;
      this.epoch = epoch;
      step.step(update).epoch(epoch);
    }

    /** Of rows [from, to) of the batch: the others have factor 0, and count in batch norm alone. */
    double[] gradient(double[] w, int from, int to, NormMode mode) {
      float[] masked = new float[rows.length];
      System.arraycopy(factors, from, masked, from, to - from);
      trainer.engine().parameters().copyFrom(w);
      trainer.engine().parametersChanged();
      step.mode(mode);
      trainer.engine().step(samples, rows, rows.length, masked, step, null, null, result);
      double whole = (double) rows.length / (to - from);
      return Arrays.stream(trainer.engine().gradients().toDoubles()).map(g -> whole * g).toArray();
    }

    @Override
    public void close() {
      trainer.close();
    }
  }

  /**
   * Gradient at w and at inputs that go {@code move} steps of a byte to where the loss rises, by
   * samples that are what the loader makes of the batch, moved.
   */
  private static double[] adversarial(Oracle oracle, double[] w, int move) {
    Trainer trainer = oracle.trainer;
    Device device = trainer.device();
    int count = oracle.rows.length;
    float[] input = new float[count * 64];
    trainer.engine().parameters().copyFrom(w);
    trainer.engine().parametersChanged();
    StepSpec step = oracle.step.mode(NormMode.BATCH_STATISTICS_WITHOUT_UPDATE);
    LossResult result = new LossResult();
    trainer
        .engine()
        .step(oracle.samples, oracle.rows, count, oracle.factors, step, null, input, result);
    LoadSpec load = Trainer.load(trainer.network(), TRAIN.normalization(), trainer.spec());
    try (BatchLoader loader = device.batchLoader(load);
        Tensor loaded = device.tensor(DataType.F64, count, 8, 8, 1);
        Tensor labels = device.tensor(DataType.S32, count);
        Samples moved = device.samples(DataType.F32, count, 8, 8, 1, 4)) {
      loader.load(oracle.samples, oracle.rows, count, 3, oracle.epoch, true, loaded, labels);
      double[] values = loaded.toDoubles();
      float[] pixels = new float[values.length];
      for (int i = 0; i < pixels.length; i++) {
        long pixel = Math.round((values[i] * 0.2 + 0.3) * 255);
        pixels[i] = (float) (pixel + move * Math.signum(input[i]));
      }
      moved.write(0, count, pixels);
      moved.writeLabels(0, count, labels.toInts());
      int[] all = IntStream.range(0, count).toArray();
      step.augment(false);
      trainer.engine().step(moved, all, count, oracle.factors, step, null, null, result);
      step.augment(true);
      return trainer.engine().gradients().toDoubles();
    }
  }

  /** y + alpha x. */
  private static double[] sum(double[] y, double alpha, double[] x) {
    return IntStream.range(0, y.length).mapToDouble(i -> y[i] + alpha * x[i]).toArray();
  }

  /** Gradient at w + e of rows [from, to), for e of SAM, or of ASAM. */
  private static double[] perturbed(
      Oracle oracle, double[] w, int from, int to, boolean adaptive, double rho) {
    double[] g = oracle.gradient(w, from, to, NormMode.BATCH_STATISTICS_WITHOUT_UPDATE);
    double[] t = Arrays.stream(w).map(x -> adaptive ? Math.abs(x) + 0.01 : 1).toArray();
    double square = 0;
    for (int i = 0; i < g.length; i++) {
      square += t[i] * g[i] * t[i] * g[i];
    }
    double[] e = new double[g.length];
    for (int i = 0; i < g.length; i++) {
      e[i] = rho * t[i] * t[i] * g[i] / (Math.sqrt(square) + 1e-12);
    }
    return oracle.gradient(sum(w, 1, e), from, to, NormMode.BATCH_STATISTICS_WITHOUT_UPDATE);
  }

  private static final String SGD = "sgd(momentum=0.9,weight-decay=0.01,nesterov=true)";
  private static final String ADAM = "adam(weight-decay=0.01,eps=1e-4)";

  /** Groups are given by where they begin and the batch's end. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        // Ghosts of 20, one group
        "sam | 0.2 | 0 | 60 | 20 | 0 60 | " + SGD,
        "sam | 0.2 | 0 | 60 | 20 | 0 60 | " + ADAM,
        "asam | 2 | 0 | 60 | 20 | 0 60 | " + SGD,
        "asam | 2 | 0 | 60 | 20 | 0 60 | " + ADAM,
        // The batch is the ghost
        "sam | 0.2 | 60 | 60 | 0 | 0 60 | " + SGD,
        // Groups of one ghost, and of two: five ghosts of 10 rows, and 3 of 9 and 4 of 8 rows
        "sam | 0.2 | 20 | 60 | 20 | 0 20 40 60 | " + SGD,
        "asam | 2 | 24 | 50 | 12 | 0 20 40 50 | " + ADAM,
        "sam | 0.2 | 18 | 59 | 9 | 0 18 35 51 59 | " + SGD,
        // Without batch norm there is no ghost to keep whole
        "sam | 0.2 | 25 | 59 | -1 | 0 20 40 59 | " + ADAM
      })
  void sharpnessAwareUpdatesFollowTheirFormula(
      String kind, double rho, int group, int batch, int ghost, String begins, String optimizer) {
    int[] ends = Arrays.stream(begins.split(" ")).mapToInt(Integer::parseInt).toArray();
    boolean adaptive = kind.equals("asam");
    follow(
        batch,
        ghost,
        optimizer,
        b -> (adaptive ? b.asam(rho) : b.sam(rho)).samGroup(group),
        (oracle, formula) -> {
          double[] w = formula.w.clone();
          double[] mean = new double[w.length];
          for (int i = 1; i < ends.length; i++) {
            double share = (double) (ends[i] - ends[i - 1]) / batch;
            mean = sum(mean, share, perturbed(oracle, w, ends[i - 1], ends[i], adaptive, rho));
          }
          descend(formula, mean);
          return mean;
        });
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {"0.5 | 3 | " + SGD, "0.5 | 3 | " + ADAM, "2 | 5 | " + SGD})
  void conservativeUpdatesFollowTheirFormula(double lambda, int steps, String optimizer) {
    follow(
        60,
        20,
        optimizer,
        b -> b.proximal(lambda).proximalSteps(steps),
        (oracle, formula) -> {
          double[] start = formula.w.clone();
          double[] first = null;
          for (int i = 0; i < steps; i++) {
            double[] g =
                oracle.gradient(formula.w, 0, 60, NormMode.BATCH_STATISTICS_WITHOUT_UPDATE);
            g = sum(sum(g, lambda, formula.w), -lambda, start);
            first = first == null ? g : first;
            descend(formula, g);
          }
          return first;
        });
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "24 | 60 | 20 | " + SGD,
        "24 | 60 | 20 | " + ADAM,
        "8 | 50 | 0 | " + SGD,
        "60 | 59 | 24 | " + SGD,
        "24 | 59 | -1 | " + ADAM
      })
  void adversarialUpdatesFollowTheirFormula(int move, int batch, int ghost, String optimizer) {
    follow(
        batch,
        ghost,
        optimizer,
        b -> b.adversarial(move / 255.0),
        (oracle, formula) -> {
          double[] w = formula.w.clone();
          double[] clean = oracle.gradient(w, 0, batch, NormMode.BATCH_STATISTICS_WITHOUT_UPDATE);
          double[] half = Arrays.stream(clean).map(g -> g / 2).toArray();
          double[] mean = sum(half, 0.5, adversarial(oracle, w, move));
          descend(formula, mean);
          return mean;
        });
  }

  private static void descend(UpdaterTest.Formula formula, double[] gradient) {
    double scale = Math.min(1, CLIP / UpdaterTest.Formula.norm(gradient));
    formula.updates++;
    formula.update(Arrays.stream(gradient).map(g -> scale * g).toArray(), 0, gradient.length, true);
  }

  /** Moves the formula's weights on by an update; gives the gradient whose norm is reported. */
  private interface Rule {
    double[] update(Oracle oracle, UpdaterTest.Formula formula);
  }

  private static void follow(
      int batch, int ghost, String optimizer, UnaryOperator<Trainer.Builder> kind, Rule rule) {
    Optimizer settings = Optimizer.parse(optimizer);
    try (Device device = Device.of("reference", 2);
        Samples samples = samples(device);
        Trainer trainer =
            kind.apply(builder(batch, ghost))
                .optimizer(settings)
                .precision(DataType.F64)
                .microBatch(16)
                .on(device);
        Oracle oracle =
            new Oracle(
                kind.apply(builder(batch, ghost))
                    .precision(DataType.F64)
                    .microBatch(60)
                    .on(device))) {
      trainer.prepare(TRAIN);
      oracle.trainer.prepare(TRAIN);
      UpdaterTest.Formula formula = new UpdaterTest.Formula(settings, trainer.model().parameters());
      float[] factors = new float[batch];
      for (int update = 0; update < 6; update++) {
        int[] rows = Arrays.copyOf(Shuffle.permutation(TRAIN.count(), 5, update), batch);
        for (int i = 0; i < batch; i++) {
          factors[i] = 0.5f + 0.125f * ((i + update) % 7);
        }
        oracle.batch(samples, rows, factors, update, update / 2);
        oracle.gradient(formula.w, 0, batch, NormMode.TRAIN);
        double loss = oracle.result.loss() / batch;
        double accuracy = (double) oracle.result.correct() / batch;
        double norm = UpdaterTest.Formula.norm(rule.update(oracle, formula));
        trainer.step(samples, rows, batch, factors, UpdaterTest.RATE, update / 2);
        assertEquals(loss, trainer.lastLoss(), 1e-9);
        assertEquals(accuracy, trainer.lastAccuracy());
        assertEquals(norm, trainer.lastGradientNorm(), 1e-9 * norm);
        assertArrayEquals(formula.w, trainer.model().parameters(), 1e-9);
        assertArrayEquals(
            oracle.trainer.model().statistics(),
            trainer.model().statistics(),
            1e-9,
            "statistics of first passes alone");
      }
    }
  }

  /** Steps on the first batches of an epoch; gives the parameters. */
  private static double[] train(Trainer.Builder builder, int batch, double rate) {
    try (Device device = Device.of("cpu", 2);
        Samples samples = samples(device);
        Trainer trainer = builder.on(device)) {
      trainer.prepare(TRAIN);
      for (int update = 0; update < 4; update++) {
        int[] rows = Arrays.copyOf(Shuffle.permutation(TRAIN.count(), 5, update), batch);
        trainer.step(samples, rows, batch, null, rate, 0);
      }
      return trainer.model().parameters();
    }
  }

  @Test
  void theWeightsGetTheirBitsBack() {
    double[] first = train(builder(60, 20), 60, 0);
    assertArrayEquals(first, train(builder(60, 20).sam(0.3).samGroup(20), 60, 0));
    assertArrayEquals(first, train(builder(60, 20).asam(3), 60, 0));
    assertArrayEquals(first, train(builder(60, 20).proximal(1), 60, 0));
    assertArrayEquals(first, train(builder(60, 20).adversarial(0.1), 60, 0));
  }

  @Test
  void oneGroupIsTheBatchAndOneStepAPlainUpdate() {
    List<double[]> trained = new ArrayList<>();
    for (int group : new int[] {0, 60, 80, 40}) {
      trained.add(train(builder(60, 20).sam(0.3).samGroup(group), 60, 0.05));
    }
    assertArrayEquals(trained.get(0), trained.get(1));
    assertArrayEquals(trained.get(0), trained.get(2));
    assertFalse(Arrays.equals(trained.get(0), trained.get(3)));
    double[] plain = train(builder(60, 20), 60, 0.05);
    assertArrayEquals(plain, train(builder(60, 20).proximal(1).proximalSteps(1), 60, 0.05));
    assertFalse(Arrays.equals(plain, trained.get(0)));
    assertArrayEquals(plain, train(builder(60, 20).adversarial(0), 60, 0.05));
    assertFalse(Arrays.equals(plain, train(builder(60, 20).adversarial(1e-3), 60, 0.05)));
    // A last batch that one group holds.
    assertArrayEquals(
        train(builder(60, 20).sam(0.3), 30, 0.05),
        train(builder(60, 20).sam(0.3).samGroup(40), 30, 0.05));
  }

  @Test
  void badBatchesAreRefused() {
    try (Device device = Device.of("cpu", 2);
        Samples samples = samples(device);
        Trainer trainer = builder(60, 20).sam(0.3).samGroup(20).on(device)) {
      trainer.prepare(TRAIN);
      int[] rows = IntStream.range(0, 60).toArray();
      for (int count : new int[] {-1, 0, 61}) {
        var error =
            assertThrows(
                IllegalArgumentException.class,
                () -> trainer.step(samples, rows, count, null, 0.1, 0));
        assertEquals("[trainer] needs a batch of 1 to 60 rows, got " + count, error.getMessage());
      }
      var few =
          assertThrows(
              IllegalArgumentException.class,
              () -> trainer.step(samples, rows, 60, new float[59], 0.1, 0));
      assertTrue(few.getMessage().contains("a weight for each of 60 samples"), few.getMessage());
    }
    try (Device device = Device.of("cpu", 2);
        Trainer trainer = builder(60, 0).sam(0.3).samGroup(20).on(device)) {
      var parts = assertThrows(IllegalArgumentException.class, () -> trainer.prepare(TRAIN));
      assertTrue(parts.getMessage().contains("SAM groups of 20"), parts.getMessage());
    }
  }

  /** A first gradient that is not finite is told as it is: one at w + e would hide its layer. */
  @Test
  void whereNumbersGoWrongIsTold() {
    try (Device device = Device.of("cpu", 2);
        Samples samples = samples(device);
        Trainer trainer =
            Trainer.of(TinyData.withoutNorm()).batchSize(60).updates(1).sam(0.3).on(device)) {
      trainer.prepare(TRAIN);
      // Logits of a usual size, but the gradient of what is before the last layer overflows.
      List<Parameter> layers = trainer.network().parameters();
      double[] w = trainer.model().parameters();
      for (int i = 0; i < w.length; i++) {
        w[i] *= i < layers.get(2).offset() ? 1e-38 : 1e38;
      }
      trainer.engine().parameters().copyFrom(w);
      trainer.engine().parametersChanged();
      w = trainer.engine().parameters().toDoubles();
      int[] rows = IntStream.range(0, 60).toArray();
      float[] factors = new float[60];
      Arrays.fill(factors, 1e4f);
      var error =
          assertThrows(
              DivergedException.class, () -> trainer.step(samples, rows, 60, factors, 0.1, 0));
      assertTrue(
          error.getMessage().contains(": the gradient of " + layers.get(1).name()),
          error.getMessage());
      assertArrayEquals(w, trainer.engine().parameters().toDoubles());
    }
  }
}
