package org.ghostbatch.boundary;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.function.Function;
import java.util.function.Supplier;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.AdamStep;
import org.ghostbatch.device.Adversary;
import org.ghostbatch.device.Augmentation;
import org.ghostbatch.device.BatchLoader;
import org.ghostbatch.device.Convolution;
import org.ghostbatch.device.ConvolutionSpec;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Elementwise;
import org.ghostbatch.device.Engine;
import org.ghostbatch.device.EngineSpec;
import org.ghostbatch.device.Gemm;
import org.ghostbatch.device.GemmSpec;
import org.ghostbatch.device.GhostBatchNorm;
import org.ghostbatch.device.GhostBatchNormSpec;
import org.ghostbatch.device.LambStep;
import org.ghostbatch.device.Lanes;
import org.ghostbatch.device.LarsStep;
import org.ghostbatch.device.Lbfgsb;
import org.ghostbatch.device.LbfgsbSpec;
import org.ghostbatch.device.Linear;
import org.ghostbatch.device.LinearSpec;
import org.ghostbatch.device.LoadSpec;
import org.ghostbatch.device.LossResult;
import org.ghostbatch.device.NetworkPlan;
import org.ghostbatch.device.NormMode;
import org.ghostbatch.device.PoolKind;
import org.ghostbatch.device.PoolSpec;
import org.ghostbatch.device.Pooling;
import org.ghostbatch.device.RunningStatistics;
import org.ghostbatch.device.Samples;
import org.ghostbatch.device.Segments;
import org.ghostbatch.device.SgdStep;
import org.ghostbatch.device.SignMatrix;
import org.ghostbatch.device.SoftmaxCrossEntropy;
import org.ghostbatch.device.StepSpec;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;
import org.ghostbatch.nn.AvgPool2d;
import org.ghostbatch.nn.BatchNorm;
import org.ghostbatch.nn.Border;
import org.ghostbatch.nn.Conv2d;
import org.ghostbatch.nn.Dropout;
import org.ghostbatch.nn.Flatten;
import org.ghostbatch.nn.GlobalAvgPool;
import org.ghostbatch.nn.Initializer;
import org.ghostbatch.nn.MaxPool2d;
import org.ghostbatch.nn.ModelFile;
import org.ghostbatch.nn.ReLU;
import org.ghostbatch.nn.Residual;
import org.ghostbatch.nn.Sequential;
import org.ghostbatch.optim.Adam;
import org.ghostbatch.optim.BatchSchedule;
import org.ghostbatch.optim.Lamb;
import org.ghostbatch.optim.Optimizer;
import org.ghostbatch.optim.Schedule;
import org.ghostbatch.optim.Sgd;
import org.ghostbatch.train.Predictor;
import org.ghostbatch.train.Trainer;
import org.ghostbatch.train.TrainingSpec;

/** The calls that are changed: each is valid as drawn, and ends in native code. */
final class Scenarios {
  /** Draws a call's arguments and returns the call. */
  interface Scenario {
    Runnable draw(Call call);
  }

  /**
   * @param kernel whether the call ends in a kernel, not in a copy
   */
  record Named(String name, int weight, boolean kernel, Scenario scenario) {}

  private static final int HEIGHT = 8;
  private static final int WIDTH = 8;
  private static final int CHANNELS = 3;
  private static final int CLASSES = 5;
  private static final int SAMPLES = 64;
  private static final DataType[] TYPES = DataType.values();

  private final Path folder;
  private final byte[] modelFile;
  private final int modelHeader;

