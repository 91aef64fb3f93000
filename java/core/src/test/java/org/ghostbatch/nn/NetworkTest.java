package org.ghostbatch.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.EngineSpec;
import org.ghostbatch.device.LoadSpec;
import org.ghostbatch.device.NetworkPlan;
import org.junit.jupiter.api.Test;

class NetworkTest {
  private static final SampleShape IMAGE = new SampleShape(8, 8, 3);

  private static String refused(Sequential layers) {
    return assertThrows(IllegalArgumentException.class, () -> Network.of(layers, IMAGE))
        .getMessage();
  }

  @Test
  void errorsNameTheLayer() {
    assertEquals(
        "[network] layer 1 (Linear): [linear] needs a vector (Flatten before it), got an image of"
            + " 8x8x4",
        refused(Sequential.of(Conv2d.of(4, 3).padding(1), Linear.of(2))));
    assertEquals(
        "[network] layer 0.1 (Conv2d): [network] needs an image, got a vector of 192",
        refused(Sequential.of(Sequential.of(Flatten.of(), Conv2d.of(4, 3)))));
    assertTrue(
        refused(Sequential.of(Conv2d.of(4, 9)))
            .startsWith("[network] layer 0 (Conv2d): [convolution] needs a filter"));
    assertTrue(
        refused(Sequential.of(Conv2d.of(4, 3).groups(2)))
            .startsWith(
                "[network] layer 0 (Conv2d): [conv2d] needs groups that divide 3 channels, got 2"));
    assertTrue(
        refused(Sequential.of(Flatten.of(), BatchNorm.of(), Linear.of(2)))
            .startsWith("[network] layer 1 (BatchNorm)"));
    assertEquals(
        "[network] layer 0 (Residual): [residual] needs body and shortcut of one shape, got 8x8x5"
            + " and 8x8x3",
        refused(Sequential.of(Residual.of(Sequential.of(Conv2d.of(5, 1), BatchNorm.of())))));
    assertTrue(
        refused(
                Sequential.of(
                    Residual.of(Sequential.of(Conv2d.of(3, 3).padding(1), MaxPool2d.of(9)))))
            .startsWith("[network] layer 0.body.1 (MaxPool2d): "));
    assertTrue(
        refused(Sequential.of(Conv2d.of(4, 3))).startsWith("[network] needs one vector as output"));
    assertTrue(refused(Sequential.of()).startsWith("[network] needs a layer that computes"));
    assertTrue(refused(Sequential.of(Flatten.of())).startsWith("[network] needs"));
    assertTrue(
        refused(Sequential.of(GlobalAvgPool.of()))
            .startsWith("[network] needs a layer with weights"));
  }

  @Test
  void specsValidateThemselves() {
    assertThrows(IllegalArgumentException.class, () -> Conv2d.of(0, 3));
    assertThrows(IllegalArgumentException.class, () -> Conv2d.of(4, 3).stride(0));
    assertThrows(IllegalArgumentException.class, () -> Conv2d.of(4, 3).padding(-1));
    assertThrows(IllegalArgumentException.class, () -> Conv2d.of(5, 3).groups(2));
    assertThrows(IllegalArgumentException.class, () -> Linear.of(0));
    assertThrows(IllegalArgumentException.class, () -> new BatchNorm(0));
    assertThrows(IllegalArgumentException.class, () -> Dropout.of(1));
    assertThrows(IllegalArgumentException.class, () -> MaxPool2d.of(16));
    assertThrows(IllegalArgumentException.class, () -> AvgPool2d.of(2).padding(2));
    assertThrows(
        IllegalArgumentException.class, () -> MaxPool2d.of(3).padding(1).border(Border.SAME));
    assertThrows(IllegalArgumentException.class, () -> Residual.of(Sequential.of()));
  }

