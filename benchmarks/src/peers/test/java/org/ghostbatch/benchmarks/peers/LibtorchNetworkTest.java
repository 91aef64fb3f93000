package org.ghostbatch.benchmarks.peers;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Locale;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.ElementType;
import org.ghostbatch.data.Normalization;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Samples;
import org.ghostbatch.nn.AvgPool2d;
import org.ghostbatch.nn.BatchNorm;
import org.ghostbatch.nn.Border;
import org.ghostbatch.nn.Conv2d;
import org.ghostbatch.nn.Flatten;
import org.ghostbatch.nn.Linear;
import org.ghostbatch.nn.MaxPool2d;
import org.ghostbatch.nn.ModelFile;
import org.ghostbatch.nn.Models;
import org.ghostbatch.nn.Network;
import org.ghostbatch.nn.Parameter;
import org.ghostbatch.nn.ReLU;
import org.ghostbatch.nn.Residual;
import org.ghostbatch.nn.Sequential;
import org.ghostbatch.optim.Sgd;
import org.ghostbatch.random.RandomStream;
import org.ghostbatch.train.Predictor;
import org.ghostbatch.train.Trainer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** That libtorch computes what ours computes, in every spelling of ghost batch norm. */
class LibtorchNetworkTest {
  private static final int CLASSES = 6;
  private static final long SEED = 3;

  /** Layers in the orders where changes in place, views and borders matter. */
  private static Sequential mixed() {
    return Sequential.of(
        ReLU.of(),
        Conv2d.of(8, 3).padding(1),
        ReLU.of(),
        MaxPool2d.of(2).stride(1).border(Border.SAME),
        Residual.of(
            Sequential.of(ReLU.of(), BatchNorm.of(), Conv2d.of(8, 3).padding(1)),
            Sequential.of(Conv2d.of(8, 1).bias(false), BatchNorm.of())),
        Residual.of(Sequential.of(Conv2d.of(8, 3).padding(1).groups(2), ReLU.of())),
        MaxPool2d.of(3).stride(2).border(Border.SAME),
        Sequential.of(AvgPool2d.of(3).stride(1).padding(1), BatchNorm.of()),
        MaxPool2d.of(9).border(Border.CLIP),
        Flatten.of(),
        ReLU.of(),
        Linear.of(10).bias(false),
        BatchNorm.of(),
        ReLU.of(),
        Linear.of(CLASSES));
  }

  private static Network network(String name) {
    return switch (name) {
      case "mixed" -> Network.of(mixed(), new SampleShape(12, 11, 3));
      case "resnet8" -> Network.of(Models.resnet(8, CLASSES), new SampleShape(12, 10, 3));
      case "lenet", "f1" -> Network.of(Models.byName(name, CLASSES), new SampleShape(12, 12, 1));
      default -> Network.of(Models.byName(name, CLASSES), new SampleShape(13, 16, 3));
    };
  }

  static Stream<Arguments> gradients() {
    return Stream.of("resnet8", "lenet", "mixed")
        .flatMap(
            name ->
                Stream.of(
                    Arguments.of(name, "accumulate", 24, 3),
                    Arguments.of(name, "accumulate", 26, 3),
                    Arguments.of(name, "chunk", 24, 3),
                    Arguments.of(name, "chunk", 26, 3),
                    Arguments.of(name, "fold", 24, 3),
                    Arguments.of(name, "plain", 24, 1)));
  }

  @ParameterizedTest
  @MethodSource
  void gradients(String name, String spelling, int batch, int ghosts) {
    Network network = network(name);
    float[] images = images(network, batch);
    int ghost = (batch + ghosts - 1) / ghosts;
    double[] ours;
    try (Device device = Device.of("cpu");
        Trainer trainer = step(device, network, images, batch, ghost)) {
      ours = trainer.engine().gradients().toDoubles();
    }
    try (var scope = new PointerScope()) {
      LibtorchNetwork theirs = step(network, images, batch, spelling, ghosts);
      for (Parameter parameter : network.parameters()) {
        Tensor gradient = theirs.parameter(parameter.name()).grad().contiguous();
        float[] floats = new float[parameter.elements()];
        gradient.data_ptr_float().get(floats);
        double difference = 0;
        double squares = 0;
        for (int i = 0; i < floats.length; i++) {
          double our = ours[(int) parameter.offset() + LibtorchNetwork.inVector(parameter, i)];
          difference += (our - floats[i]) * (our - floats[i]);
          squares += our * our;
        }
        assertTrue(squares > 0, parameter.name());
        assertTrue(
            Math.sqrt(difference / squares) < 1e-3,
            parameter.name() + ": " + Math.sqrt(difference / squares));
      }
    }
  }

