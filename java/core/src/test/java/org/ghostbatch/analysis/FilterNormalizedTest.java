package org.ghostbatch.analysis;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.nn.ModelFile;
import org.ghostbatch.nn.Parameter;
import org.ghostbatch.random.Philox;
import org.ghostbatch.random.Purpose;
import org.junit.jupiter.api.Test;

/** Directions whose filters are as long as those of a small network. */
class FilterNormalizedTest {
  private static final NormedNetwork NETWORK = new NormedNetwork();

  private static double norm(double[] values, int first, int count) {
    return Math.sqrt(Arrays.stream(values, first, first + count).map(v -> v * v).sum());
  }

  @Test
  void everyFilterIsAsLongAsTheWeightsAndAllElseIsZero() {
    ModelFile model = NETWORK.model();
    double[] direction = FilterNormalized.draw(model, 3, 0);
    int filters = 0;
    for (Parameter parameter : model.network().parameters()) {
      int first = (int) parameter.offset();
      if (parameter.kind() != Parameter.Kind.WEIGHT) {
        assertEquals(0, norm(direction, first, parameter.elements()), parameter.name());
        continue;
      }
      int filter = parameter.elements() / parameter.outer();
      for (int k = 0; k < parameter.outer(); k++, first += filter, filters++) {
        double wanted = norm(model.parameters(), first, filter);
        assertEquals(wanted, norm(direction, first, filter), 1e-14 * wanted, parameter.name());
        // Within the filter it is the random vector of these elements.
        double[] drawn = new double[filter];
        Philox.gaussian(3, Purpose.DIRECTION.stream(0), first, drawn);
        double factor = wanted / norm(drawn, 0, filter);
        for (int i = 0; i < filter; i++) {
          assertEquals(factor * drawn[i], direction[first + i], 1e-14);
        }
      }
    }
    assertEquals(4 + 8 + 4, filters);
  }

  @Test
  void directionsOfASeedAreIndependent() {
    ModelFile model = NETWORK.model();
    double[] first = FilterNormalized.draw(model, 3, 0);
    assertArrayEquals(first, FilterNormalized.draw(model, 3, 0));
    double cosine = FilterNormalized.cosine(first, FilterNormalized.draw(model, 3, 1));
    assertTrue(Math.abs(cosine) < 0.2 && cosine != 0, () -> "cosine " + cosine);
    assertNotEquals(first[0], FilterNormalized.draw(model, 4, 0)[0]);
    assertEquals(1, FilterNormalized.cosine(first, first), 1e-14);
    assertEquals(
        -Math.sqrt(0.5), FilterNormalized.cosine(new double[] {1, 0}, new double[] {-3, 3}), 1e-15);
  }

  @Test
  void aFilterOfZerosStays() {
    double[] weights = NETWORK.model().parameters().clone();
    Arrays.fill(weights, 0, 9, 0); // the first filter of the convolution
    double[] direction =
        FilterNormalized.draw(NETWORK.with(weights, NETWORK.model().statistics()), 3, 0);
    assertEquals(0, norm(direction, 0, 9));
    assertTrue(norm(direction, 9, 9) > 0);
  }

  @Test
  void networksThatDifferInTheScaleOfNormedWeightsHaveOneSurface() {
    double[] large = NETWORK.model().parameters().clone();
    double[] statistics = NETWORK.model().statistics().clone();
    NETWORK.scaleFirstLayer(large, statistics, 10);
    double[][] losses = new double[2][5];
    try (Device device = Device.of("cpu", 2)) {
      for (int i = 0; i < 2; i++) {
        ModelFile model = i == 0 ? NETWORK.model() : NETWORK.with(large, statistics);
        try (NetworkLoss f =
                NetworkLoss.of(device, model, NETWORK.data(), NetworkLossSpec.running(40));
            Tensor d = f.vector();
            Tensor x = f.vector()) {
          d.copyFrom(FilterNormalized.draw(model, 3, 0));
          Slice slice = new Slice(f, null, true);
          for (int p = 0; p < 5; p++) {
            f.vectors().copy(f.start(), x);
            f.vectors().axpy((p - 2) / 2., d, x);
            losses[i][p] = slice.at(p, x).trainLoss();
          }
        }
      }
    }
    assertTrue(Math.abs(losses[0][0] - losses[0][2]) > 0.05, Arrays.toString(losses[0]));
    assertArrayEquals(losses[0], losses[1], 1e-3);
  }

  @Test
  void badArgumentsAreRefused() {
    assertThrows(IllegalArgumentException.class, () -> FilterNormalized.draw(null, 1, 0));
    assertThrows(
        IllegalArgumentException.class, () -> FilterNormalized.draw(NETWORK.model(), 1, -1));
    assertThrows(
        IllegalArgumentException.class,
        () -> FilterNormalized.cosine(new double[2], new double[3]));
  }
}
