package org.ghostbatch.benchmarks.peers;

import static org.bytedeco.pytorch.global.torch.MemoryFormat.ChannelsLast;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;
import org.ghostbatch.nn.Network;
import org.ghostbatch.nn.Parameter;

/**
 * ResNet for small images as {@link org.ghostbatch.nn.Models#resnet}, written with libtorch's
 * operators: weights in channels_last, sums and ReLUs in place. Parameters have the same names.
 */
final class LibtorchResNet {
  private static final double MOMENTUM = 0.1;
  private static final double EPSILON = 1e-5;

  /** A convolution without bias and the batch norm after it. */
  private final class ConvNorm {
    private final long[] stride;
    private final long[] padding;
    private final Tensor weight;
    private final TensorOptional gamma;
    private final TensorOptional beta;
    private final TensorOptional mean;
    private final TensorOptional variance;

    /** Layers {@code index} and {@code index + 1} of what {@code prefix} names. */
    ConvNorm(String prefix, int index, int in, int filters, int kernel, int stride) {
      String conv = prefix + index;
      String norm = prefix + (index + 1);
      this.stride = new long[] {stride, stride};
      this.padding = new long[] {kernel / 2, kernel / 2};
      double deviation = Math.sqrt(2.0 / (kernel * kernel * filters)); // He, fan-out
      weight =
          parameter(
              conv + ".weight",
              torch.normal_(torch.empty(filters, in, kernel, kernel), 0, deviation));
      gamma = new TensorOptional(parameter(norm + ".weight", torch.ones(filters)));
      beta = new TensorOptional(parameter(norm + ".bias", torch.zeros(filters)));
      mean = new TensorOptional(torch.zeros(filters));
      variance = new TensorOptional(torch.ones(filters));
    }

    Tensor forward(Tensor x, boolean training) {
      Tensor y = torch.conv2d(x, weight, NONE, stride, padding, ONE, 1);
      return torch.batch_norm(
          y, gamma, beta, mean, variance, training, MOMENTUM, EPSILON, /* cudnn= */ false);
    }
  }

  /** Two convolutions beside a shortcut; null is the identity. */
  private record Block(ConvNorm first, ConvNorm second, ConvNorm shortcut) {
    Tensor forward(Tensor x, boolean training) {
      Tensor y = second.forward(first.forward(x, training).relu_(), training);
      return y.add_(shortcut == null ? x : shortcut.forward(x, training)).relu_();
    }
  }

  private static final TensorOptional NONE = new TensorOptional();
  private static final long[] ONE = {1, 1};

  private final Map<String, Tensor> parameters = new LinkedHashMap<>();
  private final ConvNorm stem;
  private final List<Block> blocks = new ArrayList<>();
  private final Tensor linearWeight;
  private final TensorOptional linearBias;

  /**
   * With first weights drawn by libtorch: He for convolutions, its default for the linear layer.
   */
  LibtorchResNet(int depth, int channels, int classes) {
    stem = new ConvNorm("", 0, channels, 16, 3, 1);
    int in = 16;
    int layer = 3; // after convolution, batch norm and ReLU
    for (int filters : new int[] {16, 32, 64}) {
      for (int block = 0; block < (depth - 2) / 6; block++) {
        int stride = block == 0 && filters != 16 ? 2 : 1;
        String body = layer + ".body.";
        ConvNorm first = new ConvNorm(body, 0, in, filters, 3, stride);
        ConvNorm second = new ConvNorm(body, 3, filters, filters, 3, 1);
        ConvNorm shortcut =
            in == filters ? null : new ConvNorm(layer + ".shortcut.", 0, in, filters, 1, stride);
        blocks.add(new Block(first, second, shortcut));
        in = filters;
        layer++;
      }
    }
    double bound = 1 / Math.sqrt(in);
    String linear = Integer.toString(layer + 1); // after pooling
    linearWeight =
        parameter(linear + ".weight", torch.uniform_(torch.empty(classes, in), -bound, bound));
    linearBias =
        new TensorOptional(
            parameter(linear + ".bias", torch.uniform_(torch.empty(classes), -bound, bound)));
  }

  private Tensor parameter(String name, Tensor values) {
    Tensor leaf = values.dim() == 4 ? values.contiguous(ChannelsLast) : values;
    leaf.set_requires_grad(true);
    parameters.put(name, leaf);
    return leaf;
  }

  /** The weights. */
  List<Tensor> parameters() {
    return List.copyOf(parameters.values());
  }

  /** Takes the first weights that GhostBatch draws from this seed. */
  void setWeights(Network network, long seed) {
    if (network.parameters().size() != parameters.size()) {
      throw new IllegalArgumentException(
          "[libtorch] needs "
              + parameters.size()
              + " parameters, got "
              + network.parameters().size());
    }
    double[] all = network.initialParameters(seed);
    for (Parameter parameter : network.parameters()) {
      long[] shape = parameter.shape().stream().mapToLong(Integer::longValue).toArray();
      Tensor own = parameters.get(parameter.name());
      if (own == null || !Arrays.equals(shape, own.shape())) {
        throw new IllegalArgumentException(
            "[libtorch] needs a parameter out of "
                + parameters.keySet()
                + " and its shape, got "
                + parameter);
      }
      float[] floats = new float[parameter.elements()];
      for (int i = 0; i < floats.length; i++) {
        floats[i] = (float) all[(int) parameter.offset() + parameter.inVector(i)];
      }
      own.data().copy_(Tensor.create(floats, shape));
    }
  }

  /** Logits of images [rows, C, H, W] in channels_last. */
  Tensor forward(Tensor images, boolean training) {
    Tensor x = stem.forward(images, training).relu_();
    for (Block block : blocks) {
      x = block.forward(x, training);
    }
    return torch.linear(x.mean(2, 3), linearWeight, linearBias);
  }
}