  @Test
  void batchNormTakesInWhatFollows() {
    Network network =
        Network.of(
            Sequential.of(
                Conv2d.of(4, 3).padding(1),
                BatchNorm.of(),
                ReLU.of(),
                Residual.of(
                    Sequential.of(
                        Conv2d.of(4, 3).padding(1),
                        BatchNorm.of(),
                        ReLU.of(),
                        Conv2d.of(4, 1),
                        BatchNorm.of())),
                GlobalAvgPool.of(),
                Linear.of(2)),
            IMAGE);
    List<Operation> operations = network.operations();
    assertEquals(
        List.of("0", "1", "3.body.0", "3.body.1", "3.body.3", "3.body.4", "4", "5"),
        network.operationNames());
    Operation.Norm first = assertInstanceOf(Operation.Norm.class, operations.get(1));
    assertTrue(first.spec().relu() && !first.spec().residual());
    Operation.Norm last = assertInstanceOf(Operation.Norm.class, operations.get(5));
    assertTrue(last.spec().relu() && last.spec().residual());
    assertEquals(2, last.residual(), "the value that the block started from");
    assertEquals("batch norm", network.operationKind(1));
    assertEquals(IMAGE, network.operationSource(0));
    assertEquals(network.operationShape(0), network.operationSource(1));
    assertEquals(new SampleShape(1, 1, 2), network.operationShape(7));
  }

  @Test
  void aReluThatReadsASharedValueIsNotFused() {
    Network network =
        Network.of(
            Sequential.of(
                BatchNorm.of(),
                Residual.of(Sequential.of(ReLU.of(), Conv2d.of(3, 1))),
                GlobalAvgPool.of()),
            IMAGE);
    Operation.Norm norm = assertInstanceOf(Operation.Norm.class, network.operations().get(0));
    assertFalse(norm.spec().relu(), "the shortcut needs the values before the ReLU");
    assertInstanceOf(Operation.Relu.class, network.operations().get(1));
    Operation.Add sum = assertInstanceOf(Operation.Add.class, network.operations().get(3));
    assertEquals(1, sum.other());
  }

  @Test
  void parametersHaveNamesAndPlaces() {
    Network network =
        Network.of(
            Sequential.of(Conv2d.of(4, 3), BatchNorm.of(), ReLU.of(), Flatten.of(), Linear.of(2)),
            IMAGE);
    List<Parameter> parameters = network.parameters();
    assertEquals(
        List.of("0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"),
        parameters.stream().map(Parameter::name).toList());
    assertEquals(List.of(4, 3, 3, 3), parameters.get(0).shape());
    assertEquals(27, parameters.get(0).fanIn());
    assertEquals(List.of(2, 144), parameters.get(4).shape());
    assertEquals(
        List.of(Parameter.Kind.GAMMA, Parameter.Kind.BETA),
        List.of(parameters.get(2).kind(), parameters.get(3).kind()));
    long offset = 0;
    for (Parameter parameter : parameters) {
      assertEquals(offset, parameter.offset());
      offset += parameter.elements();
    }
    assertEquals(network.parameterCount(), offset);
    assertEquals(List.of(new Statistics("1", 0, 4)), network.statistics());
    assertEquals(8, network.statisticsCount());
    assertEquals(1, Network.of(Models.f1(3), IMAGE).normPlaces());
    assertEquals(36, network.normPlaces());
  }

  @Test
  void filesHoldChannelsBeforePlaces() {
    Network network =
        Network.of(Sequential.of(Flatten.of(), Linear.of(1)), new SampleShape(1, 2, 3));
    Parameter weight = network.parameters().get(0);
    // Pixels (0, 1), channels (a, b, c): a0 b0 c0 a1 b1 c1 becomes a0 a1 b0 b1 c0 c1.
    double[] vector = {0, 10, 20, 1, 11, 21};
    double[] file = {0, 1, 10, 11, 20, 21};
    for (int i = 0; i < 6; i++) {
      assertEquals(file[i], vector[weight.inVector(i)]);
    }
    Parameter conv =
        Network.of(Sequential.of(Conv2d.of(2, 8), Flatten.of()), IMAGE).parameters().get(0);
    assertEquals(1 * 192 + (3 * 8 + 5) * 3 + 2, conv.inVector(1 * 192 + 2 * 64 + 3 * 8 + 5));
    assertEquals(
        conv.elements(),
        IntStream.range(0, conv.elements()).map(conv::inVector).distinct().count());
  }

