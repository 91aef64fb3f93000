package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.nn.Parameter;
import org.ghostbatch.optim.Adam;
import org.ghostbatch.optim.Lamb;
import org.ghostbatch.optim.Lars;
import org.ghostbatch.optim.Optimizer;
import org.ghostbatch.optim.Sgd;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Updates of a trainer against the papers' formulas in plain doubles, fed with its gradients. */
class UpdaterTest {
  private static final Dataset TRAIN = TinyData.of(205, 1);
  static final double RATE = 0.05;
  private static final double CLIP = 0.5;

  /** Weights that follow the gradients of a run, by the formulas. */
  static final class Formula {
    final double[] w;
    int updates;
    private final Optimizer optimizer;
    private final double[] first;
    private final double[] second;

    Formula(Optimizer optimizer, double[] w) {
      this.optimizer = optimizer;
      this.w = w;
      this.first = new double[w.length];
      this.second = new double[w.length];
    }

    static double norm(double[] x) {
      return Math.sqrt(Arrays.stream(x).map(a -> a * a).sum());
    }

    /** On one parameter of the network, elements [from, from + n). */
    void update(double[] gradient, int from, int n, boolean weight) {
      double[] x = Arrays.copyOfRange(w, from, from + n);
      double[] g = Arrays.copyOfRange(gradient, from, from + n);
      double[] step = new double[n];
      if (optimizer instanceof Sgd sgd) {
        for (int i = 0; i < n; i++) {
          double d = g[i] + sgd.weightDecay() * x[i];
          double v = first[from + i] = sgd.momentum() * first[from + i] + d;
          step[i] = RATE * (sgd.nesterov() ? d + sgd.momentum() * v : v);
        }
      } else if (optimizer instanceof Lars lars) {
        double decay = weight ? lars.weightDecay() : 0;
        double ratio = weight ? lars.trust() * norm(x) / (norm(g) + decay * norm(x)) : 1;
        for (int i = 0; i < n; i++) {
          double d = RATE * ratio * (g[i] + decay * x[i]);
          double v = first[from + i] = lars.momentum() * first[from + i] + d;
          step[i] = lars.nesterov() ? d + lars.momentum() * v : v;
        }
      } else if (optimizer instanceof Adam adam) {
        for (int i = 0; i < n; i++) {
          double d = g[i] + (adam.decoupled() ? 0 : adam.weightDecay() * x[i]);
          step[i] = RATE * adaptive(from + i, d, adam.beta1(), adam.beta2(), adam.eps());
          step[i] += adam.decoupled() ? RATE * adam.weightDecay() * x[i] : 0;
        }
      } else if (optimizer instanceof Lamb lamb) {
        for (int i = 0; i < n; i++) {
          step[i] = adaptive(from + i, g[i], lamb.beta1(), lamb.beta2(), lamb.eps());
          step[i] += weight ? lamb.weightDecay() * x[i] : 0;
        }
        double ratio = weight ? norm(x) / norm(step) : 1;
        for (int i = 0; i < n; i++) {
          step[i] *= RATE * ratio;
        }
      }
      for (int i = 0; i < n; i++) {
        w[from + i] -= step[i];
      }
    }

    private double adaptive(int i, double g, double beta1, double beta2, double eps) {
      first[i] = beta1 * first[i] + (1 - beta1) * g;
      second[i] = beta2 * second[i] + (1 - beta2) * g * g;
      double mean = first[i] / (1 - Math.pow(beta1, updates));
      return mean / (Math.sqrt(second[i] / (1 - Math.pow(beta2, updates))) + eps);
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "sgd(momentum=0.9,weight-decay=0.01,nesterov=true)",
        "adam(weight-decay=0.01,eps=1e-4)",
        "adamw(weight-decay=0.1,eps=1e-4)",
        "lars(trust=0.2,weight-decay=0.05)",
        "lars(trust=0.2,momentum=0.5,weight-decay=0.05,nesterov=true)",
        "lamb(weight-decay=0.1,eps=1e-4)"
      })
  void followsItsFormula(String text) {
    follow("reference", DataType.F64, text, 1e-10);
    follow("cpu", DataType.F32, text, 2e-5);
  }

  private static void follow(String backend, DataType type, String text, double tolerance) {
    Optimizer optimizer = Optimizer.parse(text);
    int updates = 12;
    try (Device device = Device.of(backend, 2);
        Trainer trainer =
            Trainer.of(TinyData.convolutional())
                .batchSize(60)
                .ghostBatchSize(20)
                .optimizer(optimizer)
                .learningRate(RATE)
                .clipGradientNorm(CLIP)
                .precision(type)
                .updates(updates)
                .on(device)) {
      trainer.prepare(TRAIN);
      Formula formula = new Formula(optimizer, trainer.model().parameters());
      int clipped = 0;
      try (BatchFeed feed = new MemoryFeed(device, TRAIN, 60, 1)) {
        for (int update = 0; update < updates; update++) {
          if (update % 4 == 0) {
            feed.start(update / 4, 60);
          }
          feed.next();
          trainer.step(feed.samples(), feed.rows(), feed.count(), null, RATE, 0);
          double[] gradient = trainer.engine().gradients().toDoubles();
          double norm = Formula.norm(gradient);
          assertEquals(norm, trainer.lastGradientNorm(), 1e-9 * norm);
          clipped += norm > CLIP ? 1 : 0;
          double scale = Math.min(1, CLIP / norm);
          double[] scaled = Arrays.stream(gradient).map(g -> scale * g).toArray();
          formula.updates++;
          for (Parameter parameter : trainer.network().parameters()) {
            boolean weight = parameter.name().endsWith("weight") && parameter.shape().size() > 1;
            formula.update(scaled, (int) parameter.offset(), parameter.elements(), weight);
          }
          assertArrayEquals(formula.w, trainer.model().parameters(), tolerance, "update " + update);
          // Each update is tested by itself: rounding does not add up.
          System.arraycopy(trainer.model().parameters(), 0, formula.w, 0, formula.w.length);
        }
      }
      assertTrue(clipped > 0, "clipping is part of the test");
    }
  }
}
