package org.ghostbatch.nn;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.ghostbatch.data.SampleShape;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ModelsTest {
  /** Counts of the literature where it gives them, else worked out from the layers. */
  @ParameterizedTest
  @CsvSource({
    "softmax, 28x28x1, 10, 7850",
    "f1, 28x28x1, 10, 1462794",
    "lenet, 28x28x1, 10, 1663978",
    "lenet-small, 28x28x1, 10, 207098",
    "resnet20, 32x32x3, 10, 272474",
    "resnet44, 32x32x3, 10, 661338",
    "resnet110, 32x32x3, 10, 1730714",
    "resnet44, 32x32x3, 100, 667188",
    "resnet20, 28x28x1, 10, 272186"
  })
  void parameterCounts(String model, String shape, int classes, long parameters) {
    Network network = Network.of(Models.byName(model, classes), SampleShape.parse(shape));
    assertEquals(parameters, network.parameterCount());
    assertEquals(classes, network.classes());
  }

  @Test
  void everyNameIsAModelThatAdaptsToItsInput() {
    for (String name : Models.names()) {
      Network network = Network.of(Models.byName(name, 7), new SampleShape(30, 26, 2));
      assertEquals(7, network.classes());
      assertEquals(!name.equals("softmax"), network.hasBatchNorm());
    }
    var error = assertThrows(IllegalArgumentException.class, () -> Models.byName("resnet45", 10));
    assertEquals(
        "[model] needs " + String.join(", ", Models.names()) + ", got \"resnet45\"",
        error.getMessage());
    assertThrows(IllegalArgumentException.class, () -> Models.resnet(45, 10));
  }

  @Test
  void resnet44CostsWhatItsConvolutionsCost() {
    Network network = Network.of(Models.resnet44(10), new SampleShape(32, 32, 3));
    assertEquals(195.6e6, network.flops(), 1e6);
    assertEquals(
        45 + 45 + 2, network.operationNames().size(), "convolutions, batch norms, pool, linear");
  }
}