  @Test
  void firstWeightsFollowTheirInitializer() {
    Network network =
        Network.of(
            Sequential.of(
                Conv2d.of(64, 3).padding(1),
                BatchNorm.of(),
                Flatten.of(),
                Linear.of(100),
                Linear.of(50).init(Initializer.GLOROT)),
            IMAGE);
    double[] values = network.initialParameters(3);
    assertArrayEquals(values, network.initialParameters(3));
    assertFalse(Arrays.equals(values, network.initialParameters(4)));
    assertEquals(Math.sqrt(2.0 / (9 * 64)), deviation(slice(network, values, 0)), 0.003);
    assertEquals(0, sum(slice(network, values, 1)), "bias of a convolution");
    assertEquals(64, sum(slice(network, values, 2)), "gamma");
    assertEquals(0, sum(slice(network, values, 3)), "beta");
    double bound = 1 / Math.sqrt(4096);
    assertEquals(bound / Math.sqrt(3), deviation(slice(network, values, 4)), 0.01 * bound);
    assertTrue(
        Arrays.stream(slice(network, values, 5)).allMatch(b -> Math.abs(b) <= bound && b != 0));
    assertEquals(Math.sqrt(6.0 / 150) / Math.sqrt(3), deviation(slice(network, values, 6)), 0.003);
    assertEquals(0, sum(slice(network, values, 7)), "bias of Keras");
    assertArrayEquals(
        new double[] {0, 1},
        new double[] {network.initialStatistics()[63], network.initialStatistics()[64]});
  }

  private static double[] slice(Network network, double[] values, int parameter) {
    Parameter slice = network.parameters().get(parameter);
    return Arrays.copyOfRange(
        values, (int) slice.offset(), (int) slice.offset() + slice.elements());
  }

  private static double deviation(double[] values) {
    return Math.sqrt(Arrays.stream(values).map(x -> x * x).average().orElseThrow());
  }

  private static double sum(double[] values) {
    return Arrays.stream(values).sum();
  }

  @Test
  void jsonBringsEveryLayerBack() {
    Sequential all =
        Sequential.of(
            Conv2d.of(6, 5)
                .stride(2)
                .padding(3)
                .dilation(2)
                .groups(3)
                .bias(false)
                .init(Initializer.GLOROT),
            new BatchNorm(1e-3),
            ReLU.of(),
            MaxPool2d.of(3).stride(2).padding(1),
            MaxPool2d.of(3).stride(2).border(Border.SAME),
            MaxPool2d.of(2).border(Border.CLIP),
            AvgPool2d.of(2),
            Dropout.of(0.25),
            Sequential.of(
                Residual.of(Sequential.of(Conv2d.of(6, 1)), Sequential.of(BatchNorm.of()))),
            GlobalAvgPool.of(),
            Flatten.of(),
            Linear.of(3).bias(false));
    assertEquals(all, Layer.fromJson(all.toJson()));
    for (String name : Models.names()) {
      assertEquals(Models.byName(name, 9), Layer.fromJson(Models.byName(name, 9).toJson()));
    }
    var unknown =
        assertThrows(
            IllegalArgumentException.class,
            () -> Layer.fromJson(ReLU.of().toJson().put("slope", 0.1)));
    assertTrue(unknown.getMessage().contains("slope"));
    assertThrows(
        IllegalArgumentException.class,
        () -> Layer.fromJson(ReLU.of().toJson().put("type", "gelu")));
  }

