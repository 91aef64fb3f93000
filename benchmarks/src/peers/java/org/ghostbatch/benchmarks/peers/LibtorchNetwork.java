package org.ghostbatch.benchmarks.peers;

import static org.bytedeco.pytorch.global.torch.MemoryFormat.ChannelsLast;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.LongOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.ghostbatch.nn.AvgPool2d;
import org.ghostbatch.nn.BatchNorm;
import org.ghostbatch.nn.Border;
import org.ghostbatch.nn.Conv2d;
import org.ghostbatch.nn.Dropout;
import org.ghostbatch.nn.Flatten;
import org.ghostbatch.nn.GlobalAvgPool;
import org.ghostbatch.nn.Initializer;
import org.ghostbatch.nn.Layer;
import org.ghostbatch.nn.Linear;
import org.ghostbatch.nn.MaxPool2d;
import org.ghostbatch.nn.Network;
import org.ghostbatch.nn.Parameter;
import org.ghostbatch.nn.ReLU;
import org.ghostbatch.nn.Residual;
import org.ghostbatch.nn.Sequential;

/**
 * A network of ours written with libtorch's operators: weights in channels_last, sums and ReLUs in
 * place where autograd allows it, no copy where a vector is made of an image. Parameters have the
 * same names.
 */
final class LibtorchNetwork {
  /** How training batches are normalized. */
  enum Norm {
    /** Over the whole batch: plain, or the caller brings one ghost at a time. */
    PLAIN,
    /** Ghosts are cut apart before each batch norm and put together behind it. */
    CHUNK,
    /** Ghosts become channels of one batch norm; each has running statistics of its own. */
    FOLD
  }

  /** One layer, or several that run as one. */
  private interface Part {
    /**
     * @return x itself, changed in place, or another tensor; x stays the caller's
     */
    Tensor forward(Tensor x, boolean training);
  }

  private static final double MOMENTUM = 0.1;
  private static final TensorOptional NONE = new TensorOptional();

  private final Map<String, Parameter> ours;
  private final Map<String, Tensor> parameters = new LinkedHashMap<>();
  private final Norm norm;
  private final int ghosts;
  private final List<Part> parts;

  /** Whether autograd lets what follows change the value in place, while parts are made. */
  private boolean writable;

  /**
   * With first weights drawn by libtorch, from the distributions of ours.
   *
   * @param ghosts of a training batch; not used by {@link Norm#PLAIN}
   */
  LibtorchNetwork(Network network, Norm norm, int ghosts) {
    this.norm = ghosts == 1 ? Norm.PLAIN : norm;
    this.ghosts = ghosts;
    ours = network.parameters().stream().collect(Collectors.toMap(Parameter::name, p -> p));
    writable = false; // the images are the caller's
    parts = parts("", network.layers());
  }

  /** The weights. */
  List<Tensor> parameters() {
    return List.copyOf(parameters.values());
  }

  Tensor parameter(String name) {
    return parameters.get(name);
  }

  /** Takes the first weights that GhostBatch draws from this seed. */
  void setWeights(Network network, long seed) {
    double[] all = network.initialParameters(seed);
    for (Parameter parameter : network.parameters()) {
      float[] floats = new float[parameter.elements()];
      for (int i = 0; i < floats.length; i++) {
        floats[i] = (float) all[(int) parameter.offset() + inVector(parameter, i)];
      }
      try (var scope = new PointerScope()) {
        Tensor own = parameters.get(parameter.name());
        own.data().copy_(Tensor.create(floats, own.shape()));
      }
    }
  }

  /**
   * Where an element of libtorch's parameter, row by row, lies in our vector from its offset on.
   */
  static int inVector(Parameter parameter, int element) {
    // Linear layers read images as they lie in memory, [H, W, C], as ours do: see Flatten.
    return parameter.shape().size() == 4 ? parameter.inVector(element) : element;
  }

  /** Weights and biases become bf16 for good; batch norm keeps f32. For evaluation. */
  void toBf16() {
    parameters.forEach(
        (name, tensor) -> {
          Parameter.Kind kind = ours.get(name).kind();
          if (kind == Parameter.Kind.WEIGHT || kind == Parameter.Kind.BIAS) {
            tensor.__dispatch_set_data(tensor.to(torch.ScalarType.BFloat16));
          }
        });
  }

  /** Logits of images [rows, C, H, W] in channels_last. */
  Tensor forward(Tensor images, boolean training) {
    return run(parts, images, training);
  }

