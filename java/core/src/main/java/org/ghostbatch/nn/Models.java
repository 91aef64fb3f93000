package org.ghostbatch.nn;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.IntFunction;

/**
 * The models of the papers, by name; they adapt to the size and channels of the data.
 *
 * <p>Poolings of {@code hoffer-c1}, {@code vgg} and {@code alexnet} cut their windows to images
 * that are smaller (see {@link Border#CLIP}), so that these nets run where their original would
 * not: VGG below 32x32, AlexNet below 63x63.
 */
public final class Models {
  private static final Map<String, IntFunction<Sequential>> BY_NAME = new LinkedHashMap<>();

  static {
    BY_NAME.put("softmax", Models::softmax);
    BY_NAME.put("f1", Models::f1);
    BY_NAME.put("f2", Models::f2);
    BY_NAME.put("c1", Models::c1);
    BY_NAME.put("c2", Models::c2);
    BY_NAME.put("c3", Models::c1);
    BY_NAME.put("c4", Models::c2);
    BY_NAME.put("hoffer-c1", Models::hofferC1);
    BY_NAME.put("hoffer-c3", Models::hofferC1);
    BY_NAME.put("lenet-small", Models::lenetSmall);
    BY_NAME.put("lenet", Models::lenet);
    BY_NAME.put("resnet20", Models::resnet20);
    BY_NAME.put("resnet44", Models::resnet44);
    BY_NAME.put("resnet110", Models::resnet110);
    BY_NAME.put("wrn-16-4", classes -> wideResnet(16, 4, classes));
    BY_NAME.put("vgg11", Models::vgg11);
    BY_NAME.put("vgg16", Models::vgg16);
    BY_NAME.put("alexnet", Models::alexnet);
  }

  private Models() {}

  /** Names that {@link #byName} knows. */
  public static List<String> names() {
    return List.copyOf(BY_NAME.keySet());
  }

  /** The model of one of the {@link #names}. */
  public static Sequential byName(String name, int classes) {
    IntFunction<Sequential> model = BY_NAME.get(Check.present("model", "a name", name));
    if (model == null) {
      throw Check.bad("model", String.join(", ", BY_NAME.keySet()), "\"" + name + "\"");
    }
    return model.apply(classes);
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
    return dense(5, classes);
  }

  /**
   * F2 of Keskar et al. (arXiv 1609.04836, table 1): {@link #f1} with seven hidden layers.
   * 2,780,085 parameters on TIMIT (360 features, 1973 classes).
   */
  public static Sequential f2(int classes) {
    return dense(7, classes);
  }

  private static Sequential dense(int hidden, int classes) {
    List<Layer> layers = new ArrayList<>();
    layers.add(Flatten.of());
    for (int i = 0; i < hidden; i++) {
      add(layers, kerasLinear(512), BatchNorm.of(), ReLU.of());
    }
    layers.add(kerasLinear(classes));
    return new Sequential(layers);
  }

  /**
   * C1 of Keskar et al. (arXiv 1609.04836, table 1; C3 with 100 classes), as their code has it: two
   * convolutions 5x5 of 64 filters, each with batch norm, ReLU and overlapping pooling 3x3, then
   * Linear 384 and 192 with batch norm, ReLU and dropout 0.5. 1,757,834 parameters on CIFAR-10,
   * 1,775,204 on CIFAR-100. Weights: Glorot, as Keras.
   */
  public static Sequential c1(int classes) {
    List<Layer> layers = new ArrayList<>();
    for (int i = 0; i < 2; i++) {
      add(
          layers,
          kerasConvolution(64, 5),
          BatchNorm.of(),
          ReLU.of(),
          MaxPool2d.of(3).stride(2).border(Border.SAME));
    }
    layers.add(Flatten.of());
    for (int width : new int[] {384, 192}) {
      add(layers, kerasLinear(width), BatchNorm.of(), ReLU.of(), Dropout.of(0.5));
    }
    layers.add(kerasLinear(classes));
    return new Sequential(layers);
  }

