package org.ghostbatch.analysis;

import java.util.Arrays;
import java.util.List;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Normalization;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.DataType;
import org.ghostbatch.nn.Flatten;
import org.ghostbatch.nn.Linear;
import org.ghostbatch.nn.ModelFile;
import org.ghostbatch.nn.Network;
import org.ghostbatch.nn.ReLU;
import org.ghostbatch.nn.Sequential;
import org.ghostbatch.random.RandomStream;

/**
 * A network of two linear layers with its loss, gradient and Hessian written out in double,
 * independent of the engine: the Hessian's columns are derivatives of the gradient by complex
 * steps, exact but for rounding.
 */
final class Perceptron {
  static final int IN = 5;
  static final int HIDDEN = 7;
  static final int OUT = 3;
  static final int SAMPLES = 90;
  static final int PARAMETERS = HIDDEN * IN + HIDDEN + OUT * HIDDEN + OUT;

  private static final int BIAS1 = HIDDEN * IN;
  private static final int WEIGHTS2 = BIAS1 + HIDDEN;
  private static final int BIAS2 = WEIGHTS2 + OUT * HIDDEN;

  final float[] inputs = new float[SAMPLES * IN];
  final int[] labels = new int[SAMPLES];
  final Dataset data;
  final ModelFile model;

  /**
   * Inputs of unequal spread, so that eigenvalues differ, and weights of a network half trained.
   */
  Perceptron(long seed) {
    RandomStream random = new RandomStream(seed, 1, 2, 3);
    for (int i = 0; i < inputs.length; i++) {
      inputs[i] = (float) ((1 + i % IN) * random.nextDouble(-1, 1));
    }
    for (int i = 0; i < SAMPLES; i++) {
      labels[i] = inputs[i * IN] + inputs[i * IN + 1] > 0.5 ? 1 : inputs[i * IN + 2] > 0 ? 2 : 0;
    }
    double[] parameters = new double[PARAMETERS];
    for (int i = 0; i < PARAMETERS; i++) {
      parameters[i] = (float) random.nextDouble(-0.7, 0.7);
    }
    SampleShape shape = new SampleShape(1, 1, IN);
    Normalization none =
        new Normalization(1, List.of(0., 0., 0., 0., 0.), List.of(1., 1., 1., 1., 1.));
    data = Dataset.of(inputs, shape, labels).withNormalization(none);
    Network network =
        Network.of(
            Sequential.of(Flatten.of(), Linear.of(HIDDEN), ReLU.of(), Linear.of(OUT)), shape);
    model =
        new ModelFile(
            network, none, List.of("a", "b", "c"), DataType.F64, parameters, new double[0]);
  }