  /** What is no longer needed goes at once: only autograd keeps what it will read. */
  private static Tensor run(List<Part> parts, Tensor x, boolean training) {
    Tensor value = x;
    for (Part part : parts) {
      Tensor next = part.forward(value, training);
      if (next != value && value != x) {
        value.close();
      }
      value = next;
    }
    return value;
  }

  private List<Part> parts(String prefix, Sequential layers) {
    List<Part> made = new ArrayList<>();
    for (int i = 0; i < layers.layers().size(); i++) {
      Layer layer = layers.layers().get(i);
      String path = prefix + i;
      if (layer instanceof Sequential nested) {
        made.addAll(parts(path + ".", nested));
      } else if (layer instanceof BatchNorm batchNorm) {
        boolean relu = i + 1 < layers.layers().size() && layers.layers().get(i + 1) instanceof ReLU;
        made.add(norm(path, batchNorm, relu));
        i += relu ? 1 : 0;
      } else {
        made.add(part(path, layer));
      }
    }
    return made;
  }

  private Part part(String path, Layer layer) {
    if (layer instanceof Conv2d conv) {
      return convolution(path, conv);
    }
    if (layer instanceof Linear linear) {
      return linear(path, linear);
    }
    if (layer instanceof ReLU) {
      return relu();
    }
    if (layer instanceof MaxPool2d pool) {
      writable = true;
      return maxPool(pool);
    }
    if (layer instanceof AvgPool2d pool) {
      writable = true;
      long[] kernel = square(pool.kernel());
      long[] stride = square(pool.stride());
      long[] padding = square(pool.padding());
      var divisor = new LongOptional();
      return (x, training) -> torch.avg_pool2d(x, kernel, stride, padding, false, false, divisor);
    }
    if (layer instanceof GlobalAvgPool) {
      writable = true;
      return (x, training) -> x.mean(2, 3);
    }
    if (layer instanceof Dropout dropout) {
      return (x, training) -> training ? torch.dropout(x, dropout.rate(), true) : x;
    }
    if (layer instanceof Flatten) {
      writable = false; // a view, where changes in place are slow
      // As it lies in memory: [H, W, C].
      return (x, training) -> x.dim() == 4 ? scoped(() -> x.permute(0, 2, 3, 1).flatten(1, 3)) : x;
    }
    if (layer instanceof Residual block) {
      return residual(path, block);
    }
    throw new IllegalStateException("[libtorch] needs a layer that it knows, got " + layer);
  }

  private Part convolution(String path, Conv2d conv) {
    Tensor weight = parameter(path + ".weight", conv.init());
    TensorOptional bias = conv.bias() ? optional(path + ".bias", conv.init()) : NONE;
    long[] stride = square(conv.stride());
    long[] padding = square(conv.padding());
    long[] dilation = square(conv.dilation());
    writable = true;
    return (x, training) -> torch.conv2d(x, weight, bias, stride, padding, dilation, conv.groups());
  }

  private Part linear(String path, Linear linear) {
    Tensor weight = parameter(path + ".weight", linear.init());
    TensorOptional bias = linear.bias() ? optional(path + ".bias", linear.init()) : NONE;
    writable = true;
    return (x, training) -> torch.linear(x, weight, bias);
  }

  private Part relu() {
    boolean inPlace = writable;
    writable = false; // its backward reads its result
    return (x, training) -> inPlace ? inPlaceRelu(x) : x.relu();
  }

  private static Tensor inPlaceRelu(Tensor x) {
    x.relu_();
    return x;
  }

  private static Part maxPool(MaxPool2d pool) {
    long[] stride = square(pool.stride());
    long[] one = square(1);
    int kernel = pool.kernel();
    if (pool.border() != Border.SAME) {
      long[] padding = square(pool.padding());
      return (x, training) -> {
        long rows = x.size(2) + 2L * pool.padding();
        long columns = x.size(3) + 2L * pool.padding();
        boolean clip = pool.border() == Border.CLIP;
        long[] window = {
          clip ? Math.min(kernel, rows) : kernel, clip ? Math.min(kernel, columns) : kernel
        };
        return torch.max_pool2d(x, window, stride, padding, one, false);
      };
    }
    long[] window = square(kernel);
    if (pool.stride() == 1) {
      long[] before = square((kernel - 1) / 2);
      long odd = (kernel - 1) % 2;
      long[] after = {0, odd, 0, odd};
      var lowest = new Scalar(Double.NEGATIVE_INFINITY);
      return (x, training) ->
          scoped(
              () ->
                  torch.max_pool2d(
                      odd == 0 ? x : torch.constant_pad_nd(x, after, lowest),
                      window,
                      stride,
                      before,
                      one,
                      false));
    }
    // The odd row or column behind the image is what ceil mode adds, without a padded copy.
    return (x, training) -> {
      long[] before = {before(pool, x.size(2)), before(pool, x.size(3))};
      return torch.max_pool2d(x, window, stride, before, one, /* ceil_mode= */ true);
    };
  }