  /**
   * C2 of Keskar et al. (arXiv 1609.04836, table 1; C4 with 100 classes), as their code has it: VGG
   * with convolutions 3x3 of 64 twice, 128 twice, 256, 512 and 512 three times, pooling behind each
   * group, dropout 0.3 in the first and 0.4 in the other groups, then dropout 0.5, Linear 512 and
   * dropout 0.5. 14,991,946 parameters on CIFAR-10, 15,038,116 on CIFAR-100. Weights: Glorot, as
   * Keras.
   */
  public static Sequential c2(int classes) {
    int[] filters = {64, 128, 256, 512, 512};
    int[] convolutions = {2, 2, 3, 3, 3};
    List<Layer> layers = new ArrayList<>();
    for (int group = 0; group < filters.length; group++) {
      for (int i = 1; i <= convolutions[group]; i++) {
        add(layers, kerasConvolution(filters[group], 3), BatchNorm.of(), ReLU.of());
        if (i < convolutions[group]) {
          layers.add(Dropout.of(group == 0 ? 0.3 : 0.4));
        }
      }
      layers.add(MaxPool2d.of(2).border(Border.SAME));
    }
    add(layers, Flatten.of(), Dropout.of(0.5));
    add(layers, kerasLinear(512), BatchNorm.of(), ReLU.of(), Dropout.of(0.5));
    layers.add(kerasLinear(classes));
    return new Sequential(layers);
  }

  private static Conv2d kerasConvolution(int filters, int kernel) {
    return Conv2d.of(filters, kernel).padding(kernel / 2).init(Initializer.GLOROT);
  }

  private static Linear kerasLinear(int out) {
    return Linear.of(out).init(Initializer.GLOROT);
  }

  /**
   * C1 of Hoffer's code (arXiv 1705.08741; C3 with 100 classes): as {@link #c1} but without biases,
   * pooling before batch norm and without padding. 1,388,490 parameters on CIFAR-10, 1,405,860 on
   * CIFAR-100. Weights: PyTorch's default.
   */
  public static Sequential hofferC1(int classes) {
    List<Layer> layers = new ArrayList<>();
    for (int i = 0; i < 2; i++) {
      add(layers, convolution(64, 5, 1, 2), overlappingPool(), BatchNorm.of(), ReLU.of());
    }
    layers.add(Flatten.of());
    for (int width : new int[] {384, 192}) {
      add(layers, Linear.of(width).bias(false), BatchNorm.of(), ReLU.of(), Dropout.of(0.5));
    }
    layers.add(Linear.of(classes));
    return new Sequential(layers);
  }

  /** Without bias, PyTorch's default weights. */
  private static Conv2d convolution(int filters, int kernel, int stride, int padding) {
    return Conv2d.of(filters, kernel)
        .stride(stride)
        .padding(padding)
        .bias(false)
        .init(Initializer.PYTORCH);
  }

  private static MaxPool2d overlappingPool() {
    return MaxPool2d.of(3).stride(2).border(Border.CLIP);
  }

  /**
   * AlexNet as in Hoffer's code: the single-tower net of Krizhevsky (arXiv 1404.5997) with batch
   * norm, for images of about 224x224: convolutions 11x11 of 64 filters and stride 4, 5x5 of 192,
   * 3x3 of 384, 256 and 256, then twice Linear 4096 with dropout 0.5. 61,110,184 parameters with
   * 224x224x3 and 1000 classes. Weights: PyTorch's default.
   */
  public static Sequential alexnet(int classes) {
    List<Layer> layers = new ArrayList<>();
    add(layers, convolution(64, 11, 4, 2), overlappingPool(), BatchNorm.of(), ReLU.of());
    add(layers, convolution(192, 5, 1, 2), overlappingPool(), ReLU.of(), BatchNorm.of());
    add(layers, convolution(384, 3, 1, 1), ReLU.of(), BatchNorm.of());
    add(layers, convolution(256, 3, 1, 1), ReLU.of(), BatchNorm.of());
    add(layers, convolution(256, 3, 1, 1), overlappingPool(), ReLU.of(), BatchNorm.of());
    layers.add(Flatten.of());
    for (int i = 0; i < 2; i++) {
      add(layers, Linear.of(4096).bias(false), BatchNorm.of(), ReLU.of(), Dropout.of(0.5));
    }
    layers.add(Linear.of(classes));
    return new Sequential(layers);
  }

  /** VGG of 11 layers, see {@link #vgg}; 9,231,114 parameters on CIFAR-10. */
  public static Sequential vgg11(int classes) {
    return vgg(new int[] {1, 1, 2, 2, 2}, classes);
  }

  /** VGG of 16 layers, see {@link #vgg}; 14,728,266 parameters on CIFAR-10. */
  public static Sequential vgg16(int classes) {
    return vgg(new int[] {2, 2, 3, 3, 3}, classes);
  }

