package org.ghostbatch.nn;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.List;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.PoolSpec;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ModelsTest {
  /** Counts of the literature where it gives them, else worked out from the layers. */
  @ParameterizedTest
  @CsvSource({
    "softmax, 28x28x1, 10, 7850",
    "f1, 28x28x1, 10, 1462794",
    "f2, 1x1x360, 1973, 2780085",
    "c1, 32x32x3, 10, 1757834",
    "c2, 32x32x3, 10, 14991946",
    "c3, 32x32x3, 100, 1775204",
    "c4, 32x32x3, 100, 15038116",
    "hoffer-c1, 32x32x3, 10, 1388490",
    "hoffer-c3, 32x32x3, 100, 1405860",
    "wrn-16-4, 32x32x3, 100, 2800804",
    "wrn-16-4, 32x32x3, 10, 2777674",
    "vgg11, 32x32x3, 10, 9231114",
    "vgg16, 32x32x3, 10, 14728266",
    "vgg16, 28x28x1, 10, 14727114",
    "alexnet, 224x224x3, 1000, 61110184",
    "alexnet, 32x32x1, 10, 20338506",
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
      for (String shape : new String[] {"30x26x2", "28x28x1", "7x9x5", "224x131x3", "33x65x17"}) {
        Network network = Network.of(Models.byName(name, 7), SampleShape.parse(shape));
        assertEquals(7, network.classes());
        assertEquals(!name.equals("softmax"), network.hasBatchNorm());
      }
    }
    var error = assertThrows(IllegalArgumentException.class, () -> Models.byName("resnet45", 10));
    assertEquals(
        "[model] needs " + String.join(", ", Models.names()) + ", got \"resnet45\"",
        error.getMessage());
    assertThrows(IllegalArgumentException.class, () -> Models.resnet(45, 10));
    error =
        assertThrows(
            IllegalArgumentException.class,
            () -> Network.of(Models.alexnet(10), new SampleShape(6, 28, 3)));
    assertEquals(
        "[network] layer 0 (Conv2d): [convolution] needs a filter inside the padded image of 10 x"
            + " 32, got 11 x 11",
        error.getMessage());
  }

  @Test
  void keskarsNetsPoolAsKerasDoes() {
    // 32: one column of padding, on the right; 15: one on each side.
    Network even = Network.of(Models.c1(10), new SampleShape(32, 15, 3));
    PoolSpec first = pool(even, 0);
    assertEquals(List.of(16, 8), List.of(first.outHeight(), first.outWidth()));
    assertEquals(
        List.of(0, 1, 1, 0),
        List.of(first.padHeight(), first.padWidth(), first.extraHeight(), first.extraWidth()));
    PoolSpec second = pool(even, 1);
    assertEquals(List.of(8, 4), List.of(second.outHeight(), second.outWidth()));
    PoolSpec deep = pool(Network.of(Models.c2(10), new SampleShape(31, 1, 3)), 0);
    assertEquals(List.of(16, 1), List.of(deep.outHeight(), deep.outWidth()));
    assertEquals(List.of(1, 1), List.of(deep.extraHeight(), deep.extraWidth()));
  }

  @Test
  void alexnetPoolsAsPyTorchDoes() {
    Network network = Network.of(Models.alexnet(10), new SampleShape(224, 224, 3));
    assertEquals(27, pool(network, 0).outHeight());
    assertEquals(13, pool(network, 1).outHeight());
    assertEquals(6, pool(network, 2).outHeight());
    PoolSpec cut = pool(Network.of(Models.vgg11(10), new SampleShape(28, 40, 1)), 4);
    assertEquals(List.of(1, 2), List.of(cut.windowHeight(), cut.windowWidth()));
  }

  private static PoolSpec pool(Network network, int number) {
    return network.operations().stream()
        .filter(operation -> operation instanceof Operation.Pool)
        .map(operation -> ((Operation.Pool) operation).spec())
        .toList()
        .get(number);
  }

  /** Dropout where Keskar's code has it, and nowhere else. */
  @Test
  void dropoutRates() {
    assertEquals(
        List.of(0.3, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.5, 0.5), rates(Models.c2(10).layers()));
    for (String name : List.of("c1", "hoffer-c3", "alexnet")) {
      assertEquals(List.of(0.5, 0.5), rates(Models.byName(name, 10).layers()));
    }
    for (String name : List.of("f1", "lenet", "resnet44", "wrn-16-4", "vgg16")) {
      assertEquals(List.of(), rates(Models.byName(name, 10).layers()));
    }
  }

  private static List<Double> rates(List<Layer> layers) {
    return layers.stream()
        .filter(layer -> layer instanceof Dropout)
        .map(layer -> ((Dropout) layer).rate())
        .toList();
  }

  @Test
  void resnet44CostsWhatItsConvolutionsCost() {
    Network network = Network.of(Models.resnet44(10), new SampleShape(32, 32, 3));
    assertEquals(195.6e6, network.flops(), 1e6);
    assertEquals(
        45 + 45 + 2, network.operationNames().size(), "convolutions, batch norms, pool, linear");
  }
}