  /** Padding before an image of {@code size} rows, with {@link Border#SAME}. */
  private static long before(MaxPool2d pool, long size) {
    long windows = (size + pool.stride() - 1) / pool.stride();
    return Math.max(0, (windows - 1) * pool.stride() + pool.kernel() - size) / 2;
  }

  private Part residual(String path, Residual block) {
    writable = false;
    List<Part> body = parts(path + ".body.", block.body());
    boolean inPlace = writable;
    writable = false;
    List<Part> shortcut = parts(path + ".shortcut.", block.shortcut());
    writable = false;
    return (x, training) -> {
      Tensor y = run(body, x, training);
      Tensor side = run(shortcut, x, training);
      Tensor sum = y;
      if (inPlace) {
        y.add_(side);
      } else {
        sum = y.add(side);
        y.close();
      }
      if (side != x) {
        side.close();
      }
      return inPlaceRelu(sum);
    };
  }

  private Part norm(String path, BatchNorm layer, boolean relu) {
    var batchNorm = new Normalization(path, layer.epsilon());
    // A folded result is a view, as a flattened one.
    writable = !relu && norm != Norm.FOLD;
    return (x, training) -> batchNorm.forward(x, relu, training);
  }

  /** Batch norm, and ReLU behind it. */
  private final class Normalization {
    private final double epsilon;
    private final Tensor gamma;
    private final Tensor beta;
    private final Tensor mean;
    private final Tensor variance;
    private final long channels;
    private final TensorOptional gammaOption;
    private final TensorOptional betaOption;
    private final TensorOptional meanOption;
    private final TensorOptional varianceOption;

    Normalization(String path, double epsilon) {
      this.epsilon = epsilon;
      gamma = parameter(path + ".weight", null);
      beta = parameter(path + ".bias", null);
      channels = gamma.numel();
      long statistics = norm == Norm.FOLD ? ghosts * channels : channels;
      mean = torch.zeros(statistics);
      variance = torch.ones(statistics);
      gammaOption = new TensorOptional(gamma);
      betaOption = new TensorOptional(beta);
      meanOption = new TensorOptional(mean);
      varianceOption = new TensorOptional(variance);
    }

    Tensor forward(Tensor x, boolean relu, boolean training) {
      if (training && norm == Norm.CHUNK) {
        return scoped(() -> chunks(x, relu));
      }
      if (norm == Norm.FOLD) {
        return scoped(() -> training ? folded(x, relu) : ofAllGhosts(x, relu));
      }
      return batchNorm(x, relu, training);
    }

    private Tensor batchNorm(Tensor x, boolean relu, boolean training) {
      Tensor y =
          torch.batch_norm(
              x,
              gammaOption,
              betaOption,
              meanOption,
              varianceOption,
              training,
              MOMENTUM,
              epsilon,
              /* cudnn= */ false);
      return relu ? inPlaceRelu(y) : y;
    }

    /** ReLU before cat, while the ghost is in cache, was no faster, and keeps both results. */
    private Tensor chunks(Tensor x, boolean relu) {
      TensorVector chunks = x.split_with_sizes(ghostSizes(x.size(0)), 0);
      TensorVector results = new TensorVector(chunks.size());
      for (long i = 0; i < chunks.size(); i++) {
        Tensor y = batchNorm(chunks.get(i), false, true);
        results.put(i, y);
        y.close();
      }
      Tensor y = torch.cat(results, 0);
      return relu ? inPlaceRelu(y) : y;
    }

    private Tensor folded(Tensor x, boolean relu) {
      Tensor y =
          torch.batch_norm(
              fold(x, ghosts),
              new TensorOptional(gamma.repeat(ghosts)),
              new TensorOptional(beta.repeat(ghosts)),
              meanOption,
              varianceOption,
              true,
              MOMENTUM,
              epsilon,
              /* cudnn= */ false);
      return unfold(relu ? inPlaceRelu(y) : y, ghosts);
    }

    /** With the mean of the ghosts' running statistics. */
    private Tensor ofAllGhosts(Tensor x, boolean relu) {
      Tensor y =
          torch.batch_norm(
              x,
              gammaOption,
              betaOption,
              new TensorOptional(mean.view(ghosts, channels).mean(0)),
              new TensorOptional(variance.view(ghosts, channels).mean(0)),
              false,
              MOMENTUM,
              epsilon,
              /* cudnn= */ false);
      return relu ? inPlaceRelu(y) : y;
    }
  }