  static Stream<Arguments> logits() {
    return Stream.of(
        Arguments.of("resnet8", "accumulate"),
        Arguments.of("resnet8", "chunk"),
        Arguments.of("lenet", "chunk"),
        Arguments.of("f1", "chunk"),
        Arguments.of("mixed", "chunk"),
        Arguments.of("vgg11", "untrained"),
        Arguments.of("c1", "untrained"),
        Arguments.of("c2", "untrained"),
        Arguments.of("hoffer-c1", "untrained"));
  }

  /** With the running statistics that one training batch of ragged ghosts has left. */
  @ParameterizedTest
  @MethodSource
  void logits(String name, String spelling) {
    int batch = 26;
    int ghosts = 3;
    Network network = network(name);
    float[] images = images(network, batch);
    boolean trained = !spelling.equals("untrained");
    float[] ours;
    try (Device device = Device.of("cpu")) {
      double[] statistics = network.initialStatistics();
      if (trained) {
        try (Trainer trainer = step(device, network, images, batch, 9)) {
          statistics = trainer.engine().statistics().toDoubles();
        }
      }
      ours = ourLogits(device, network, images, statistics);
    }
    try (var scope = new PointerScope()) {
      LibtorchNetwork theirs =
          trained
              ? step(network, images, batch, spelling, ghosts)
              : libtorch(network, LibtorchNetwork.Norm.PLAIN, 1);
      close(ours, theirs, network, images, 1e-3);
      theirs.toBf16();
      try (var guard = new NoGradGuard()) {
        Tensor bf16 = tensor(network, images).to(torch.ScalarType.BFloat16);
        float[] near = floats(theirs.forward(bf16, false).to(torch.ScalarType.Float));
        assertTrue(distance(ours, near) < 0.05, "bf16: " + distance(ours, near));
        assertTrue(distance(ours, near) > 1e-5, "bf16 gave f32's values");
      }
    }
  }

  /** A fold has running statistics for each ghost and evaluates with their means. */
  @Test
  void foldEvaluatesWithMeans() {
    Network network = network("resnet8");
    float[] images = images(network, 24);
    try (var scope = new PointerScope();
        var guard = new NoGradGuard()) {
      LibtorchNetwork fold = libtorch(network, LibtorchNetwork.Norm.FOLD, 3);
      float[] untrained = floats(fold.forward(tensor(network, images), false));
      LibtorchNetwork plain = libtorch(network, LibtorchNetwork.Norm.PLAIN, 1);
      assertTrue(distance(floats(plain.forward(tensor(network, images), false)), untrained) < 1e-5);
      // Three times the same ghost: the statistics of one.
      Tensor ghost = tensor(network, images).narrow(0, 0, 8);
      plain.forward(ghost, true);
      fold.forward(ghost.repeat(3, 1, 1, 1).contiguous(torch.MemoryFormat.ChannelsLast), true);
      float[] one = floats(plain.forward(tensor(network, images), false));
      float[] folded = floats(fold.forward(tensor(network, images), false));
      assertTrue(distance(one, folded) < 1e-4, "" + distance(one, folded));
      assertTrue(distance(one, untrained) > 1e-3, "training left no trace");
      Tensor ragged = tensor(network, images).narrow(0, 0, 23);
      var error = assertThrows(IllegalArgumentException.class, () -> fold.forward(ragged, true));
      assertEquals("[libtorch] needs rows that fold into 3 ghosts, got 23", error.getMessage());
    }
  }

  private static LibtorchNetwork libtorch(Network network, LibtorchNetwork.Norm norm, int ghosts) {
    var made = new LibtorchNetwork(network, norm, ghosts);
    made.setWeights(network, SEED);
    return made;
  }

