package org.ghostbatch.nn;

import java.util.ArrayList;
import java.util.List;

/** The models of the papers, by name; they adapt to the size and channels of the data. */
public final class Models {
  private static final List<String> NAMES =
      List.of("softmax", "f1", "lenet-small", "lenet", "resnet20", "resnet44", "resnet110");

  private Models() {}

  /** Names that {@link #byName} knows. */
  public static List<String> names() {
    return NAMES;
  }

  /**
   * The model called {@code softmax}, {@code f1}, {@code lenet-small}, {@code lenet}, {@code
   * resnet20}, {@code resnet44}, {@code resnet110}.
   */
  public static Sequential byName(String name, int classes) {
    return switch (Check.present("model", "a name", name)) {
      case "softmax" -> softmax(classes);
      case "f1" -> f1(classes);
      case "lenet-small" -> lenetSmall(classes);
      case "lenet" -> lenet(classes);
      case "resnet20" -> resnet20(classes);
      case "resnet44" -> resnet44(classes);
      case "resnet110" -> resnet110(classes);
      default -> throw Check.bad("model", String.join(", ", NAMES), "\"" + name + "\"");
    };
  }

  /** Multinomial logistic regression. Weights: PyTorch's default. */
  public static Sequential softmax(int classes) {
    return Sequential.of(Flatten.of(), Linear.of(classes));
  }

  /**
   * F1 of Keskar et al. (arXiv 1609.04836, table 1), and mnist_f1 of Hoffer's code: five times
   * Linear 512, batch norm, ReLU; then Linear. 1,462,794 parameters on MNIST. Weights: Glorot, as
   * Keras.
   */
  public static Sequential f1(int classes) {
    List<Layer> layers = new ArrayList<>();
    layers.add(Flatten.of());
    for (int i = 0; i < 5; i++) {
      layers.add(Linear.of(512).init(Initializer.GLOROT));
      layers.add(BatchNorm.of());
      layers.add(ReLU.of());
    }
    layers.add(Linear.of(classes).init(Initializer.GLOROT));
    return new Sequential(layers);
  }

  /**
   * LeNet: convolutions 5x5 of 32 and 64 filters, each with batch norm, ReLU and pooling, then
   * Linear 512 and Linear. Weights: He for convolutions, PyTorch's default for linear layers.
   */
  public static Sequential lenet(int classes) {
    return Sequential.of(
        Conv2d.of(32, 5).padding(2).bias(false),
        BatchNorm.of(),
        ReLU.of(),
        MaxPool2d.of(2),
        Conv2d.of(64, 5).padding(2).bias(false),
        BatchNorm.of(),
        ReLU.of(),
        MaxPool2d.of(2),
        Flatten.of(),
        Linear.of(512).bias(false),
        BatchNorm.of(),
        ReLU.of(),
        Linear.of(classes));
  }

  /**
   * A tenth of {@link #lenet}'s work, for quick studies: convolutions 3x3 of 16 and 32 filters,
   * each with batch norm, ReLU and pooling, then Linear 128 and Linear. Weights as there.
   */
  public static Sequential lenetSmall(int classes) {
    return Sequential.of(
        Conv2d.of(16, 3).padding(1).bias(false),
        BatchNorm.of(),
        ReLU.of(),
        MaxPool2d.of(2),
        Conv2d.of(32, 3).padding(1).bias(false),
        BatchNorm.of(),
        ReLU.of(),
        MaxPool2d.of(2),
        Flatten.of(),
        Linear.of(128).bias(false),
        BatchNorm.of(),
        ReLU.of(),
        Linear.of(classes));
  }

  /** ResNet of 20 layers, see {@link #resnet}. */
  public static Sequential resnet20(int classes) {
    return resnet(20, classes);
  }

  /** ResNet of 44 layers, see {@link #resnet}; 661,338 parameters on CIFAR-10. */
  public static Sequential resnet44(int classes) {
    return resnet(44, classes);
  }

  /** ResNet of 110 layers, see {@link #resnet}. */
  public static Sequential resnet110(int classes) {
    return resnet(110, classes);
  }

  /**
   * ResNet for small images as in Hoffer's code: three stages of (depth - 2) / 6 basic blocks with
   * 16, 32, 64 filters, 1x1 convolution and batch norm as shortcut where the size changes, global
   * pooling, Linear. Weights: He (fan-out) for convolutions, PyTorch's default for the linear
   * layer.
   *
   * @param depth 6 n + 2
   * @see <a href="https://arxiv.org/abs/1512.03385">He et al. 2015, arXiv 1512.03385, section
   *     4.2</a>
   */
  public static Sequential resnet(int depth, int classes) {
    if (depth < 8 || (depth - 2) % 6 != 0) {
      throw Check.bad("resnet", "a depth of 6 n + 2", depth);
    }
    List<Layer> layers = new ArrayList<>();
    layers.add(Conv2d.of(16, 3).padding(1).bias(false));
    layers.add(BatchNorm.of());
    layers.add(ReLU.of());
    int in = 16;
    for (int filters : new int[] {16, 32, 64}) {
      for (int block = 0; block < (depth - 2) / 6; block++) {
        int stride = block == 0 && filters != 16 ? 2 : 1;
        layers.add(basicBlock(in, filters, stride));
        in = filters;
      }
    }
    layers.add(GlobalAvgPool.of());
    layers.add(Linear.of(classes));
    return new Sequential(layers);
  }

  private static Residual basicBlock(int in, int filters, int stride) {
    Sequential body =
        Sequential.of(
            Conv2d.of(filters, 3).stride(stride).padding(1).bias(false),
            BatchNorm.of(),
            ReLU.of(),
            Conv2d.of(filters, 3).padding(1).bias(false),
            BatchNorm.of());
    return stride == 1 && in == filters
        ? Residual.of(body)
        : Residual.of(
            body, Sequential.of(Conv2d.of(filters, 1).stride(stride).bias(false), BatchNorm.of()));
  }
}