  /**
   * Ghosts as channels: of [G V, C, H, W] in channels_last [V, G C, H, W] in channels_last; and so
   * of vectors.
   *
   * <p>A copy whose runs are C long, and one back; ReLU comes before the way back. Tried and slower
   * by 1.2 to 3 times, forward and backward: ghosts of every G-th row as a view of NCHW (with two
   * conversions, or all convolutions in NCHW), [1, G C, V H W] (two transpositions), and ReLU in
   * place behind the way back, which is a view. Ghosts of every G-th row, in channels_last: as
   * fast.
   */
  static Tensor fold(Tensor x, int ghosts) {
    long rows = x.size(0);
    if (rows % ghosts != 0) {
      throw new IllegalArgumentException(
          "[libtorch] needs rows that fold into " + ghosts + " ghosts, got " + rows);
    }
    long ghost = rows / ghosts;
    long channels = x.size(1);
    if (x.dim() == 2) {
      return x.view(ghosts, ghost, channels).permute(1, 0, 2).reshape(ghost, ghosts * channels);
    }
    long height = x.size(2);
    long width = x.size(3);
    return x.permute(0, 2, 3, 1)
        .view(ghosts, ghost, height, width, channels)
        .permute(1, 2, 3, 0, 4)
        .reshape(ghost, height, width, ghosts * channels)
        .permute(0, 3, 1, 2);
  }

  /** What {@link #fold} folded; a view of a copy. */
  static Tensor unfold(Tensor x, int ghosts) {
    long ghost = x.size(0);
    long channels = x.size(1) / ghosts;
    if (x.dim() == 2) {
      return x.view(ghost, ghosts, channels).permute(1, 0, 2).reshape(ghosts * ghost, channels);
    }
    long height = x.size(2);
    long width = x.size(3);
    return x.permute(0, 2, 3, 1)
        .view(ghost, height, width, ghosts, channels)
        .permute(3, 0, 1, 2, 4)
        .reshape(ghosts * ghost, height, width, channels)
        .permute(0, 3, 1, 2);
  }

  /** Sizes that differ by at most one, the longer ones first. */
  private long[] ghostSizes(long rows) {
    long[] sizes = new long[ghosts];
    for (int g = 0; g < ghosts; g++) {
      sizes[g] = rows / ghosts + (g < rows % ghosts ? 1 : 0);
    }
    return sizes;
  }

  private TensorOptional optional(String name, Initializer init) {
    return new TensorOptional(parameter(name, init));
  }

  /**
   * A parameter with its first values.
   *
   * @param init null for those of a batch norm
   */
  private Tensor parameter(String name, Initializer init) {
    Parameter own = ours.get(name);
    long[] shape = own.shape().stream().mapToLong(Integer::longValue).toArray();
    Tensor leaf = torch.zeros(shape);
    // As in Network: weights that read one input, of a linear layer its outputs.
    double cells = shape.length == 4 ? own.height() * own.width() : 1;
    double fanOut = cells * own.outer();
    switch (own.kind()) {
      case GAMMA -> leaf.fill_(new Scalar(1.0));
      case BETA -> {}
      case BIAS -> {
        if (init == Initializer.PYTORCH) {
          uniform(leaf, 1 / Math.sqrt(own.fanIn()));
        }
      }
      case WEIGHT -> {
        switch (init) {
          case HE -> torch.normal_(leaf, 0, Math.sqrt(2 / fanOut));
          case PYTORCH -> uniform(leaf, 1 / Math.sqrt(own.fanIn()));
          case GLOROT -> uniform(leaf, Math.sqrt(6 / (own.fanIn() + fanOut)));
        }
      }
    }
    Tensor parameter = shape.length == 4 ? leaf.contiguous(ChannelsLast) : leaf;
    parameter.set_requires_grad(true);
    parameters.put(name, parameter);
    return parameter;
  }

  private static void uniform(Tensor values, double bound) {
    torch.uniform_(values, -bound, bound);
  }

  private static long[] square(long size) {
    return new long[] {size, size};
  }

  /** The result, which goes to the caller's scope; all else that was made on the way goes. */
  static Tensor scoped(Supplier<Tensor> work) {
    Tensor result;
    try (var scope = new PointerScope()) {
      result = work.get().retainReference();
    }
    PointerScope outer = PointerScope.getInnerScope();
    if (outer != null) {
      outer.attach(result);
      result.releaseReference();
    }
    return result;
  }
}
