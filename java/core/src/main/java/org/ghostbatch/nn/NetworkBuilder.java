package org.ghostbatch.nn;

import java.util.ArrayList;
import java.util.List;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.ConvolutionSpec;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.GhostBatchNormSpec;
import org.ghostbatch.device.LinearSpec;
import org.ghostbatch.device.PoolKind;
import org.ghostbatch.device.PoolSpec;

/** Walks layers: infers shapes, fuses, and lays out the vectors. */
final class NetworkBuilder {
  /**
   * A value between layers.
   *
   * @param flat a vector, whatever image it came from
   * @param shared also read by another branch, so that what follows must not be fused into it
   */
  private record Value(int number, SampleShape shape, boolean flat, boolean shared) {}

  /** A layer and where it stands, as in {@code 3.body.0}. */
  private record Placed(String path, Layer layer) {}

  final List<Operation> operations = new ArrayList<>();
  final List<Parameter> parameters = new ArrayList<>();
  final List<Initializer> initializers = new ArrayList<>();
  final List<Statistics> statistics = new ArrayList<>();
  final List<Network.Row> rows = new ArrayList<>();
  long parameterCount;
  long statisticsCount;
  private long counted; // parameters that rows have

  SampleShape build(Sequential layers, SampleShape input) {
    Value output = run(flattened("", layers), new Value(0, input, false, false));
    if (output.number == 0) {
      throw Check.bad("network", "a layer that computes something", "none");
    }
    if (output.shape.height() != 1 || output.shape.width() != 1) {
      throw Check.bad(
          "network",
          "one vector as output (Flatten and Linear, or GlobalAvgPool, at the end)",
          output.shape);
    }
    return output.shape;
  }

  /** Nested sequentials become one list; their numbers stay in the paths. */
  private static List<Placed> flattened(String prefix, Sequential sequential) {
    List<Placed> all = new ArrayList<>();
    for (int i = 0; i < sequential.layers().size(); i++) {
      Layer layer = sequential.layers().get(i);
      String path = prefix + i;
      if (layer instanceof Sequential nested) {
        all.addAll(flattened(path + ".", nested));
      } else {
        all.add(new Placed(path, layer));
      }
    }
    return all;
  }

  private Value run(List<Placed> layers, Value value) {
    for (Placed placed : layers) {
      Value next;
      try {
        next = layer(placed, value, null);
      } catch (IllegalArgumentException e) {
        throw located(placed, e);
      }
      if (!(placed.layer instanceof Residual)) {
        row(placed, next);
      }
      value = next;
    }
    return value;
  }

  private static IllegalArgumentException located(Placed placed, IllegalArgumentException e) {
    String where = placed.path + " (" + placed.layer.getClass().getSimpleName() + ")";
    return e.getMessage().startsWith("[network] layer ")
        ? e
        : new IllegalArgumentException("[network] layer " + where + ": " + e.getMessage(), e);
  }

  private void row(Placed placed, Value value) {
    double flops = 0;
    if (!operations.isEmpty() && operations.get(operations.size() - 1).name().equals(placed.path)) {
      flops = operations.get(operations.size() - 1).flops();
    }
    rows.add(
        new Network.Row(
            placed.path, placed.layer, value.shape, value.flat, parameterCount - counted, flops));
    counted = parameterCount;
  }

