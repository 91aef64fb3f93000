package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import org.ghostbatch.analysis.Box;
import org.ghostbatch.analysis.Hessian;
import org.ghostbatch.analysis.NetworkLoss;
import org.ghostbatch.analysis.NetworkLossSpec;
import org.ghostbatch.analysis.Progress;
import org.ghostbatch.analysis.Sharpness;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.RunningStatistics;
import org.ghostbatch.nn.ModelFile;
import org.ghostbatch.optim.Adam;
import org.ghostbatch.optim.BatchSchedule;
import org.ghostbatch.optim.Lamb;
import org.ghostbatch.optim.Lars;
import org.ghostbatch.optim.Sgd;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Training, prediction and analyses on {@code cuda}, beside {@code cpu}, without a GPU: the backend
 * runs on the host there, as the native tests have it, in memory that nothing but its kernels and
 * copies can touch. In a JVM of its own, whose natives have that backend beside them.
 */
class CudaOnHostIT {
  @TempDir Path folder;

  @Test
  void whatRunsOnTheCpuRunsThereTheSame() throws Exception {
    String text = CudaOnHost.run(folder, Map.of(), Program.class);
    assertTrue(text.contains("all of it, on cuda"), text);
  }

  /** What that JVM runs. */
  public static final class Program {
    private static final Dataset TRAIN = TinyData.of(96, 1);
    private static final Dataset TEST = TinyData.of(24, 2);
    private static final double SAME = 1e-3;

    private final Device cpu;
    private final Device cuda;

    private Program(Device cpu, Device cuda) {
      this.cpu = cpu;
      this.cuda = cuda;
    }

    public static void main(String[] arguments) {
      try (Device cpu = Device.of("cpu", 2);
          Device cuda = Device.of("cuda", 2)) {
        assertEquals("cuda", cuda.name());
        Program program = new Program(cpu, cuda);
        program.waysToTrain();
        program.sameBitsTwice();
        program.bfloat16();
        program.predictions();
        program.analyses();
        System.out.println("all of it, on " + cuda);
      }
    }

    private static Trainer.Builder builder() {
      return Trainer.of(TinyData.convolutional())
          .batchSize(24)
          .ghostBatchSize(8)
          .optimizer(Sgd.withMomentum(0.9).weightDecay(1e-4))
          .learningRate(0.02)
          .epochs(2)
          .seed(3);
    }

    /** A trainer that has trained, and how that went. */
    private record Trained(Trainer trainer, History history) implements AutoCloseable {
      static Trained on(Device device, UnaryOperator<Trainer.Builder> with) {
        Trainer trainer = with.apply(builder()).on(device);
        return new Trained(trainer, trainer.fit(TRAIN, TEST));
      }

      ModelFile model() {
        return trainer.model();
      }

      @Override
      public void close() {
        trainer.close();
      }
    }