  @Test
  void summaryTellsWhatItTakes() {
    Network network = Network.of(Models.lenet(10), new SampleShape(28, 28, 1));
    assertTrue(network.summary().contains("1,663,978 parameters"));
    try (Device device = Device.of("cpu")) {
      String text = network.summary(device, 2, 4096, 128);
      assertTrue(text.contains("micro-batch of 128, 2 threads: "), text);
      assertTrue(text.contains("largest ghost batch that fits"), text);
    }
  }

  @Test
  void memoryIsSane() {
    try (Device device = Device.of("cpu")) {
      for (String model : Models.names()) {
        assertFits(device, Models.byName(model, 10), "32x32x3", 128, 1.75);
      }
      assertFits(device, Models.alexnet(1000), "224x224x3", 128, 2.5);
      assertFits(device, Models.vgg16(1000), "224x224x3", 32, 2.5);
    }
  }

  private static void assertFits(
      Device device, Sequential layers, String shape, int ghost, double gibibytes) {
    Network network = Network.of(layers, SampleShape.parse(shape));
    try (NetworkPlan plan = network.compile(device)) {
      LoadSpec load =
          LoadSpec.of(
              network.inputShape().height(),
              network.inputShape().width(),
              network.inputShape().channels());
      EngineSpec spec =
          new EngineSpec(
              DataType.F32,
              MicroBatch.ON_CORES.of(network, ghost, 8192),
              ghost,
              MicroBatch.ON_CORES.ghostPerLane(network, ghost),
              true,
              false,
              load);
      long bytes = device.predictBytes(2, plan, spec);
      assertTrue(bytes < gibibytes * (1 << 30), network + ": " + bytes);
    }
  }

  @Test
  void microBatchFollowsNetworkAndGhostAlone() {
    Network images = Network.of(Models.lenet(10), new SampleShape(28, 28, 1));
    Network vectors = Network.of(Models.f1(10), new SampleShape(28, 28, 1));
    Network plain = Network.of(Models.softmax(10), new SampleShape(28, 28, 1));
    assertEquals(64, MicroBatch.ON_CORES.of(images, 0, 8192));
    assertEquals(60, MicroBatch.ON_CORES.of(images, 20, 8192));
    assertEquals(64, MicroBatch.ON_CORES.of(images, 32, 8192));
    assertEquals(128, MicroBatch.ON_CORES.of(images, 128, 8192));
    assertEquals(256, MicroBatch.ON_CORES.of(images, 256, 8192));
    assertEquals(64, MicroBatch.ON_CORES.of(images, 257, 8192));
    assertEquals(256, MicroBatch.ON_CORES.of(vectors, 128, 8192));
    assertEquals(512, MicroBatch.ON_CORES.of(vectors, 512, 8192));
    assertEquals(256, MicroBatch.ON_CORES.of(vectors, 513, 8192));
    assertEquals(256, MicroBatch.ON_CORES.of(plain, 100, 8192));
    Network large = Network.of(Models.vgg16(1000), new SampleShape(224, 224, 3));
    assertEquals(16, MicroBatch.ON_CORES.of(large, 0, 8192), "27 million values a sample");
    assertEquals(16, MicroBatch.ON_CORES.of(large, 32, 8192));
    assertEquals(16, MicroBatch.ON_CORES.of(large, 16, 8192));
    assertEquals(12, MicroBatch.ON_CORES.of(large, 6, 8192));
    Network deep = Network.of(Models.resnet44(10), new SampleShape(32, 32, 3));
    assertEquals(64, MicroBatch.ON_CORES.of(deep, 0, 8192));
    assertEquals(30, MicroBatch.ON_CORES.of(deep, 15, 8192));
    assertEquals(32, MicroBatch.ON_CORES.of(deep, 32, 8192));
    assertEquals(16, MicroBatch.ON_CORES.of(deep, 33, 8192));
    assertEquals(16, MicroBatch.ON_CORES.of(deep, 256, 8192));
    assertEquals(64, MicroBatch.ON_CORES.of(deep, 257, 8192));
    Set<String> cut = Set.of("resnet20", "resnet44", "resnet110", "wrn-16-4");
    for (String model : Models.names()) {
      Network network = Network.of(Models.byName(model, 10), new SampleShape(32, 32, 3));
      int rows = cut.contains(model) ? 16 : network.hasConvolution() ? 128 : 256;
      assertEquals(rows, MicroBatch.ON_CORES.of(network, 128, 8192), model);
    }
    assertThrows(IllegalArgumentException.class, () -> MicroBatch.ON_CORES.of(plain, -1, 8192));
  }

