package org.ghostbatch.nn;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.EngineSpec;
import org.ghostbatch.device.LoadSpec;
import org.ghostbatch.device.NetworkPlan;
import org.ghostbatch.random.Philox;
import org.ghostbatch.random.Purpose;

/**
 * Layers on inputs of one size: shapes inferred, operations fused (batch norm with what follows:
 * residual, ReLU), and all parameters laid out in one vector. Immutable; holds no weights.
 */
public final class Network {
  /**
   * A line of {@link #summary()}.
   *
   * @param shape of the layer's output
   * @param flat whether that is a vector
   * @param flops of one sample, forward
   */
  record Row(
      String path, Layer layer, SampleShape shape, boolean flat, long parameters, double flops) {}

  private final Sequential layers;
  private final SampleShape inputShape;
  private final SampleShape outputShape;
  private final List<Operation> operations;
  private final List<Parameter> parameters;
  private final List<Initializer> initializers;
  private final List<Statistics> statistics;
  private final List<Row> rows;
  private final long parameterCount;
  private final long statisticsCount;

  private Network(Sequential layers, SampleShape inputShape) {
    NetworkBuilder builder = new NetworkBuilder();
    this.layers = layers;
    this.inputShape = inputShape;
    this.outputShape = builder.build(layers, inputShape);
    this.operations = List.copyOf(builder.operations);
    this.parameters = List.copyOf(builder.parameters);
    this.initializers = List.copyOf(builder.initializers);
    this.statistics = List.copyOf(builder.statistics);
    this.rows = List.copyOf(builder.rows);
    this.parameterCount = builder.parameterCount;
    this.statisticsCount = builder.statisticsCount;
    if (parameterCount == 0) {
      throw Check.bad("network", "a layer with weights", "none");
    }
  }

  /**
   * The network of these layers on inputs of {@code inputShape}.
   *
   * @throws IllegalArgumentException naming the layer that does not fit, by its path
   */
  public static Network of(Sequential layers, SampleShape inputShape) {
    Check.present("network", "layers", layers);
    Check.present("network", "an input shape", inputShape);
    return new Network(layers, inputShape);
  }

  public Sequential layers() {
    return layers;
  }

  public SampleShape inputShape() {
    return inputShape;
  }

  /** Number of outputs. */
  public int classes() {
    return outputShape.channels();
  }

  /** Slices of the parameter vector, in its order. */
  public List<Parameter> parameters() {
    return parameters;
  }

  /** Slices of the vector of running statistics, in its order. */
  public List<Statistics> statistics() {
    return statistics;
  }

  /** Length of the parameter vector. */
  public long parameterCount() {
    return parameterCount;
  }

  /** Length of the vector of running statistics; 0 without batch norm. */
  public long statisticsCount() {
    return statisticsCount;
  }

  public boolean hasBatchNorm() {
    return !statistics.isEmpty();
  }

  /** Whether any layer is a convolution, as against matrix products alone. */
  public boolean hasConvolution() {
    return operations.stream().anyMatch(operation -> operation instanceof Operation.Convolution);
  }

  /**
   * Smallest number of values per channel and sample that a batch norm sees; 0 without batch norm.
   */
  public int normPlaces() {
    return operations.stream()
        .filter(operation -> operation instanceof Operation.Norm)
        .mapToInt(operation -> operation.out().height() * operation.out().width())
        .min()
        .orElse(0);
  }

  /** Multiply-adds times two of one sample, forward; a training step costs three times as much. */
  public double flops() {
    return operations.stream().mapToDouble(Operation::flops).sum();
  }

  /** Elements of all values that the operations make of one sample. */
  public long values() {
    return operations.stream().mapToLong(operation -> operation.out().elements()).sum();
  }

  List<Operation> operations() {
    return operations;
  }

  /** Names of the operations, as an engine numbers them. */
  public List<String> operationNames() {
    return operations.stream().map(Operation::name).toList();
  }

  /**
   * What an operation is: {@code convolution}, {@code linear}, {@code batch norm}, {@code pooling},
   * ...
   */
  public String operationKind(int operation) {
    return operations.get(operation).kind();
  }

  /** Shape of what an operation makes. */
  public SampleShape operationShape(int operation) {
    return operations.get(operation).out();
  }