  /** Loss in [0], then the gradient, as real and imaginary parts, at x + i h e_j. */
  private double[][] complexGradient(double[] x, int j, double h) {
    double[] re = new double[1 + PARAMETERS];
    double[] im = new double[1 + PARAMETERS];
    double[] xi = new double[PARAMETERS];
    if (j >= 0) {
      xi[j] = h;
    }
    double[] ar = new double[HIDDEN];
    double[] ai = new double[HIDDEN];
    double[] pr = new double[OUT];
    double[] pi = new double[OUT];
    for (int s = 0; s < SAMPLES; s++) {
      for (int u = 0; u < HIDDEN; u++) {
        double r = x[BIAS1 + u];
        double i = xi[BIAS1 + u];
        for (int k = 0; k < IN; k++) {
          r += x[u * IN + k] * inputs[s * IN + k];
          i += xi[u * IN + k] * inputs[s * IN + k];
        }
        ar[u] = r > 0 ? r : 0;
        ai[u] = r > 0 ? i : 0;
      }
      double sumR = 0;
      double sumI = 0;
      double labelR = 0;
      double labelI = 0;
      for (int c = 0; c < OUT; c++) {
        double r = x[BIAS2 + c];
        double i = xi[BIAS2 + c];
        for (int u = 0; u < HIDDEN; u++) {
          double wr = x[WEIGHTS2 + c * HIDDEN + u];
          double wi = xi[WEIGHTS2 + c * HIDDEN + u];
          r += wr * ar[u] - wi * ai[u];
          i += wr * ai[u] + wi * ar[u];
        }
        if (c == labels[s]) {
          labelR = r;
          labelI = i;
        }
        pr[c] = Math.exp(r) * Math.cos(i);
        pi[c] = Math.exp(r) * Math.sin(i);
        sumR += pr[c];
        sumI += pi[c];
      }
      double square = sumR * sumR + sumI * sumI;
      re[0] += (0.5 * Math.log(square) - labelR) / SAMPLES;
      im[0] += (Math.atan2(sumI, sumR) - labelI) / SAMPLES;
      for (int c = 0; c < OUT; c++) {
        double r = (pr[c] * sumR + pi[c] * sumI) / square;
        double i = (pi[c] * sumR - pr[c] * sumI) / square;
        pr[c] = (c == labels[s] ? r - 1 : r) / SAMPLES;
        pi[c] = i / SAMPLES;
        re[1 + BIAS2 + c] += pr[c];
        im[1 + BIAS2 + c] += pi[c];
        for (int u = 0; u < HIDDEN; u++) {
          re[1 + WEIGHTS2 + c * HIDDEN + u] += pr[c] * ar[u] - pi[c] * ai[u];
          im[1 + WEIGHTS2 + c * HIDDEN + u] += pr[c] * ai[u] + pi[c] * ar[u];
        }
      }
      for (int u = 0; u < HIDDEN; u++) {
        if (ar[u] == 0) {
          continue;
        }
        double r = 0;
        double i = 0;
        for (int c = 0; c < OUT; c++) {
          double wr = x[WEIGHTS2 + c * HIDDEN + u];
          double wi = xi[WEIGHTS2 + c * HIDDEN + u];
          r += wr * pr[c] - wi * pi[c];
          i += wr * pi[c] + wi * pr[c];
        }
        re[1 + BIAS1 + u] += r;
        im[1 + BIAS1 + u] += i;
        for (int k = 0; k < IN; k++) {
          re[1 + u * IN + k] += r * inputs[s * IN + k];
          im[1 + u * IN + k] += i * inputs[s * IN + k];
        }
      }
    }
    return new double[][] {re, im};
  }

  double loss(double[] x) {
    return complexGradient(x, -1, 0)[0][0];
  }

  double[] gradient(double[] x) {
    double[] gradient = new double[PARAMETERS];
    System.arraycopy(complexGradient(x, -1, 0)[0], 1, gradient, 0, PARAMETERS);
    return gradient;
  }

  double[][] hessian(double[] x) {
    double[][] hessian = new double[PARAMETERS][PARAMETERS];
    for (int j = 0; j < PARAMETERS; j++) {
      double[] column = complexGradient(x, j, 1e-30)[1];
      for (int i = 0; i < PARAMETERS; i++) {
        hessian[i][j] = column[1 + i] / 1e-30;
      }
    }
    return hessian;
  }

  /** Eigenvalues of a symmetric matrix, ascending, by Jacobi's rotations. */
  static double[] eigenvalues(double[][] matrix) {
    int n = matrix.length;
    double[][] a = new double[n][];
    for (int i = 0; i < n; i++) {
      a[i] = matrix[i].clone();
    }
    for (int sweep = 0; sweep < 60; sweep++) {
      for (int p = 0; p < n; p++) {
        for (int q = p + 1; q < n; q++) {
          double angle = 0.5 * Math.atan2(2 * a[p][q], a[q][q] - a[p][p]);
          double c = Math.cos(angle);
          double s = Math.sin(angle);
          for (int k = 0; k < n; k++) {
            double kp = a[k][p];
            double kq = a[k][q];
            a[k][p] = c * kp - s * kq;
            a[k][q] = s * kp + c * kq;
          }
          for (int k = 0; k < n; k++) {
            double pk = a[p][k];
            double qk = a[q][k];
            a[p][k] = c * pk - s * qk;
            a[q][k] = s * pk + c * qk;
          }
        }
      }
    }
    double[] values = new double[n];
    for (int i = 0; i < n; i++) {
      values[i] = a[i][i];
    }
    Arrays.sort(values);
    return values;
  }
}