  /**
   * @param folder where files of the calls may lie
   */
  Scenarios(Path folder, World world) {
    this.folder = folder;
    Path file = folder.resolve("model.safetensors");
    try (Trainer trainer = trainer(world.cpu)) {
      trainer.save(file);
      modelFile = Files.readAllBytes(file);
      modelHeader = 8 + (int) ByteBuffer.wrap(modelFile).order(ByteOrder.LITTLE_ENDIAN).getLong();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  List<Named> all() {
    return List.of(
        new Named("tensor", 8, false, this::tensor),
        new Named("convolution", 14, true, this::convolution),
        new Named("linear", 8, true, this::linear),
        new Named("gemm", 8, true, this::gemm),
        new Named("ghost batch norm", 16, true, this::ghostBatchNorm),
        new Named("fold", 3, true, this::fold),
        new Named("pooling", 8, true, this::pooling),
        new Named("elementwise", 9, true, this::elementwise),
        new Named("softmax cross-entropy", 8, true, this::softmaxCrossEntropy),
        new Named("samples", 5, false, this::samples),
        new Named("batch loader", 9, true, this::batchLoader),
        new Named("vectors", 12, true, this::vectors),
        new Named("optimizer step", 8, true, this::optimizerStep),
        new Named("layer-wise step", 6, true, this::layerWiseStep),
        new Named("sign matrix", 4, true, this::signMatrix),
        new Named("lbfgsb", 4, true, this::lbfgsb),
        new Named("network plan", 4, true, this::networkPlan),
        new Named("engine spec", 3, true, this::engineSpec),
        new Named("engine step", 14, true, this::engineStep),
        new Named("lanes", 1, true, this::lanes),
        new Named("device", 2, true, this::device),
        new Named("layers", 2, true, this::layers),
        new Named("training spec", 2, true, this::trainingSpec),
        new Named("trainer step", 4, true, this::trainerStep),
        new Named("predictor", 3, true, this::predictor),
        new Named("model file", 2, true, this::modelFile));
  }

  private Runnable tensor(Call c) {
    Bench bench = c.world.bench(c);
    DataType valid = c.pick(TYPES);
    DataType type = c.option("type", valid, TYPES);
    int n = c.draw(1, 4);
    long[] shape = c.present("shape", new long[] {c.offset("rows", n), c.offset("columns", 6)});
    long at = c.offset("at", c.draw(0, 2));
    long first = c.offset("first", 1);
    long length = c.offset("length", 3);
    boolean integers = valid == DataType.U8 || valid == DataType.S32;
    int[] ints = c.ints("ints", new int[] {0, 255, 7}, 256);
    float[] floats = c.floats("floats", new float[] {1, -2, 3});
    double[] doubles = c.present("doubles", new double[] {0.1, -1e300, 7});
    boolean single = c.coin();
    return () -> {
      try (Tensor made = bench.device.tensor(type, shape)) {
        Tensor slice = made.slice(first, length);
        if (integers) {
          made.copyFrom(at, ints);
          made.copyTo(at, ints);
          slice.toInts();
        } else if (single) {
          made.copyFrom(at, floats);
          made.copyTo(at, floats);
          slice.toFloats();
        } else {
          made.copyFrom(at, doubles);
          made.copyTo(at, doubles);
          slice.toDoubles();
        }
      }
    };
  }

  private static ConvolutionSpec convolutionSpec(int i, DataType type) {
    int kernel = new int[] {1, 3, 3, 2}[i % 4];
    int channels = new int[] {1, 3, 16, 8}[i / 2 % 4];
    int groups = i % 5 == 0 ? channels : 1;
    return ConvolutionSpec.of(1 + i % 3, 5 + i % 4, 6, channels, groups * (i % 7 + 1), kernel)
        .withStride(1 + i % 2)
        .withPadding(kernel == 3 ? i / 4 % 2 : 0)
        .withGroups(groups)
        .withBias(i % 3 == 0)
        .withType(type);
  }

  private Runnable convolution(Call c) {
    Bench bench = c.world.bench(c);
    DataType type = bench.type(c);
    ConvolutionSpec v = convolutionSpec(c.draw(0, 23), type);
    boolean backward = c.coin();
    int batch = c.size("batch", v.batch());
    int height = c.size("height", v.height());
    int width = c.size("width", v.width());
    int channels = c.size("channels", v.channels());
    int filters = c.size("filters", v.filters());
    int kernelHeight = c.size("kernel height", v.kernelHeight());
    int kernelWidth = c.size("kernel width", v.kernelWidth());
    int strideHeight = c.size("stride height", v.strideHeight());
    int strideWidth = c.size("stride width", v.strideWidth());
    int padHeight = c.size("pad height", v.padHeight());
    int padWidth = c.size("pad width", v.padWidth());
    int dilationHeight = c.size("dilation height", v.dilationHeight());
    int dilationWidth = c.size("dilation width", v.dilationWidth());
    int groups = c.size("groups", v.groups());
    boolean bias = c.flag("bias", v.bias());
    boolean relu = c.flag("relu", v.relu());
    DataType wanted = c.option("type", type, TYPES);
    boolean withBackward = c.flag("backward", backward);
    Supplier<ConvolutionSpec> spec =
        () ->
            new ConvolutionSpec(
                batch,
                height,
                width,
                channels,
                filters,
                kernelHeight,
                kernelWidth,
                strideHeight,
                strideWidth,
                padHeight,
                padWidth,
                dilationHeight,
                dilationWidth,
                groups,
                bias,
                relu,
                wanted);
    Supplier<Convolution> kernel =
        kernel(
            c,
            bench,
            () -> List.of(spec.get(), withBackward),
            () -> bench.device.convolution(spec.get(), withBackward));
    long weightsElements =
        (long) v.filters() * v.kernelHeight() * v.kernelWidth() * (v.channels() / v.groups());
    long srcElements = (long) v.batch() * v.height() * v.width() * v.channels();
    long dstElements = (long) v.batch() * v.outHeight() * v.outWidth() * v.filters();
    Tensor weights = c.tensor("weights", bench, type, weightsElements);
    Tensor src = c.tensor("src", bench, type, srcElements);
    Tensor dst = c.tensor("dst", bench, type, dstElements);
    if (!backward || c.coin()) {
      Tensor biases = c.optional("bias", bench, type, v.filters(), v.bias());
      return () -> {
        Convolution made = kernel.get();
        made.setWeights(weights);
        made.forward(src, biases, dst);
      };
    }
    if (c.coin()) {
      return () -> {
        Convolution made = kernel.get();
        made.setWeights(weights);
        made.backwardData(dst, src);
      };
    }
    Tensor diffWeights = c.tensor("diff_weights", bench, type, weightsElements);
    Tensor diffBias = c.optional("diff_bias", bench, type, v.filters(), v.bias());
    return () -> kernel.get().backwardWeights(src, dst, diffWeights, diffBias);
  }

  private Runnable linear(Call c) {
    Bench bench = c.world.bench(c);
    DataType type = bench.type(c);
    int n = c.pick(1, 3, 16);
    int in = c.pick(1, 17, 64);
    int out = c.pick(1, 10, 33);
    boolean withBias = c.coin();
    boolean backward = c.coin();
    int batch = c.size("batch", n);
    int inputs = c.size("in", in);
    int outputs = c.size("out", out);
    boolean bias = c.flag("bias", withBias);
    boolean relu = c.flag("relu", !backward && withBias);
    DataType wanted = c.option("type", type, TYPES);
    Supplier<LinearSpec> spec = () -> new LinearSpec(batch, inputs, outputs, bias, relu, wanted);
    Supplier<Linear> kernel =
        kernel(
            c,
            bench,
            () -> List.of(spec.get(), backward),
            () -> bench.device.linear(spec.get(), backward));
    Tensor weights = c.tensor("weights", bench, type, (long) in * out);
    Tensor src = c.tensor("src", bench, type, (long) n * in);
    Tensor dst = c.tensor("dst", bench, type, (long) n * out);
    Tensor biases = c.optional("bias", bench, type, out, withBias);
    if (!backward) {
      return () -> {
        Linear made = kernel.get();
        made.setWeights(weights);
        made.forward(src, biases, dst);
      };
    }
    Tensor diffWeights = c.tensor("diff_weights", bench, type, (long) in * out);
    return () -> {
      Linear made = kernel.get();
      made.setWeights(weights);
      made.backwardData(dst, src);
      made.backwardWeights(src, dst, diffWeights, biases);
    };
  }

  private Runnable gemm(Call c) {
    Bench bench = c.world.bench(c);
    DataType type = bench.type(c);
    int m = c.pick(1, 5, 32);
    int n = c.pick(1, 16, 17);
    int k = c.pick(1, 7, 48);
    boolean withBias = c.coin();
    double valid = c.pick(0.0, 1.0);
    int rows = c.size("m", m);
    int columns = c.size("n", n);
    int depth = c.size("k", k);
    boolean a = c.flag("transpose a", c.coin());
    boolean b = c.flag("transpose b", c.coin());
    double alpha = c.real("alpha", 1);
    double beta = c.real("beta", valid);
    boolean bias = c.flag("bias", withBias);
    boolean relu = c.flag("relu", false);
    DataType wanted = c.option("type", type, TYPES);
    Supplier<GemmSpec> spec =
        () -> new GemmSpec(rows, columns, depth, a, b, alpha, beta, bias, relu, wanted);
    Supplier<Gemm> kernel = kernel(c, bench, spec::get, () -> bench.device.gemm(spec.get()));
    Tensor left = c.tensor("A", bench, type, (long) m * k);
    Tensor right = c.tensor("B", bench, type, (long) k * n);
    Tensor biases = c.optional("bias", bench, type, n, withBias);
    Tensor product = c.tensor("C", bench, type, (long) m * n);
    return () -> kernel.get().run(left, right, biases, product);
  }

  private Runnable ghostBatchNorm(Call c) {
    Bench bench = c.world.bench(c);
    DataType type = bench.type(c);
    int n = c.pick(4, 7);
    int h = c.pick(1, 3);
    int channels = c.pick(1, 3, 15, 16, 17, 33);
    boolean withRelu = c.coin();
    boolean withResidual = c.coin();
    int batch = c.size("batch", n);
    int height = c.size("height", h);
    int width = c.size("width", 2);
    int depth = c.size("channels", channels);
    boolean relu = c.flag("relu", withRelu);
    boolean residual = c.flag("residual", withResidual);
    double epsilon = c.real("epsilon", 1e-5);
    DataType wanted = c.option("type", type, TYPES);
    Supplier<GhostBatchNormSpec> spec =
        () -> new GhostBatchNormSpec(batch, height, width, depth, relu, residual, epsilon, wanted);
    Supplier<GhostBatchNorm> kernel =
        kernel(c, bench, spec::get, () -> bench.device.ghostBatchNorm(spec.get()));
    int[] offsets = c.ints("offsets", c.coin() ? new int[] {0, 2, n - 1} : new int[] {0, n}, n + 1);
    int ghosts = offsets == null ? 1 : Math.max(1, offsets.length - 1);
    long elements = (long) n * h * 2 * channels;
    GhostBatchNorm.Arguments arguments =
        new GhostBatchNorm.Arguments()
            .src(c.tensor("src", bench, type, elements))
            .gamma(c.tensor("gamma", bench, type, channels))
            .beta(c.tensor("beta", bench, type, channels))
            .mean(c.tensor("mean", bench, type, (long) ghosts * channels))
            .variance(c.tensor("variance", bench, type, (long) ghosts * channels))
            .offsets(offsets);
    int what = c.draw(0, 3);
    if (what < 2) {
      arguments
          .residual(c.optional("residual", bench, type, elements, withResidual))
          .dst(c.tensor("dst", bench, type, elements));
      GhostBatchNorm.Arguments all = c.present("arguments", arguments);
      return what == 0 ? () -> kernel.get().forward(all) : () -> kernel.get().normalize(all);
    }
    arguments
        .dst(c.optional("dst", bench, type, elements, withRelu && withResidual))
        .diffDst(c.tensor("diff_dst", bench, type, elements))
        .diffDst2(c.optional("diff_dst2", bench, type, elements, withResidual && what == 2))
        .diffSrc(c.tensor("diff_src", bench, type, elements))
        .diffResidual(c.optional("diff_residual", bench, type, elements, withResidual))
        .diffGamma(c.tensor("diff_gamma", bench, type, channels))
        .diffBeta(c.tensor("diff_beta", bench, type, channels));
    boolean constant = c.flag("constant statistics", false);
    return () -> kernel.get().backward(arguments, constant);
  }

  private Runnable fold(Call c) {
    Bench bench = c.world.bench(c);
    DataType type = bench.type(c);
    int filters = c.pick(1, 5, 16);
    Tensor weights = c.tensor("weights", bench, type, filters * 9L);
    Tensor bias = c.tensor("bias", bench, type, filters);
    GhostBatchNorm.Arguments norm =
        new GhostBatchNorm.Arguments()
            .gamma(c.tensor("gamma", bench, type, filters))
            .beta(c.tensor("beta", bench, type, filters))
            .mean(c.tensor("mean", bench, type, filters))
            .variance(c.tensor("variance", bench, type, filters));
    GhostBatchNorm.Arguments all = c.present("arguments", norm);
    double epsilon = c.real("epsilon", 1e-5);
    return () -> GhostBatchNorm.fold(weights, bias, all, epsilon);
  }

  private Runnable pooling(Call c) {
    Bench bench = c.world.bench(c);
    DataType type = bench.type(c);
    PoolKind validKind = c.pick(PoolKind.MAX, PoolKind.AVERAGE);
    int n = c.pick(1, 3);
    int size = c.pick(4, 7);
    int depth = c.pick(1, 16, 19);
    int window = c.pick(2, 3);
    int pad = c.pick(0, 1);
    int extra = pad == 1 ? 0 : c.pick(0, 1);
    PoolSpec v =
        new PoolSpec(
            validKind, n, size, size, depth, window, window, 2, 2, pad, pad, extra, extra, type);
    PoolKind kind = c.option("kind", validKind, PoolKind.values());
    int batch = c.size("batch", n);
    int height = c.size("height", size);
    int width = c.size("width", size);
    int channels = c.size("channels", depth);
    int windowHeight = c.size("window height", window);
    int windowWidth = c.size("window width", window);
    int strideHeight = c.size("stride height", 2);
    int strideWidth = c.size("stride width", 2);
    int padHeight = c.size("pad height", pad);
    int padWidth = c.size("pad width", pad);
    int extraHeight = c.size("extra height", extra);
    int extraWidth = c.size("extra width", extra);
    DataType wanted = c.option("type", type, TYPES);
    Supplier<PoolSpec> spec =
        () ->
            new PoolSpec(
                kind,
                batch,
                height,
                width,
                channels,
                windowHeight,
                windowWidth,
                strideHeight,
                strideWidth,
                padHeight,
                padWidth,
                extraHeight,
                extraWidth,
                wanted);
    Supplier<Pooling> kernel = kernel(c, bench, spec::get, () -> bench.device.pooling(spec.get()));
    Tensor src = c.tensor("src", bench, type, v.srcElements());
    Tensor dst = c.tensor("dst", bench, type, v.dstElements());
    int rows = c.count("rows", c.draw(0, n));
    // A backward without its forward reads cells that nobody won.
    return c.coin()
        ? () -> kernel.get().forward(src, dst, rows)
        : () -> kernel.get().backward(dst, src, rows);
  }

  private Runnable elementwise(Call c) {
    Bench bench = c.world.bench(c);
    DataType type = bench.type(c);
    DataType wanted = c.option("type", type, TYPES);
    Supplier<Elementwise> kernel =
        kernel(
            c, bench, () -> List.of("elementwise", wanted), () -> bench.device.elementwise(wanted));
    int n = c.pick(1, 15, 16, 65, 1000);
    long elements = c.offset("elements", c.draw(0, n));
    switch (c.draw(0, 4)) {
      case 0 -> {
        Tensor src = c.tensor("src", bench, type, n);
        Tensor dst = c.tensor("dst", bench, type, n);
        return () -> kernel.get().relu(src, dst, elements);
      }
      case 1 -> {
        Tensor dst = c.tensor("dst", bench, type, n);
        Tensor diffDst = c.tensor("diff_dst", bench, type, n);
        Tensor diffSrc = c.tensor("diff_src", bench, type, n);
        return () -> kernel.get().reluBackward(dst, diffDst, diffSrc, elements);
      }
      case 2 -> {
        Tensor a = c.tensor("a", bench, type, n);
        Tensor b = c.tensor("b", bench, type, n);
        Tensor dst = c.tensor("dst", bench, type, n);
        boolean relu = c.flag("relu", c.coin());
        return () -> kernel.get().add(a, b, dst, elements, relu);
      }
      case 3 -> {
        int rows = c.pick(1, 3);
        int rowElements = c.pick(1, 5, 64);
        Tensor src = c.tensor("src", bench, type, (long) rows * rowElements);
        Tensor dst = c.tensor("dst", bench, type, (long) rows * rowElements);
        int some = c.count("rows", rows);
        int each = c.count("row elements", rowElements);
        double rate = c.real("rate", 0.3);
        long seed = c.offset("seed", 3);
        int layer = c.count("layer", 1);
        long step = c.offset("step", 4);
        return () -> kernel.get().dropout(src, dst, some, each, rate, seed, layer, step);
      }
      default -> {
        Tensor dst = c.tensor("dst", bench, type, n + 3L);
        long first = c.offset("first", c.draw(0, 3));
        return () -> kernel.get().zero(dst, first, elements);
      }
    }
  }

  private Runnable softmaxCrossEntropy(Call c) {
    Bench bench = c.world.bench(c);
    DataType type = bench.type(c);
    DataType wanted = c.option("type", type, TYPES);
    Supplier<SoftmaxCrossEntropy> kernel =
        kernel(
            c,
            bench,
            () -> List.of("softmax", wanted),
            () -> bench.device.softmaxCrossEntropy(wanted));
    int n = c.pick(1, 4, 17);
    int classes = c.pick(3, 10, 33);
    Tensor logits = c.tensor("logits", bench, type, (long) n * classes);
    Tensor labels = c.tensor("labels", bench, DataType.S32, n);
    Tensor weights = c.optional("weights", bench, DataType.F32, n, c.coin());
    int rows = c.count("rows", n);
    int outputs = c.count("classes", classes);
    double smoothing = c.real("label smoothing", 0.1);
    double scale = c.real("scale", 1.0 / n);
    Tensor diffLogits = c.optional("diff_logits", bench, type, (long) n * classes, c.coin());
    LossResult result = c.present("result", new LossResult());
    return () ->
        kernel
            .get()
            .run(logits, labels, weights, rows, outputs, smoothing, scale, diffLogits, result);
  }

  private Runnable samples(Call c) {
    Bench bench = c.world.bench(c);
    DataType valid = c.pick(DataType.U8, DataType.F32);
    DataType type = c.option("type", valid, TYPES);
    int count = c.size("count", 6);
    int height = c.size("height", 4);
    int width = c.size("width", 3);
    int channels = c.size("channels", 2);
    int classes = c.size("classes", 4);
    int first = c.count("first", 2);
    int rows = c.count("rows", 3);
    int[] labels = c.ints("labels", new int[] {0, 3, 1}, 4);
    int[] numbers = c.ints("numbers", new int[] {7, 0, 1 << 20}, Integer.MAX_VALUE);
    byte[] bytes = c.bytes("bytes", new byte[72]);
    float[] floats = c.floats("floats", new float[72]);
    boolean direct = c.coin();
    boolean turned = c.flag("byte order", false);
    return () -> {
      try (Samples room = bench.device.samples(type, count, height, width, channels, classes)) {
        room.writeLabels(first, rows, labels);
        room.writeNumbers(first, rows, numbers);
        if (valid == DataType.U8) {
          if (direct && bytes != null) {
            room.write(first, rows, ByteBuffer.allocateDirect(bytes.length + 1).position(1));
          } else {
            room.write(first, rows, bytes);
          }
        } else if (direct && floats != null) {
          ByteOrder order =
              turned == (ByteOrder.nativeOrder() == ByteOrder.LITTLE_ENDIAN)
                  ? ByteOrder.BIG_ENDIAN
                  : ByteOrder.LITTLE_ENDIAN;
          FloatBuffer buffer =
              ByteBuffer.allocateDirect(4 * floats.length + 4).order(order).asFloatBuffer();
          room.write(first, rows, buffer.position(1));
        } else {
          room.write(first, rows, floats);
        }
      }
    };
  }

  /** Samples of the network's input, shared. */
  private static Samples samples(Bench bench, DataType type) {
    return bench.kernel(
        "samples " + type,
        () -> {
          Samples made = bench.device.samples(type, SAMPLES, HEIGHT, WIDTH, CHANNELS, CLASSES);
          int[] labels = new int[SAMPLES];
          for (int i = 0; i < SAMPLES; i++) {
            labels[i] = i % CLASSES;
          }
          made.writeLabels(0, SAMPLES, labels);
          int values = SAMPLES * HEIGHT * WIDTH * CHANNELS;
          if (type == DataType.U8) {
            byte[] bytes = new byte[values];
            for (int i = 0; i < values; i++) {
              bytes[i] = (byte) (i * 37);
            }
            made.write(0, SAMPLES, bytes);
          } else {
            float[] floats = new float[values];
            for (int i = 0; i < values; i++) {
              floats[i] = (float) Math.sin(i);
            }
            made.write(0, SAMPLES, floats);
          }
          return made;
        });
  }

  private static Supplier<Samples> givenSamples(Call c, Bench bench, DataType type) {
    return c.object(
        "samples",
        true,
        () -> samples(bench, type),
        () -> bench.device.samples(type, SAMPLES, HEIGHT, WIDTH, CHANNELS, CLASSES),
        world -> samples(world.other(bench), type));
  }

  private Supplier<LoadSpec> loadSpec(Call c, Augmentation validAugmentation, DataType type) {
    int height = c.size("height", HEIGHT);
    int width = c.size("width", WIDTH);
    int channels = c.size("channels", CHANNELS);
    Augmentation augmentation = c.option("augmentation", validAugmentation, Augmentation.values());
    int pad = c.size("pad", 2);
    double fill = c.real("fill", 3);
    double degrees = c.real("degrees", 15);
    double translate = c.real("translate", 0.1);
    double scale = c.real("scale", 1.0 / 255);
    double mean = c.real("mean", 0.5);
    double std = c.real("std", 0.25);
    List<Double> means = c.present("means", Collections.nCopies(CHANNELS, mean));
    List<Double> stds =
        c.option(
            "stds", List.of(std, std, std), List.of(), List.of(std), Arrays.asList(std, null, std));
    DataType wanted = c.option("type", type, TYPES);
    return () ->
        new LoadSpec(
            height,
            width,
            channels,
            augmentation,
            pad,
            fill,
            degrees,
            translate,
            scale,
            means,
            stds,
            wanted);
  }

  private Runnable batchLoader(Call c) {
    Bench bench = c.world.bench(c);
    DataType type = bench.type(c);
    DataType stored = c.pick(DataType.U8, DataType.F32);
    Augmentation validAugmentation = c.pick(Augmentation.values());
    Supplier<LoadSpec> spec = loadSpec(c, validAugmentation, type);
    Supplier<BatchLoader> kernel =
        kernel(c, bench, () -> List.of(spec.get()), () -> bench.device.batchLoader(spec.get()));
    Supplier<Samples> from = givenSamples(c, bench, stored);
    int n = c.pick(1, 5, 16);
    int[] valid = new int[n];
    for (int i = 0; i < n; i++) {
      valid[i] = c.draw(0, SAMPLES - 1);
    }
    int[] indices = c.ints("indices", valid, SAMPLES);
    int rows = c.count("rows", n);
    long seed = c.offset("seed", 1);
    long epoch = c.offset("epoch", 2);
    boolean augment = c.flag("augment", true);
    Tensor dst = c.tensor("dst", bench, type, (long) n * HEIGHT * WIDTH * CHANNELS);
    Tensor labels = c.optional("labels", bench, DataType.S32, n, c.coin());
    return () -> kernel.get().load(from.get(), indices, rows, seed, epoch, augment, dst, labels);
  }

  private static Supplier<VectorKernels> vectors(Call c, Bench bench) {
    boolean onLanes = c.coin();
    Supplier<VectorKernels> make = () -> bench.device.vectors(onLanes ? bench.lanes : null);
    return kernel(c, bench, () -> "vectors " + onLanes, make);
  }

  private Runnable vectors(Call c) {
    Bench bench = c.world.bench(c);
    DataType type = c.pick(DataType.F32, DataType.F64);
    Supplier<VectorKernels> kernel = vectors(c, bench);
    int n = c.pick(1, 17, 1000, 65536, 65537);
    double alpha = c.real("alpha", 0.5);
    Tensor x = c.tensor("x", bench, type, n);
    switch (c.draw(0, 9)) {
      case 0 -> {
        return () -> kernel.get().fill(alpha, x);
      }
      case 1 -> {
        return () -> kernel.get().scale(alpha, x);
      }
      case 2 -> {
        return () -> kernel.get().sum(x);
      }
      case 3 -> {
        return () -> kernel.get().maxAbs(x);
      }
      default -> {}
    }
    Tensor y = c.tensor("y", bench, type, n);
    switch (c.draw(0, 6)) {
      case 0 -> {
        return () -> kernel.get().copy(x, y);
      }
      case 1 -> {
        return () -> kernel.get().axpy(alpha, x, y);
      }
      case 2 -> {
        return () -> kernel.get().dot(x, y);
      }
      case 3 -> {
        return () -> kernel.get().distance(x, y);
      }
      case 4 -> {
        return () -> kernel.get().projectBox(alpha, x, y);
      }
      case 5 -> {
        return () -> kernel.get().scaleByMagnitude(alpha, x, y);
      }
      default -> {
        Tensor z = c.tensor("z", bench, type, n);
        return () -> kernel.get().interpolate(alpha, x, y, z);
      }
    }
  }

  private Runnable optimizerStep(Call c) {
    Bench bench = c.world.bench(c);
    DataType type = c.pick(DataType.F32, DataType.F64);
    Supplier<VectorKernels> kernel = vectors(c, bench);
    int n = c.pick(1, 33, 5000);
    Tensor weights = c.tensor("weights", bench, type, n);
    Tensor gradient = c.tensor("gradient", bench, type, n);
    Tensor first = c.tensor("velocity", bench, type, n);
    double rate = c.real("rate", 0.1);
    double decay = c.real("weight decay", 1e-4);
    double scale = c.real("gradient scale", 1);
    if (c.coin()) {
      SgdStep step =
          c.present(
              "step",
              new SgdStep()
                  .rate(rate)
                  .weightDecay(decay)
                  .gradientScale(scale)
                  .momentum(c.real("momentum", 0.9))
                  .nesterov(c.flag("nesterov", true)));
      return () -> kernel.get().sgd(step, weights, gradient, first);
    }
    Tensor second = c.tensor("v", bench, type, n);
    AdamStep step =
        c.present(
            "step",
            new AdamStep()
                .rate(rate)
                .weightDecay(decay)
                .gradientScale(scale)
                .beta1(c.real("beta1", 0.9))
                .beta2(c.real("beta2", 0.999))
                .epsilon(c.real("epsilon", 1e-8))
                .decoupled(c.flag("decoupled", true))
                .step(c.offset("step", 1)));
    return () -> kernel.get().adam(step, weights, gradient, first, second);
  }

  private Runnable lbfgsb(Call c) {
    Bench bench = c.world.bench(c);
    int n = c.pick(1, 17, 1000, 40_000);
    long elements = c.offset("elements", n);
    int memory = c.count("memory", c.draw(1, 6));
    double scale = c.real("initial scale", 1);
    double pgtol = c.real("pgtol", 0);
    double factr = c.real("factr", 0);
    int evaluations = c.count("line search", 20);
    double value = c.real("value", 1);
    Tensor x = c.tensor("x", bench, DataType.F64, n);
    Tensor lower = c.tensor("lower", bench, DataType.F64, n);
    Tensor upper = c.tensor("upper", bench, DataType.F64, n);
    Tensor gradient = c.tensor("gradient", bench, DataType.F64, n);
    boolean onLanes = c.coin();
    return () -> {
      LbfgsbSpec spec = new LbfgsbSpec(memory, scale, pgtol, factr, evaluations);
      try (Lbfgsb made = bench.device.lbfgsb(onLanes ? bench.lanes : null, elements, spec);
          VectorKernels vectors = bench.device.vectors(null)) {
        vectors.fill(-2, lower);
        vectors.fill(2, upper);
        made.start(x, lower, upper);
        for (int i = 0; i < 6 && !made.advance(value - i, gradient, x).isEnd(); i++) {
          vectors.axpy(-0.5 * i, gradient, gradient);
        }
        made.best(x);
        made.reason();
      }
    };
  }

  private static Segments segments(Bench bench, long... layers) {
    Segments made = bench.device.segments();
    try {
      for (long elements : layers) {
        made.add(elements, elements != 3);
      }
      return made;
    } catch (RuntimeException e) {
      made.close();
      throw e;
    }
  }

  private Runnable layerWiseStep(Call c) {
    Bench bench = c.world.bench(c);
    DataType type = c.pick(DataType.F32, DataType.F64);
    Supplier<VectorKernels> kernel = vectors(c, bench);
    int n = c.pick(5, 1000, 70_000);
    Tensor weights = c.tensor("weights", bench, type, n);
    Tensor gradient = c.tensor("gradient", bench, type, n);
    Tensor first = c.tensor("velocity", bench, type, n);
    double rate = c.real("rate", 0.1);
    double decay = c.real("weight decay", 1e-4);
    double scale = c.real("gradient scale", 1);
    long added = c.offset("elements of a layer", n - 4);
    Supplier<Segments> segments =
        c.object(
            "segments",
            true,
            () -> c.own(segments(bench, 3, added, 1)),
            () -> segments(bench, 3, n - 4, 1),
            world -> world.other(bench).kernel(n, () -> segments(world.other(bench), n)));
    if (c.coin()) {
      LarsStep step =
          c.present(
              "step",
              new LarsStep()
                  .rate(rate)
                  .weightDecay(decay)
                  .gradientScale(scale)
                  .trust(c.real("trust", 1e-3))
                  .momentum(c.real("momentum", 0.9))
                  .nesterov(c.flag("nesterov", true)));
      return () -> kernel.get().lars(step, segments.get(), weights, gradient, first);
    }
    Tensor second = c.tensor("v", bench, type, n);
    LambStep step =
        c.present(
            "step",
            new LambStep()
                .rate(rate)
                .weightDecay(decay)
                .gradientScale(scale)
                .beta1(c.real("beta1", 0.9))
                .beta2(c.real("beta2", 0.999))
                .epsilon(c.real("epsilon", 1e-6))
                .step(c.offset("step", 1)));
    return () -> kernel.get().lamb(step, segments.get(), weights, gradient, first, second);
  }

  private Runnable signMatrix(Call c) {
    Bench bench = c.world.bench(c);
    int n = c.pick(1, 65, 1000, 65_537);
    int p = c.pick(1, 8, 100, 129);
    long rows = c.offset("rows", n);
    int columns = c.size("columns", p);
    Supplier<SignMatrix> kernel =
        kernel(
            c,
            bench,
            () -> List.of("sign matrix", rows, columns),
            () -> bench.device.signMatrix(rows, columns, 1));
    Supplier<Lanes> lanes =
        c.object(
            "lanes",
            true,
            () -> bench.lanes,
            () -> bench.device.lanes(1),
            world -> world.other(bench).lanes);
    double[] y = c.option("y", new double[p], new double[0], new double[p + 1]);
    Tensor x = c.tensor("x", bench, DataType.F64, n);
    if (c.coin()) {
      return () -> kernel.get().multiplyTransposed(lanes.get(), x, y);
    }
    boolean gram = c.coin();
    return () -> {
      SignMatrix made = kernel.get();
      made.multiply(lanes.get(), y, x); // refuses changed rows, on which gram would take days
      if (gram) {
        made.gram(lanes.get());
      }
    };
  }

  /**
   * conv -> norm + ReLU -> conv -> norm + residual + ReLU -> max pool -> dropout -> linear, on a
   * device.
   */
  private static NetworkPlan plan(Device device) {
    NetworkPlan plan = device.networkPlan(HEIGHT, WIDTH, CHANNELS);
    int x =
        plan.convolution(
            "stem", 0, ConvolutionSpec.of(1, HEIGHT, WIDTH, CHANNELS, 6, 3).withPadding(1), 0, -1);
    GhostBatchNormSpec norm = GhostBatchNormSpec.of(1, HEIGHT, WIDTH, 6).withRelu(true);
    x = plan.ghostBatchNorm("norm1", x, -1, norm, 162, 168, 0);
    int y =
        plan.convolution(
            "conv", x, ConvolutionSpec.of(1, HEIGHT, WIDTH, 6, 6, 3).withPadding(1), 174, -1);
    y = plan.ghostBatchNorm("norm2", y, x, norm.withResidual(true), 498, 504, 12);
    y = plan.pool("pool", y, PoolSpec.of(PoolKind.MAX, 1, HEIGHT, WIDTH, 6, 2));
    y = plan.dropout("dropout", y, 0.25);
    plan.linear("head", y, LinearSpec.of(1, 96, CLASSES), 510, 990);
    return plan;
  }

  private Runnable networkPlan(Call c) {
    Bench bench = c.world.bench(c);
    DataType type = bench.type(c);
    int height = c.size("height", HEIGHT);
    int width = c.size("width", WIDTH);
    int channels = c.size("channels", CHANNELS);
    int specHeight = c.size("spec height", HEIGHT);
    int filters = c.size("filters", 4);
    int convSrc = c.count("conv src", 0);
    long weights = c.offset("weights offset", 0);
    long bias = c.offset("bias offset", 108);
    String name = c.option("name", "conv", "", "x".repeat(3000), "\u0000\uffff");
    int normSrc = c.count("norm src", 1);
    int residual = c.count("residual", 1);
    double epsilon = c.real("epsilon", 1e-5);
    long gamma = c.offset("gamma offset", 112);
    long beta = c.offset("beta offset", 116);
    long statistics = c.offset("statistics offset", 0);
    int a = c.count("a", 1);
    int b = c.count("b", 2);
    int poolSrc = c.count("pool src", 3);
    int window = c.size("window", 2);
    double rate = c.real("rate", 0.5);
    int dropSrc = c.count("dropout src", 4);
    int in = c.size("in", 64);
    int out = c.size("out", CLASSES);
    int reluSrc = c.count("relu src", 5);
    int linearSrc = c.count("linear src", 6);
    long head = c.offset("head offset", 120);
    ConvolutionSpec conv =
        c.present(
            "spec",
            ConvolutionSpec.of(1, HEIGHT, WIDTH, CHANNELS, 4, 3).withPadding(1).withBias(true));
    int ghost = c.pick(0, 3, 20);
    boolean ghostPerLane = c.coin();
    return () -> {
      try (NetworkPlan plan = bench.device.networkPlan(height, width, channels)) {
        ConvolutionSpec spec =
            conv == null || (filters == 4 && specHeight == HEIGHT)
                ? conv
                : ConvolutionSpec.of(1, specHeight, WIDTH, CHANNELS, filters, 3)
                    .withPadding(1)
                    .withBias(true);
        plan.convolution(name, convSrc, spec, weights, bias);
        GhostBatchNormSpec norm =
            GhostBatchNormSpec.of(1, HEIGHT, WIDTH, 4)
                .withRelu(true)
                .withResidual(true)
                .withEpsilon(epsilon);
        plan.ghostBatchNorm("norm", normSrc, residual, norm, gamma, beta, statistics);
        plan.add("add", a, b, true);
        plan.pool("pool", poolSrc, PoolSpec.of(PoolKind.MAX, 1, HEIGHT, WIDTH, 4, window));
        plan.dropout("dropout", dropSrc, rate);
        plan.relu("relu", reluSrc);
        plan.linear("head", linearSrc, LinearSpec.of(1, in, out), head, head + 64 * CLASSES);
        EngineSpec engine =
            new EngineSpec(
                type, 8, ghost, ghostPerLane, true, false, LoadSpec.of(HEIGHT, WIDTH, CHANNELS));
        bench.device.predictBytes(2, plan, engine);
        try (Engine made = bench.device.engine(bench.lanes, plan, engine)) {
          made.step(
              samples(bench, DataType.F32),
              range(20),
              20,
              null,
              new StepSpec().ghost(ghost),
              null,
              null,
              new LossResult());
        }
      }
    };
  }

  private Runnable engineSpec(Call c) {
    Bench bench = c.world.bench(c);
    DataType type = bench.type(c);
    int validGhost = c.pick(0, 4, 20);
    DataType wanted = c.option("type", type, TYPES);
    int microBatch = c.size("micro-batch", 8);
    int ghost = c.size("ghost", validGhost);
    boolean ghostPerLane = c.coin();
    boolean backward = c.flag("backward", true);
    boolean inputGradient = c.flag("input gradient", false);
    Supplier<LoadSpec> load = loadSpec(c, Augmentation.NONE, type);
    Supplier<Lanes> lanes =
        c.object(
            "lanes",
            true,
            () -> bench.lanes,
            () -> bench.device.lanes(1),
            world -> world.other(bench).lanes);
    Supplier<NetworkPlan> shared = () -> bench.kernel("plan", () -> plan(bench.device));
    Supplier<NetworkPlan> network =
        c.object(
            "network",
            true,
            shared,
            () -> plan(bench.device),
            world -> world.other(bench).kernel("plan", () -> plan(world.other(bench).device)));
    int threads = c.count("threads", 2);
    return () -> {
      EngineSpec spec =
          new EngineSpec(
              wanted, microBatch, ghost, ghostPerLane, backward, inputGradient, load.get());
      bench.device.predictBytes(threads, shared.get(), spec);
      try (Engine made = bench.device.engine(lanes.get(), network.get(), spec)) {
        made.step(
            samples(bench, DataType.U8),
            range(24),
            24,
            null,
            new StepSpec().ghost(validGhost).backward(backward),
            null,
            null,
            new LossResult());
      }
    };
  }

  private static int[] range(int count) {
    int[] all = new int[count];
    for (int i = 0; i < count; i++) {
      all[i] = i;
    }
    return all;
  }

  private record EngineKey(DataType type, int ghost, boolean backward) {}

  private static Engine engine(Bench bench, EngineKey key) {
    return bench.device.engine(
        bench.lanes,
        bench.kernel("plan", () -> plan(bench.device)),
        new EngineSpec(
            key.type,
            8,
            key.ghost,
            true,
            key.backward,
            key.backward,
            LoadSpec.of(HEIGHT, WIDTH, CHANNELS).withAugmentation(Augmentation.CROP_FLIP)));
  }

  private Runnable engineStep(Call c) {
    Bench bench = c.world.bench(c);
    EngineKey key = new EngineKey(bench.type(c), c.pick(0, 3, 20), c.draw(0, 3) > 0);
    Supplier<Engine> engine =
        c.object(
            "engine",
            false,
            () -> bench.kernel(key, () -> engine(bench, key)),
            () -> engine(bench, key),
            null);
    Supplier<Samples> from = givenSamples(c, bench, c.pick(DataType.U8, DataType.F32));
    int n = c.pick(8, 19, 40);
    int[] valid = new int[n];
    for (int i = 0; i < n; i++) {
      valid[i] = c.draw(0, SAMPLES - 1);
    }
    int[] indices = c.ints("indices", valid, SAMPLES);
    int batch = c.count("batch", n);
    float[] weights = c.floats("weights", c.coin() ? new float[n] : null);
    float[] logits = c.floats("logits", c.coin() ? new float[n * CLASSES] : null);
    boolean gradient = key.backward && c.coin();
    float[] inputGradient =
        c.floats("input gradient", gradient ? new float[n * HEIGHT * WIDTH * CHANNELS] : null);
    NormMode validMode =
        key.ghost == 0 ? c.pick(NormMode.RUNNING, NormMode.TRAIN) : c.pick(NormMode.values());
    NormMode mode = c.option("mode", validMode, NormMode.values());
    RunningStatistics policy = c.pick(RunningStatistics.values());
    RunningStatistics wanted = c.option("running statistics", policy, RunningStatistics.values());
    double momentum = c.real("momentum", 0.1);
    int ghost = c.count("ghost", key.ghost == 0 ? 8 : key.ghost);
    boolean backward = c.flag("backward", key.backward);
    boolean dropout = c.flag("dropout", true);
    boolean augment = c.flag("augment", true);
    double smoothing = c.real("label smoothing", 0.1);
    long seed = c.offset("seed", 1);
    long step = c.offset("step", 1);
    int firstRow = c.count("first row", 0);
    long epoch = c.offset("epoch", 1);
    Adversary validAdversary = gradient ? c.pick(Adversary.NONE, Adversary.RECORD) : Adversary.NONE;
    Adversary adversary = c.option("adversary", validAdversary, Adversary.values());
    double epsilon = c.real("epsilon", 0.1);
    StepSpec spec = c.present("step", new StepSpec());
    LossResult result = c.present("result", new LossResult());
    int operation = c.count("operation", 2);
    int calls = c.count("calls", 100);
    int what = c.draw(0, 9);
    return () -> {
      Engine made = engine.get();
      if (what == 0) {
        made.implementation(operation);
      } else if (what == 1) {
        made.profile(true);
        made.trace(calls);
      }
      if (spec != null) {
        spec.mode(mode)
            .runningStatistics(wanted)
            .momentum(momentum)
            .ghost(ghost)
            .backward(backward)
            .dropout(dropout)
            .augment(augment)
            .labelSmoothing(smoothing)
            .seed(seed)
            .step(step)
            .firstRow(firstRow)
            .epoch(epoch)
            .adversary(adversary)
            .adversaryEpsilon(epsilon);
      }
      made.step(from.get(), indices, batch, weights, spec, logits, inputGradient, result);
      if (what == 1) {
        made.profile();
        made.trace();
        made.traced();
        made.profile(false);
        made.poison();
        made.parametersChanged();
      }
    };
  }

  private Runnable lanes(Call c) {
    Bench bench = c.world.bench(c);
    int threads = c.count("threads", 2);
    String name = c.option("device", "cpu", "", "gpu", "cuda", "cuda:99999", "reference\n", "auto");
    return () -> {
      try (Lanes made = bench.device.lanes(threads);
          VectorKernels vectors = bench.device.vectors(made)) {
        vectors.fill(1, bench.tensor(DataType.F32, 1000, 0));
      }
      Device.of(name, threads).close();
    };
  }

  private Runnable device(Call c) {
    Bench bench = c.world.bench(c);
    Supplier<Device> device =
        c.object(
            "device", false, () -> bench.device, () -> Device.of(bench.device.name(), 1), null);
    DataType type = c.option("type", DataType.F32, TYPES);
    int threads = c.count("threads", 1);
    long elements = c.offset("elements", 100);
    int size = c.size("size", 4);
    return () -> {
      Device made = device.get();
      made.supports(type);
      made.availableBytes();
      try (Lanes lanes = made.lanes(threads);
          VectorKernels vectors = made.vectors(lanes);
          Tensor x = made.tensor(type, elements);
          Tensor y = made.tensor(type, elements);
          Gemm gemm = made.gemm(GemmSpec.of(size, 2, 2))) {
        for (int i = 0; i < 20; i++) {
          vectors.axpy(0.5, x, y);
        }
        gemm.spec();
      }
    };
  }

  private static Dataset data() {
    byte[] bytes = new byte[40 * HEIGHT * WIDTH * CHANNELS];
    int[] labels = new int[40];
    for (int i = 0; i < bytes.length; i++) {
      bytes[i] = (byte) (i * 31);
    }
    for (int i = 0; i < labels.length; i++) {
      labels[i] = i % CLASSES;
    }
    return Dataset.of(bytes, new SampleShape(HEIGHT, WIDTH, CHANNELS), labels);
  }

  private static Sequential model() {
    return Sequential.of(
        Conv2d.of(4, 3).padding(1).bias(false),
        BatchNorm.of(),
        ReLU.of(),
        GlobalAvgPool.of(),
        org.ghostbatch.nn.Linear.of(CLASSES));
  }

  private static Trainer trainer(Bench bench) {
    Trainer made =
        Trainer.of(model())
            .batchSize(40)
            .ghostBatchSize(8)
            .learningRate(0.01)
            .updates(10)
            .threads(2)
            .on(bench.device);
    made.prepare(data());
    return made;
  }

  private Runnable layers(Call c) {
    Bench bench = c.world.bench(c);
    int filters = c.size("filters", 4);
    int kernel = c.size("kernel", 3);
    int stride = c.size("stride", 1);
    int padding = c.size("padding", 1);
    int dilation = c.size("dilation", 1);
    int groups = c.size("groups", 1);
    boolean bias = c.flag("bias", false);
    Initializer init = c.option("init", Initializer.HE, Initializer.values());
    double epsilon = c.real("epsilon", 1e-5);
    double rate = c.real("rate", 0.2);
    int maxKernel = c.size("max kernel", 2);
    int maxStride = c.size("max stride", 2);
    int maxPadding = c.size("max padding", 0);
    Border border = c.option("border", Border.FLOOR, Border.values());
    int meanKernel = c.size("mean kernel", 2);
    int meanStride = c.size("mean stride", 2);
    int meanPadding = c.size("mean padding", 0);
    int out = c.size("out", CLASSES);
    Sequential inner = c.present("body", Sequential.of(Conv2d.of(4, 3).padding(1), BatchNorm.of()));
    Sequential shortcut = c.present("shortcut", Sequential.of());
    Flatten flatten = c.present("flatten", Flatten.of());
    int batch = c.count("batch", 20);
    int ghost = c.count("ghost", 5);
    return () -> {
      Sequential all =
          Sequential.of(
              new Conv2d(filters, kernel, stride, padding, dilation, groups, bias, init),
              new BatchNorm(epsilon),
              ReLU.of(),
              new Residual(inner, shortcut),
              new MaxPool2d(maxKernel, maxStride, maxPadding, border),
              new Dropout(rate),
              new AvgPool2d(meanKernel, meanStride, meanPadding),
              flatten,
              new org.ghostbatch.nn.Linear(out, true, init));
      try (Trainer trainer =
          Trainer.of(all)
              .batchSize(batch)
              .ghostBatchSize(ghost)
              .updates(1)
              .threads(1)
              .on(bench.device)) {
        trainer.prepare(data());
        trainer.step(samples(bench, DataType.U8), range(20), 20, null, 0.1, 0);
        trainer.model();
      }
    };
  }

  private Runnable trainingSpec(Call c) {
    Bench bench = c.world.bench(c);
    String model = c.option("model", "softmax", "lenet", "", "nothing");
    int classes = c.count("classes", CLASSES);
    int trainSamples = c.count("train samples", 0);
    Optimizer optimizer =
        c.option("optimizer", Sgd.withMomentum(0.9), Sgd.of(), Adam.of(), Lamb.of());
    Schedule schedule = c.present("schedule", new Schedule.Constant(0.1));
    int batch = c.count("batch", 20);
    int ghost = c.count("ghost", 5);
    RunningStatistics policy =
        c.option("running statistics", RunningStatistics.TOTAL, RunningStatistics.values());
    long updates = c.offset("updates", 3);
    double clip = c.real("clip", 5);
    double noise = c.real("noise", 0.1);
    double sam = c.real("sam", 0);
    double asam = c.real("asam", 0);
    int group = c.count("sam group", 0);
    double proximal = c.real("proximal", 0);
    int steps = c.count("proximal steps", 3);
    double adversarial = c.real("adversarial", 0);
    Augmentation augmentation = c.option("augmentation", Augmentation.NONE, Augmentation.values());
    double smoothing = c.real("label smoothing", 0.1);
    String backend = c.option("backend", "cpu", "cuda", "", "gpu");
    DataType precision = c.option("precision", DataType.F32, TYPES);
    int threads = c.count("threads", 1);
    int microBatch = c.count("micro-batch", 0);
    long seed = c.offset("seed", 1);
    double warmup = c.real("warm-up", 0);
    return () -> {
      TrainingSpec spec =
          TrainingSpec.builder()
              .model(model)
              .trainSamples(trainSamples)
              .optimizer(optimizer)
              .schedule(schedule)
              .warmupEpochs(warmup)
              .batch(BatchSchedule.constant(batch))
              .ghost(ghost)
              .runningStatistics(policy)
              .updates(updates)
              .clipGradientNorm(clip)
              .gradientNoise(noise)
              .sam(sam)
              .asam(asam)
              .samGroup(group)
              .proximal(proximal)
              .proximalSteps(steps)
              .adversarial(adversarial)
              .augmentation(augmentation)
              .labelSmoothing(smoothing)
              .backend(backend)
              .precision(precision)
              .threads(threads)
              .microBatch(microBatch)
              .seed(seed)
              .build();
      try (Trainer trainer = Trainer.of(spec, classes).on(bench.device)) {
        trainer.prepare(data());
        trainer.step(
            samples(bench, DataType.U8), range(20), 20, null, trainer.learningRate(0, 0), 0);
      }
    };
  }

  private Runnable trainerStep(Call c) {
    Bench bench = c.world.bench(c);
    Supplier<Trainer> trainer =
        c.object(
            "trainer",
            false,
            () -> bench.kernel("trainer", () -> trainer(bench)),
            () -> trainer(bench),
            null);
    Supplier<Samples> from = givenSamples(c, bench, c.pick(DataType.U8, DataType.F32));
    int n = c.draw(8, 40);
    int[] rows = c.ints("rows", range(n), SAMPLES);
    int count = c.count("count", n);
    float[] weights = c.floats("weights", c.coin() ? new float[n] : null);
    double rate = c.real("learning rate", 0.01);
    long epoch = c.offset("epoch", 1);
    Dataset data = c.present("data", data());
    boolean evaluate = c.draw(0, 3) == 0;
    return () -> {
      trainer.get().step(from.get(), rows, count, weights, rate, epoch);
      if (evaluate) {
        trainer.get().evaluate(data);
      }
    };
  }

  private static Predictor predictor(Bench bench) {
    try (Trainer trainer = trainer(bench)) {
      return Predictor.of(trainer.model(), bench.device, 2);
    }
  }

  private Runnable predictor(Call c) {
    Bench bench = c.world.bench(c);
    Supplier<Predictor> predictor =
        c.object(
            "predictor",
            false,
            () -> bench.kernel("predictor", () -> predictor(bench)),
            () -> predictor(bench),
            null);
    int values = HEIGHT * WIDTH * CHANNELS;
    if (c.coin()) {
      float[] image = c.floats("image", new float[values]);
      float[][] images = c.present("images", new float[][] {new float[values], image, image});
      return () -> predictor.get().predict(images);
    }
    byte[] image = c.bytes("image", new byte[values]);
    Dataset data = c.present("data", data());
    int k = c.count("k", 2);
    boolean metrics = c.coin();
    return () -> {
      predictor.get().predict(image);
      if (metrics) {
        predictor.get().metrics(data, k);
      }
    };
  }

  private Runnable modelFile(Call c) {
    Bench bench = c.world.bench(c);
    byte[] content = c.file("file", modelFile, modelHeader);
    return () -> {
      Path file = folder.resolve(Thread.currentThread().getName() + ".safetensors");
      try {
        Files.write(file, content);
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
      try (Predictor made = Predictor.of(ModelFile.read(file), bench.device, 1)) {
        made.predict(new float[made.inputShape().elements()]);
      }
    };
  }

  /**
   * A kernel: shared where its spec is as drawn, made for this call where the spec or the kernel's
   * life is changed.
   */
  private static <T extends AutoCloseable> Supplier<T> kernel(
      Call c, Bench bench, Supplier<Object> key, Supplier<T> make) {
    Supplier<T> shared = () -> c.specChanged() ? c.own(make.get()) : bench.kernel(key.get(), make);
    return c.object("kernel", false, shared, make, (Function<World, T>) null);
  }
}