  /** Shape of what it makes it from; a residual is shaped as the result. */
  public SampleShape operationSource(int operation) {
    int value = operations.get(operation).src();
    return value == 0 ? inputShape : operations.get(value - 1).out();
  }

  /** The operations, for an engine of this device. */
  public NetworkPlan compile(Device device) {
    return plan(device, operations);
  }

  NetworkPlan plan(Device device, List<Operation> operations) {
    NetworkPlan plan =
        device.networkPlan(inputShape.height(), inputShape.width(), inputShape.channels());
    try {
      operations.forEach(operation -> operation.addTo(plan));
    } catch (RuntimeException e) {
      plan.close();
      throw e;
    }
    return plan;
  }

  /**
   * A layer whose output goes to batch norm alone, perhaps through pooling: its weight and bias may
   * be multiplied by c > 0, its running mean by c and its variance by c^2, and nothing changes but
   * what epsilon weighs.
   *
   * @param bias null for none
   */
  public record NormalizedLayer(Parameter weight, Parameter bias, Statistics statistics) {}

  /** All layers that batch norm makes independent of their weights' scale. */
  public List<NormalizedLayer> normalizedLayers() {
    int[] consumers = InferenceForm.consumers(operations);
    List<NormalizedLayer> layers = new ArrayList<>();
    for (Operation operation : operations) {
      if (!(operation instanceof Operation.Norm norm)) {
        continue;
      }
      int value = norm.src();
      while (value > 0
          && consumers[value] == 1
          && operations.get(value - 1) instanceof Operation.Pool pool) {
        value = pool.src();
      }
      if (value == 0 || consumers[value] != 1) {
        continue;
      }
      if (operations.get(value - 1) instanceof Operation.Convolution layer) {
        layers.add(new NormalizedLayer(layer.weight(), layer.bias(), norm.statistics()));
      } else if (operations.get(value - 1) instanceof Operation.Dense layer) {
        layers.add(new NormalizedLayer(layer.weight(), layer.bias(), norm.statistics()));
      }
    }
    return layers;
  }

  /** This network as predictions run it. */
  public InferenceForm inference() {
    return new InferenceForm(this);
  }

  /**
   * First values of the parameters: weights and biases as each layer's {@link Initializer} says,
   * drawn in double from the stream of the parameter's number, gamma 1, beta 0. The same on every
   * JVM and backend.
   */
  public double[] initialParameters(long seed) {
    if (parameterCount > Integer.MAX_VALUE - 8) {
      throw Check.bad("network", "at most 2147483639 parameters to be initialized", parameterCount);
    }
    double[] values = new double[(int) parameterCount];
    for (int i = 0; i < parameters.size(); i++) {
      Parameter parameter = parameters.get(i);
      double[] drawn = initial(parameter, initializers.get(i), seed, Purpose.WEIGHTS.stream(i));
      System.arraycopy(drawn, 0, values, (int) parameter.offset(), drawn.length);
    }
    return values;
  }

  private static double[] initial(Parameter parameter, Initializer init, long seed, int stream) {
    double[] values = new double[parameter.elements()];
    switch (parameter.kind()) {
      case GAMMA -> Arrays.fill(values, 1);
      case BETA -> {}
      case BIAS -> {
        if (init == Initializer.PYTORCH) {
          uniform(values, 1 / StrictMath.sqrt(parameter.fanIn()), seed, stream);
        }
      }
      case WEIGHT -> {
        // Weights that read one input: kernel cells times outputs; of a linear layer its outputs.
        boolean convolution = parameter.shape().size() == 4;
        int cells = convolution ? parameter.height() * parameter.width() : 1;
        double fanOut = (double) cells * parameter.outer();
        switch (init) {
          case HE -> {
            Philox.gaussian(seed, stream, 0, values);
            double deviation = StrictMath.sqrt(2 / fanOut);
            for (int i = 0; i < values.length; i++) {
              values[i] *= deviation;
            }
          }
          case PYTORCH -> uniform(values, 1 / StrictMath.sqrt(parameter.fanIn()), seed, stream);
          case GLOROT ->
              uniform(values, StrictMath.sqrt(6 / (parameter.fanIn() + fanOut)), seed, stream);
        }
      }
    }
    return values;
  }

  private static void uniform(double[] values, double bound, long seed, int stream) {
    Philox.uniform(seed, stream, 0, values);
    for (int i = 0; i < values.length; i++) {
      values[i] = bound * (2 * values[i] - 1);
    }
  }