  /**
   * VGG with batch norm as torchvision has it, for images of 32x32: groups of convolutions 3x3 of
   * 64, 128, 256, 512 and 512 filters, each with batch norm and ReLU, pooling behind each group;
   * then one Linear on the mean of each of 512 channels. Weights: He (fan-out) for convolutions,
   * PyTorch's default for the linear layer.
   *
   * @param convolutions of each group
   * @see <a href="https://arxiv.org/abs/1409.1556">Simonyan and Zisserman 2015, arXiv 1409.1556</a>
   */
  private static Sequential vgg(int[] convolutions, int classes) {
    int[] filters = {64, 128, 256, 512, 512};
    List<Layer> layers = new ArrayList<>();
    for (int group = 0; group < filters.length; group++) {
      for (int i = 0; i < convolutions[group]; i++) {
        add(layers, Conv2d.of(filters[group], 3).padding(1), BatchNorm.of(), ReLU.of());
      }
      layers.add(MaxPool2d.of(2).border(Border.CLIP));
    }
    add(layers, GlobalAvgPool.of(), Linear.of(classes));
    return new Sequential(layers);
  }

  /**
   * LeNet: convolutions 5x5 of 32 and 64 filters, each with batch norm, ReLU and pooling, then
   * Linear 512 and Linear. Weights: He for convolutions, PyTorch's default for linear layers.
   */
  public static Sequential lenet(int classes) {
    return lenet(5, 32, 512, classes);
  }

  /**
   * A tenth of {@link #lenet}'s work, for quick studies: convolutions 3x3 of 16 and 32 filters,
   * each with batch norm, ReLU and pooling, then Linear 128 and Linear. Weights as there.
   */
  public static Sequential lenetSmall(int classes) {
    return lenet(3, 16, 128, classes);
  }

  private static Sequential lenet(int kernel, int filters, int hidden, int classes) {
    List<Layer> layers = new ArrayList<>();
    for (int of : new int[] {filters, 2 * filters}) {
      add(
          layers,
          Conv2d.of(of, kernel).padding(kernel / 2).bias(false),
          BatchNorm.of(),
          ReLU.of(),
          MaxPool2d.of(2));
    }
    add(layers, Flatten.of(), Linear.of(hidden).bias(false), BatchNorm.of(), ReLU.of());
    layers.add(Linear.of(classes));
    return new Sequential(layers);
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
   * @param depth 6 n + 2; of others, as of {@code wrn-16-4}, Hoffer's code rounds n down
   * @see <a href="https://arxiv.org/abs/1512.03385">He et al. 2015, arXiv 1512.03385, section
   *     4.2</a>
   */
  public static Sequential resnet(int depth, int classes) {
    if (depth < 8 || (depth - 2) % 6 != 0) {
      throw Check.bad("resnet", "a depth of 6 n + 2", depth);
    }
    return wideResnet(depth, 1, classes);
  }

  /**
   * Wide ResNet as in Hoffer's code: {@link #resnet} with {@code width} times the filters, the stem
   * included, and blocks that end with the ReLU; n is (depth - 2) / 6 rounded down, so that {@code
   * wrn-16-4} has two blocks a stage. That net has 2,800,804 parameters on CIFAR-100.
   *
   * @param width at least 1
   * @see <a href="https://arxiv.org/abs/1605.07146">Zagoruyko and Komodakis 2016, arXiv
   *     1605.07146</a>, whose blocks begin with the ReLU
   */
  public static Sequential wideResnet(int depth, int width, int classes) {
    Check.atLeast("resnet", "depth", depth, 8);
    Check.atLeast("resnet", "width", width, 1);
    List<Layer> layers = new ArrayList<>();
    int in = 16 * width;
    add(layers, Conv2d.of(in, 3).padding(1).bias(false), BatchNorm.of(), ReLU.of());
    for (int stage = 0; stage < 3; stage++) {
      int filters = 16 * width << stage;
      for (int block = 0; block < (depth - 2) / 6; block++) {
        layers.add(basicBlock(in, filters, stage > 0 && block == 0 ? 2 : 1));
        in = filters;
      }
    }
    add(layers, GlobalAvgPool.of(), Linear.of(classes));
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

  private static void add(List<Layer> layers, Layer... more) {
    layers.addAll(List.of(more));
  }
}