    private void waysToTrain() {
      Map<String, UnaryOperator<Trainer.Builder>> ways = new LinkedHashMap<>();
      ways.put("plain", b -> b);
      ways.put("clipped, smoothed", b -> b.clipGradientNorm(0.5).labelSmoothing(0.1));
      ways.put("plain batch norm", b -> b.ghostBatchSize(0));
      ways.put("ghosts of several micro-batches", b -> b.ghostBatchSize(12).microBatch(5));
      ways.put("total", b -> b.runningStatistics(RunningStatistics.TOTAL));
      ways.put("adam", b -> b.optimizer(Adam.of()).learningRate(1e-3));
      ways.put("lars", b -> b.optimizer(Lars.of()).learningRate(1));
      ways.put("lamb", b -> b.optimizer(Lamb.of()).learningRate(0.01));
      ways.put("sam", b -> b.sam(0.05).epochs(1));
      ways.put("asam, groups", b -> b.asam(0.5).samGroup(16).epochs(1));
      ways.put("proximal", b -> b.proximal(0.1).proximalSteps(2).epochs(1));
      ways.put("adversarial", b -> b.adversarial(0.01).epochs(1));
      ways.put("ema", b -> b.ema(0.9));
      ways.put("swa", b -> b.swaFrom(1));
      ways.put("gradient noise", b -> b.gradientNoise(0.01));
      ways.put("growing batches", b -> b.batchSize(BatchSchedule.parse("0:24,1:40")));
      ways.put("noise scale", b -> b.measureNoise(true).microBatch(8).batchSize(32).epochs(4));
      ways.forEach(
          (name, with) -> {
            try (Trained here = Trained.on(cpu, with);
                Trained there = Trained.on(cuda, with)) {
              History expected = here.history();
              History actual = there.history();
              for (int i = 0; i < expected.epochs().size(); i++) {
                EpochRow row = expected.epochs().get(i);
                EpochRow other = actual.epochs().get(i);
                assertEquals(row.trainLoss(), other.trainLoss(), SAME, name);
                assertEquals(row.testLoss(), other.testLoss(), 5 * SAME, name);
                assertEquals(row.gradientNorm(), other.gradientNorm(), 5 * SAME, name);
                assertEquals(row.weightDistance(), other.weightDistance(), SAME, name);
              }
            }
          });
      try (Trained memory = Trained.on(cuda, b -> b);
          Trainer streamed = builder().on(cuda)) {
        streamed.fit(TinyData.streamed(TRAIN), TEST);
        assertArrayEquals(memory.model().parameters(), streamed.model().parameters());
      }
    }

    private void sameBitsTwice() {
      try (Trained once = Trained.on(cuda, b -> b);
          Trained twice = Trained.on(cuda, b -> b.threads(1))) {
        assertArrayEquals(once.model().parameters(), twice.model().parameters());
        assertArrayEquals(once.model().statistics(), twice.model().statistics());
      }
    }

    private void bfloat16() {
      try (Trained trainer = Trained.on(cuda, b -> b.precision(DataType.BF16).epochs(4))) {
        List<EpochRow> rows = trainer.history().epochs();
        assertTrue(rows.get(3).trainLoss() < 0.9 * rows.get(0).trainLoss(), rows.toString());
      }
    }

    private void predictions() {
      try (Trained trainer = Trained.on(cpu, b -> b)) {
        ModelFile model = trainer.model();
        try (Predictor here = Predictor.of(model, cpu, 1);
            Predictor there = Predictor.of(model, cuda, 1)) {
          List<Prediction> expected = here.predict(TEST);
          List<Prediction> actual = there.predict(TEST);
          for (int i = 0; i < expected.size(); i++) {
            assertArrayEquals(
                expected.get(i).probabilities(), actual.get(i).probabilities(), 1e-4f);
          }
          byte[] image = TinyData.images(1, 5)[0];
          assertArrayEquals(
              here.predict(image).probabilities(), there.predict(image).probabilities(), 1e-4f);
        }
      }
    }

    private void analyses() {
      try (Trained trainer = Trained.on(cpu, b -> b.epochs(6))) {
        double[][] found = new double[2][];
        Device[] devices = {cpu, cuda};
        for (int i = 0; i < 2; i++) {
          ModelFile model = trainer.model();
          try (NetworkLoss f =
                  NetworkLoss.of(devices[i], model, TRAIN, NetworkLossSpec.running(8));
              Sharpness full = Sharpness.full(f, Box.ABSOLUTE, 1, Progress.NONE);
              Sharpness few = Sharpness.subspace(f, Box.ABSOLUTE, 10, 1, Progress.NONE);
              Hessian hessian = Hessian.at(f, f.start(), 1, Progress.NONE);
              var eigenvalues = hessian.eigenvalues(1, 0, 1e-2, 20, 1, Progress.NONE)) {
            f.recomputeStatistics(f.start(), TRAIN);
            found[i] =
                new double[] {
                  f.value(f.start()),
                  full.published(1e-2).sharpness(),
                  full.strong(1e-2, 1).sharpness(),
                  few.published(1e-2).sharpness(),
                  eigenvalues.largest().get(0).value()
                };
          }
        }
        for (int i = 0; i < found[0].length; i++) {
          assertEquals(
              found[0][i], found[1][i], 0.03 * Math.abs(found[0][i]) + 1e-4, "figure " + i);
        }
      }
    }
  }
}