  /** First values of the running statistics: means 0, variances 1. */
  public double[] initialStatistics() {
    double[] values = new double[(int) statisticsCount];
    for (Statistics slice : statistics) {
      int from = (int) slice.offset() + slice.channels();
      Arrays.fill(values, from, from + slice.channels(), 1);
    }
    return values;
  }

  /** Layers, shapes, parameters and FLOPs as text. */
  public String summary() {
    StringBuilder text = new StringBuilder();
    text.append(
        String.format(
            Locale.ROOT,
            "%-28s %-16s %-14s %12s %12s%n",
            "layer",
            "kind",
            "output",
            "parameters",
            "MFLOPs"));
    text.append(String.format(Locale.ROOT, "%-28s %-16s %-14s%n", "", "input", inputShape));
    for (Row row : rows) {
      text.append(
          String.format(
              Locale.ROOT,
              "%-28s %-16s %-14s %12s %12s%n",
              row.path,
              row.layer.getClass().getSimpleName(),
              row.flat ? Integer.toString(row.shape.elements()) : row.shape.toString(),
              row.parameters == 0 ? "" : String.format(Locale.ROOT, "%,d", row.parameters),
              row.flops == 0 ? "" : String.format(Locale.ROOT, "%.3f", row.flops / 1e6)));
    }
    text.append(
        String.format(
            Locale.ROOT,
            "%,d parameters, %,d running statistics, %.3f MFLOPs forward a sample%n",
            parameterCount,
            statisticsCount,
            flops() / 1e6));
    return text.toString();
  }

  /**
   * As {@link #summary()}, and what training takes on a device.
   *
   * @param threads lanes
   * @param ghost V in rows, 0 for plain batch norm over {@code batch}
   */
  public String summary(Device device, int threads, int batch, int ghost) {
    int whole = ghost == 0 ? batch : Math.min(ghost, batch);
    int asked = ghost >= batch ? 0 : ghost;
    int microBatch = MicroBatch.on(device).of(this, asked, batch);
    StringBuilder text = new StringBuilder(summary());
    try (NetworkPlan plan = compile(device)) {
      long bytes =
          device.predictBytes(
              threads, plan, trainingSpec(device, asked, hasBatchNorm() ? whole : 0, batch));
      text.append(
          String.format(
              Locale.ROOT,
              "micro-batch of %d, %d threads: %,d bytes for training with f32 on %s%n",
              microBatch,
              threads,
              bytes,
              device.name()));
      if (hasBatchNorm()) {
        long available = device.availableBytes();
        text.append(
            String.format(
                Locale.ROOT,
                "largest ghost batch that fits the %,d bytes free: %,d samples%n",
                available,
                largestGhost(device, threads, plan, available)));
      }
    }
    return text.toString();
  }

  /**
   * What the rules make of a ghost batch of {@code asked} rows (0: the whole batch), of which a
   * step holds at most {@code ghost}.
   */
  private EngineSpec trainingSpec(Device device, int asked, int ghost, int batch) {
    MicroBatch rule = MicroBatch.on(device);
    LoadSpec load = LoadSpec.of(inputShape.height(), inputShape.width(), inputShape.channels());
    return new EngineSpec(
        DataType.F32,
        rule.of(this, asked, batch),
        ghost,
        rule.ghostPerLane(this, asked),
        true,
        false,
        load);
  }

  /** To within 1/64: bytes grow in proportion to the ghost once it spans micro-batches. */
  private int largestGhost(Device device, int threads, NetworkPlan plan, long available) {
    int fits = 0;
    int high = 64;
    while (high < 1 << 24 && fits(device, threads, plan, high, available)) {
      fits = high;
      high *= 2;
    }
    int step = Math.max(1, fits / 64);
    while (high - fits > step) {
      int middle = fits + (high - fits) / 2;
      if (fits(device, threads, plan, middle, available)) {
        fits = middle;
      } else {
        high = middle;
      }
    }
    return fits;
  }

  private boolean fits(Device device, int threads, NetworkPlan plan, int ghost, long available) {
    return device.predictBytes(threads, plan, trainingSpec(device, ghost, ghost, ghost))
        <= available;
  }

  @Override
  public String toString() {
    return "network of "
        + parameterCount
        + " parameters on "
        + inputShape
        + ", "
        + classes()
        + " classes";
  }
}