  @Test
  void microBatchOfAGpuIsLargeAndWholeGhosts() {
    Network images = Network.of(Models.lenet(10), new SampleShape(28, 28, 1));
    Network deep = Network.of(Models.resnet44(10), new SampleShape(32, 32, 3));
    Network large = Network.of(Models.vgg16(1000), new SampleShape(224, 224, 3));
    assertEquals(8192, MicroBatch.ON_GPU.of(images, 0, 16384));
    assertEquals(8192, MicroBatch.ON_GPU.of(images, 128, 16384));
    assertEquals(5500, MicroBatch.ON_GPU.of(images, 100, 16384), "164 ghosts in three");
    assertEquals(8192, MicroBatch.ON_GPU.of(images, 10000, 16384), "two ghosts of 8,192");
    assertEquals(5000, MicroBatch.ON_GPU.of(images, 10000, 20000), "two of 10,000, in two each");
    assertEquals(4751, MicroBatch.ON_GPU.of(images, 10000, 19001), "of 9,501 and 9,500");
    assertEquals(300, MicroBatch.ON_GPU.of(images, 5000, 300));
    assertEquals(2048, MicroBatch.ON_GPU.of(deep, 128, 8192), "4 GiB in f32");
    assertEquals(64, MicroBatch.ON_GPU.of(large, 32, 8192), "27 million values a sample");
    assertEquals(300, MicroBatch.ON_GPU.of(images, 0, 300));
    assertEquals(6000, MicroBatch.ON_GPU.of(images, 0, 12000));
    assertEquals(384, MicroBatch.ON_GPU.of(images, 128, 300), "ghosts of 100");
    assertTrue(MicroBatch.ON_GPU.ghostPerLane(large, 4096));
    assertFalse(MicroBatch.ON_GPU.ghostPerLane(images, 0));
    assertThrows(IllegalArgumentException.class, () -> MicroBatch.ON_GPU.of(images, -1, 8192));
  }

  @Test
  void aLaneRunsAGhostUnlessThatIsLargeOrTheBatch() {
    Network images = Network.of(Models.lenet(10), new SampleShape(28, 28, 1));
    Network vectors = Network.of(Models.f1(10), new SampleShape(28, 28, 1));
    Network plain = Network.of(Models.softmax(10), new SampleShape(28, 28, 1));
    Network large = Network.of(Models.vgg16(1000), new SampleShape(224, 224, 3));
    assertFalse(MicroBatch.ON_CORES.ghostPerLane(images, 0));
    assertTrue(MicroBatch.ON_CORES.ghostPerLane(images, 1));
    assertTrue(MicroBatch.ON_CORES.ghostPerLane(images, 256));
    assertFalse(MicroBatch.ON_CORES.ghostPerLane(images, 257));
    assertTrue(MicroBatch.ON_CORES.ghostPerLane(vectors, 512));
    assertFalse(MicroBatch.ON_CORES.ghostPerLane(vectors, 513));
    assertFalse(MicroBatch.ON_CORES.ghostPerLane(plain, 100), "no batch norm");
    assertTrue(MicroBatch.ON_CORES.ghostPerLane(large, 16));
    assertFalse(MicroBatch.ON_CORES.ghostPerLane(large, 17), "27 million values a sample");
    assertThrows(IllegalArgumentException.class, () -> MicroBatch.ON_CORES.ghostPerLane(plain, -1));
  }
}