  /** Gradients and statistics of one batch; weights stay. */
  private static LibtorchNetwork step(
      Network network, float[] images, int batch, String spelling, int ghosts) {
    boolean accumulate = spelling.equals("accumulate");
    LibtorchNetwork made =
        libtorch(
            network,
            accumulate
                ? LibtorchNetwork.Norm.PLAIN
                : LibtorchNetwork.Norm.valueOf(spelling.toUpperCase(Locale.ROOT)),
            ghosts);
    Tensor all = tensor(network, images);
    Tensor before = all.clone();
    long[] labels = IntStream.range(0, batch).mapToLong(i -> i % CLASSES).toArray();
    Tensor target =
        torch.from_blob(
            new LongPointer(labels), new long[] {batch}, new TensorOptions(torch.ScalarType.Long));
    int passes = accumulate ? ghosts : 1;
    var parts = all.tensor_split(passes, 0);
    var targets = target.tensor_split(passes, 0);
    for (int i = 0; i < passes; i++) {
      torch
          .cross_entropy_loss(made.forward(parts.get(i), true), targets.get(i))
          .mul(new Scalar((double) parts.get(i).size(0) / batch))
          .backward();
    }
    assertTrue(all.equal(before), "the images have changed");
    return made;
  }

  /** The same with ours. */
  private static Trainer step(
      Device device, Network network, float[] images, int batch, int ghost) {
    SampleShape shape = network.inputShape();
    int[] labels = IntStream.range(0, batch).map(i -> i % CLASSES).toArray();
    Trainer trainer =
        Trainer.of(network.layers())
            .batchSize(batch)
            .ghostBatchSize(ghost)
            .optimizer(Sgd.of())
            .learningRate(1e-3)
            .updates(1)
            .seed(SEED)
            .on(device);
    trainer.prepare(
        Dataset.of(images, shape, labels)
            .withNormalization(Normalization.none(ElementType.F32, shape.channels())));
    try (Samples samples =
        device.samples(
            DataType.F32, batch, shape.height(), shape.width(), shape.channels(), CLASSES)) {
      samples.write(0, batch, images);
      samples.writeLabels(0, batch, labels);
      trainer.step(samples, IntStream.range(0, batch).toArray(), batch, null, 0, 0);
    }
    return trainer;
  }

  private static float[] ourLogits(
      Device device, Network network, float[] images, double[] statistics) {
    var model =
        new ModelFile(
            network,
            Normalization.none(ElementType.F32, network.inputShape().channels()),
            IntStream.range(0, CLASSES).mapToObj(Integer::toString).toList(),
            DataType.F32,
            network.initialParameters(SEED),
            statistics);
    try (Predictor predictor = Predictor.of(model, device, 1)) {
      return predictor.logits(
          Dataset.of(
              images,
              network.inputShape(),
              new int[images.length / network.inputShape().elements()]));
    }
  }

  private static void close(
      float[] ours, LibtorchNetwork theirs, Network network, float[] images, double tolerance) {
    try (var guard = new NoGradGuard()) {
      float[] their = floats(theirs.forward(tensor(network, images), false));
      assertTrue(distance(ours, their) < tolerance, "f32: " + distance(ours, their));
    }
  }

  /** Length of the difference, as a share of the values'. */
  private static double distance(float[] expected, float[] actual) {
    assertEquals(expected.length, actual.length);
    double difference = 0;
    double squares = 0;
    for (int i = 0; i < expected.length; i++) {
      difference += Math.pow(expected[i] - actual[i], 2);
      squares += Math.pow(expected[i], 2);
    }
    return Math.sqrt(difference / squares);
  }

  private static float[] floats(Tensor tensor) {
    float[] values = new float[(int) tensor.numel()];
    tensor.contiguous().data_ptr_float().get(values);
    return values;
  }

  /** [rows, C, H, W] in channels_last. */
  private static Tensor tensor(Network network, float[] images) {
    SampleShape shape = network.inputShape();
    long rows = images.length / shape.elements();
    return torch
        .from_blob(new FloatPointer(images), rows, shape.height(), shape.width(), shape.channels())
        .clone()
        .permute(0, 3, 1, 2);
  }

  private static float[] images(Network network, int rows) {
    RandomStream random = new RandomStream(5, 1, 2, 3);
    float[] images = new float[rows * network.inputShape().elements()];
    for (int i = 0; i < images.length; i++) {
      images[i] = (float) (2 * random.nextDouble() - 1);
    }
    return images;
  }
}