  /**
   * @param residual only for a batch norm: a value to be added before the ReLU, or null
   */
  private Value layer(Placed placed, Value x, Value residual) {
    String name = placed.path;
    Layer layer = placed.layer;
    if (layer instanceof Conv2d conv) {
      return convolution(name, conv, x);
    }
    if (layer instanceof Linear linear) {
      return linear(name, linear, x);
    }
    if (layer instanceof BatchNorm norm) {
      return norm(name, norm, x, residual);
    }
    if (layer instanceof ReLU) {
      int last = operations.size() - 1;
      if (!x.shared
          && x.number == last + 1
          && last >= 0
          && operations.get(last) instanceof Operation.Norm norm
          && !norm.spec().relu()) {
        operations.set(last, norm.withRelu());
        return x;
      }
      return add(new Operation.Relu(name, x.number, x.shape), x.flat);
    }
    if (layer instanceof MaxPool2d pool) {
      return pool(
          name, PoolKind.MAX, x, pool.kernel(), pool.stride(), pool.padding(), pool.border());
    }
    if (layer instanceof AvgPool2d pool) {
      return pool(
          name, PoolKind.AVERAGE, x, pool.kernel(), pool.stride(), pool.padding(), Border.FLOOR);
    }
    if (layer instanceof GlobalAvgPool) {
      SampleShape in = image(x);
      PoolSpec spec = pool(PoolKind.AVERAGE, in, in.height(), in.width(), 1, 0);
      return add(
          new Operation.Pool(name, x.number, new SampleShape(1, 1, in.channels()), spec), true);
    }
    if (layer instanceof Dropout dropout) {
      return add(new Operation.Drop(name, x.number, x.shape, dropout.rate()), x.flat);
    }
    if (layer instanceof Flatten) {
      return new Value(x.number, x.shape, true, x.shared);
    }
    if (layer instanceof Residual block) {
      return residual(placed, block, x);
    }
    throw new IllegalStateException("[network] needs nested sequentials flattened, got " + layer);
  }

  private Value convolution(String name, Conv2d conv, Value x) {
    SampleShape in = image(x);
    if (in.channels() % conv.groups() != 0) {
      throw Check.bad("conv2d", "groups that divide " + in.channels() + " channels", conv.groups());
    }
    ConvolutionSpec spec =
        new ConvolutionSpec(
            1,
            in.height(),
            in.width(),
            in.channels(),
            conv.filters(),
            conv.kernel(),
            conv.kernel(),
            conv.stride(),
            conv.stride(),
            conv.padding(),
            conv.padding(),
            conv.dilation(),
            conv.dilation(),
            conv.groups(),
            conv.bias(),
            false,
            DataType.F32);
    int channels = in.channels() / conv.groups();
    int kernel = conv.kernel();
    int fanIn = fanIn(kernel, channels);
    Parameter weight =
        parameter(
            new Parameter(
                name + ".weight",
                Parameter.Kind.WEIGHT,
                List.of(conv.filters(), channels, kernel, kernel),
                parameterCount,
                conv.filters(),
                kernel,
                kernel,
                channels,
                fanIn),
            conv.init());
    Parameter bias = conv.bias() ? bias(name, conv.filters(), fanIn, conv.init()) : null;
    SampleShape out = new SampleShape(spec.outHeight(), spec.outWidth(), conv.filters());
    return add(new Operation.Convolution(name, x.number, out, spec, weight, bias), false);
  }

  private Value linear(String name, Linear linear, Value x) {
    SampleShape in = x.shape;
    if (!x.flat && in.height() * in.width() != 1) {
      throw Check.bad("linear", "a vector (Flatten before it)", "an image of " + in);
    }
    Parameter weight =
        parameter(
            new Parameter(
                name + ".weight",
                Parameter.Kind.WEIGHT,
                List.of(linear.out(), in.elements()),
                parameterCount,
                linear.out(),
                in.height(),
                in.width(),
                in.channels(),
                in.elements()),
            linear.init());
    Parameter bias = linear.bias() ? bias(name, linear.out(), in.elements(), linear.init()) : null;
    LinearSpec spec = LinearSpec.of(1, in.elements(), linear.out()).withBias(linear.bias());
    return add(
        new Operation.Dense(
            name, x.number, new SampleShape(1, 1, linear.out()), spec, weight, bias),
        true);
  }

  private Value norm(String name, BatchNorm norm, Value x, Value residual) {
    SampleShape in = x.shape;
    if (x.flat && in.height() * in.width() != 1) {
      throw Check.bad(
          "batch norm",
          "to stand before Flatten, or behind a Linear",
          "a flattened image of " + in);
    }
    int channels = in.channels();
    Parameter gamma =
        parameter(
            Parameter.vector(name + ".weight", Parameter.Kind.GAMMA, parameterCount, channels, 1),
            Initializer.HE);
    Parameter beta =
        parameter(
            Parameter.vector(name + ".bias", Parameter.Kind.BETA, parameterCount, channels, 1),
            Initializer.HE);
    Statistics running = new Statistics(name, statisticsCount, channels);
    statistics.add(running);
    statisticsCount += 2L * channels;
    GhostBatchNormSpec spec =
        GhostBatchNormSpec.of(1, in.height(), in.width(), channels)
            .withEpsilon(norm.epsilon())
            .withResidual(residual != null)
            .withRelu(residual != null);
    int added = residual == null ? -1 : residual.number;
    return add(new Operation.Norm(name, x.number, added, in, spec, gamma, beta, running), x.flat);
  }

  private Value pool(
      String name, PoolKind kind, Value x, int kernel, int stride, int padding, Border border) {
    SampleShape in = image(x);
    boolean clip = border == Border.CLIP;
    int rows = clip ? Math.min(kernel, in.height() + 2 * padding) : kernel;
    int columns = clip ? Math.min(kernel, in.width() + 2 * padding) : kernel;
    PoolSpec spec =
        border == Border.SAME
            ? PoolSpec.same(kind, 1, in.height(), in.width(), in.channels(), kernel, stride)
            : pool(kind, in, rows, columns, stride, padding);
    SampleShape out = new SampleShape(spec.outHeight(), spec.outWidth(), in.channels());
    return add(new Operation.Pool(name, x.number, out, spec), false);
  }

  private static PoolSpec pool(
      PoolKind kind, SampleShape in, int rows, int columns, int stride, int padding) {
    return new PoolSpec(
        kind,
        1,
        in.height(),
        in.width(),
        in.channels(),
        rows,
        columns,
        stride,
        stride,
        padding,
        padding,
        0,
        0,
        DataType.F32);
  }

  private Value residual(Placed placed, Residual block, Value x) {
    List<Placed> body = flattened(placed.path + ".body.", block.body());
    List<Placed> shortcut = flattened(placed.path + ".shortcut.", block.shortcut());
    if (body.isEmpty()) {
      throw Check.bad("residual", "a body of at least one layer", "none");
    }
    Placed last = body.get(body.size() - 1);
    boolean fuse = last.layer instanceof BatchNorm;
    Value forked = new Value(x.number, x.shape, x.flat, true);
    Value main = run(fuse ? body.subList(0, body.size() - 1) : body, forked);
    Value side = run(shortcut, forked);
    if (!main.shape.equals(side.shape) || main.flat != side.flat) {
      throw Check.bad(
          "residual", "body and shortcut of one shape", main.shape + " and " + side.shape);
    }
    Value sum;
    if (fuse) {
      try {
        sum = layer(last, main, side);
      } catch (IllegalArgumentException e) {
        throw located(last, e);
      }
      row(last, sum);
    } else {
      sum =
          add(
              new Operation.Add(placed.path, main.number, side.number, main.shape, true),
              main.flat);
    }
    rows.add(new Network.Row(placed.path, block, sum.shape, sum.flat, 0, 0));
    return sum;
  }

  /** Before any product of its factors is an int. */
  private static int fanIn(int kernel, int channels) {
    double weights = (double) kernel * kernel * channels;
    if (weights > Integer.MAX_VALUE) {
      throw Check.bad(
          "conv2d",
          "at most 2147483647 weights an output",
          kernel + " x " + kernel + " x " + channels);
    }
    return (int) weights;
  }

  private static SampleShape image(Value x) {
    if (x.flat) {
      throw Check.bad("network", "an image", "a vector of " + x.shape.elements());
    }
    return x.shape;
  }

  private Parameter bias(String name, int elements, int fanIn, Initializer init) {
    return parameter(
        Parameter.vector(name + ".bias", Parameter.Kind.BIAS, parameterCount, elements, fanIn),
        init);
  }

  private Parameter parameter(Parameter parameter, Initializer init) {
    long elements =
        (long) parameter.outer() * parameter.height() * parameter.width() * parameter.channels();
    if (elements > Integer.MAX_VALUE) {
      throw Check.bad("network", "at most 2147483647 elements in " + parameter.name(), elements);
    }
    parameters.add(parameter);
    initializers.add(init);
    parameterCount += parameter.elements();
    return parameter;
  }

  private Value add(Operation operation, boolean flat) {
    operations.add(operation);
    return new Value(operations.size(), operation.out(), flat, false);
  }
}
