package org.ghostbatch.train;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.ElementType;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Engine;
import org.ghostbatch.device.EngineSpec;
import org.ghostbatch.device.Lanes;
import org.ghostbatch.device.LoadSpec;
import org.ghostbatch.device.LossResult;
import org.ghostbatch.device.NativeObject;
import org.ghostbatch.device.NetworkPlan;
import org.ghostbatch.device.NormMode;
import org.ghostbatch.device.Samples;
import org.ghostbatch.device.StepSpec;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;
import org.ghostbatch.nn.InferenceForm;
import org.ghostbatch.nn.MicroBatch;
import org.ghostbatch.nn.ModelFile;

/**
 * A trained network that predicts: from a model file alone, batch norm folded, any number of
 * samples at once. Safe to use from several threads; their calls run one after another, each on all
 * of the predictor's threads.
 */
public final class Predictor implements AutoCloseable {
  /** From so many samples on, passes of many rows are faster than passes of one. */
  private static final int FEW = 16;

  /** Samples that lie in native memory at a time. */
  private static final int CHUNK = 1024;

  private final ModelFile model;
  private final InferenceForm form;
  private final Device device;
  private final List<Runtime> runtimes = new ArrayList<>();
  private final StepSpec step =
      new StepSpec().mode(NormMode.RUNNING).backward(false).dropout(false).augment(false);
  private final LossResult result = new LossResult();
  private Lanes lanes;
  private VectorKernels vectors;
  private NetworkPlan plan;
  private Tensor parameters;
  private Tensor statistics;
  private Runtime single;
  private Runtime many;
  private boolean closed;

  /** An engine for one micro-batch size, and room for samples of either type. */
  private final class Runtime {
    private final Engine engine;
    private final int capacity;
    private final int[] rows;
    private final int[] labels;
    private final float[] logits;
    private Samples bytes;
    private Samples floats;

    Runtime(int microBatch, int capacity) {
      this.capacity = capacity;
      SampleShape shape = model.network().inputShape();
      LoadSpec load =
          model.normalization().of(LoadSpec.of(shape.height(), shape.width(), shape.channels()));
      engine =
          device.engine(
              lanes,
              plan,
              new EngineSpec(model.precision(), microBatch, 0, false, false, false, load));
      runtimes.add(this);
      vectors.copy(parameters, engine.parameters());
      if (statistics != null) {
        vectors.copy(statistics, engine.statistics());
      }
      engine.parametersChanged();
      rows = new int[capacity];
      labels = new int[capacity];
      for (int i = 0; i < capacity; i++) {
        rows[i] = i;
      }
      logits = new float[Math.multiplyExact(capacity, classes())];
    }

    Samples room(DataType type) {
      Samples room = type == DataType.U8 ? bytes : floats;
      if (room == null) {
        SampleShape shape = model.network().inputShape();
        room =
            device.samples(
                type, capacity, shape.height(), shape.width(), shape.channels(), classes());
        room.writeLabels(0, capacity, labels);
        if (type == DataType.U8) {
          bytes = room;
        } else {
          floats = room;
        }
      }
      return room;
    }

    void close() {
      engine.close();
      if (bytes != null) {
        bytes.close();
      }
      if (floats != null) {
        floats.close();
      }
    }
  }

  private Predictor(ModelFile model, Device device) {
    this.model = model;
    this.device = device;
    this.form = model.network().inference();
  }

  private void prepare(int threads) {
    DataType type = model.precision().parameterType();
    lanes = device.lanes(threads);
    vectors = device.vectors(lanes);
    plan = form.compile(device);
    parameters = device.tensor(type, form.parameterCount());
    statistics = form.statisticsCount() == 0 ? null : device.tensor(type, form.statisticsCount());
    if (device.hostMemory()) {
      fold(device, vectors, parameters, statistics);
      return;
    }
    try (Device host = Device.of("cpu", 1);
        VectorKernels onHost = host.vectors(null);
        Tensor folded = host.tensor(type, parameters.elements());
        Tensor left = statistics == null ? null : host.tensor(type, statistics.elements())) {
      fold(host, onHost, folded, left);
      parameters.copyFrom(folded.toDoubles());
      if (left != null) {
        statistics.copyFrom(left.toDoubles());
      }
    }
  }

  /** The model's parameters in the form for inference, and the statistics that it still needs. */
  private void fold(Device host, VectorKernels kernels, Tensor parameters, Tensor statistics) {
    DataType type = model.precision().parameterType();
    try (Tensor from = host.tensor(type, model.parameters().length);
        Tensor running =
            model.statistics().length == 0 ? null : host.tensor(type, model.statistics().length)) {
      from.copyFrom(model.parameters());
      if (running != null) {
        running.copyFrom(model.statistics());
      }
      form.fold(kernels, from, running, parameters, statistics);
    }
  }

  /**
   * Loads a model on all threads of a device, which stays the caller's.
   *
   * @param path a model file, or the folder of a run
   * @throws IllegalArgumentException where the file is not a model that GhostBatch wrote
   */
  public static Predictor load(Path path, Device device) {
    return load(path, device, Check.present("predictor", "a device", device).threads());
  }

  /** As {@link #load(Path, Device)}, on so many threads. */
  public static Predictor load(Path path, Device device, int threads) {
    Check.present("predictor", "a path", path);
    Check.present("predictor", "a device", device);
    return of(
        ModelFile.read(Files.isDirectory(path) ? path.resolve(RunFolder.MODEL) : path),
        device,
        threads);
  }

  /** A predictor of a model at hand. */
  public static Predictor of(ModelFile model, Device device, int threads) {
    Check.present("predictor", "a model", model);
    Check.present("predictor", "a device", device);
    if (!device.supports(model.precision())) {
      throw Check.bad(
          "predictor",
          "a precision that " + device.name() + " supports",
          model.precision() + ": " + device.precisionNote(model.precision()));
    }
    Predictor made = new Predictor(model, device);
    try {
      made.prepare(threads);
    } catch (RuntimeException e) {
      made.close();
      throw e;
    }
    return made;
  }

  /** Shape of a sample. */
  public SampleShape inputShape() {
    return model.network().inputShape();
  }

  /** Names of the classes, by label. */
  public List<String> classNames() {
    return model.classNames();
  }

  /** Number of outputs. */
  public int classes() {
    return model.network().classes();
  }

  /** The class of one sample [H, W, C] of raw floats, in the units of the training data. */
  public Prediction predict(float[] image) {
    return predict(new float[][] {image}).get(0);
  }

  /** The class of one sample [H, W, C] of bytes 0..255. */
  public Prediction predict(byte[] image) {
    return predict(new byte[][] {image}).get(0);
  }

  /** The classes of samples [H, W, C] of raw floats, in their order. */
  public List<Prediction> predict(float[][] images) {
    Check.present("predictor", "images", images);
    for (float[] image : images) {
      length(Check.present("predictor", "an image", image).length);
    }
    return predictions(
        images.length,
        DataType.F32,
        (first, count, room) -> {
          for (int i = 0; i < count; i++) {
            room.write(i, 1, images[first + i]);
          }
        });
  }

  /** The classes of samples [H, W, C] of bytes 0..255, in their order. */
  public List<Prediction> predict(byte[][] images) {
    Check.present("predictor", "images", images);
    for (byte[] image : images) {
      length(Check.present("predictor", "an image", image).length);
    }
    return predictions(
        images.length,
        DataType.U8,
        (first, count, room) -> {
          for (int i = 0; i < count; i++) {
            room.write(i, 1, images[first + i]);
          }
        });
  }

  /** The classes of a data set's samples, in their order. */
  public List<Prediction> predict(Dataset data) {
    fits(data);
    return predictions(
        data.count(), data.type() == ElementType.U8 ? DataType.U8 : DataType.F32, reader(data));
  }

  /** Outputs before softmax of a data set's samples, [samples, classes]. */
  public float[] logits(Dataset data) {
    fits(data);
    float[] all = new float[Math.multiplyExact(data.count(), classes())];
    run(
        data.count(),
        data.type() == ElementType.U8 ? DataType.U8 : DataType.F32,
        reader(data),
        (first, count, logits) ->
            System.arraycopy(logits, 0, all, first * classes(), count * classes()));
    return all;
  }

  /** Mean cross-entropy and accuracy on a data set. */
  public Evaluation evaluate(Dataset data) {
    return evaluate(data, null);
  }

  /** The confusion matrix on a data set, and how often the label is among the k largest outputs. */
  public ClassificationMetrics metrics(Dataset data, int k) {
    ClassificationMetrics.Counter counter = new ClassificationMetrics.Counter(classes(), k);
    evaluate(data, counter);
    return counter.result();
  }

  /**
   * As {@link #evaluate(Dataset)}, and in the same pass counts what was taken for what.
   *
   * @param counter for {@link #classes} classes, or null
   */
  public synchronized Evaluation evaluate(Dataset data, ClassificationMetrics.Counter counter) {
    fits(data);
    double[] sums = new double[2];
    int[] labels = new int[CHUNK];
    run(
        data.count(),
        data.type() == ElementType.U8 ? DataType.U8 : DataType.F32,
        reader(data),
        (first, count, logits) -> {
          sums[0] += result.loss();
          sums[1] += result.correct();
          for (int i = 0; counter != null && i < count; i++) {
            labels[i] = data.label(first + i);
          }
          if (counter != null) {
            counter.add(labels, count, logits);
          }
        });
    return new Evaluation(sums[0] / data.count(), sums[1] / data.count(), data.count());
  }

  private interface Filler {
    void fill(int first, int count, Samples room);
  }

  private interface Receiver {
    void take(int first, int count, float[] logits);
  }

  private static Filler reader(Dataset data) {
    SampleCopy copy = new SampleCopy(data);
    int[] indices = new int[CHUNK];
    return (first, count, room) -> {
      for (int i = 0; i < count; i++) {
        indices[i] = first + i;
      }
      copy.copy(indices, 0, count, room);
    };
  }

  private List<Prediction> predictions(int count, DataType type, Filler filler) {
    List<Prediction> predictions = new ArrayList<>(count);
    run(
        count,
        type,
        filler,
        (first, rows, logits) -> {
          for (int i = 0; i < rows; i++) {
            predictions.add(Prediction.of(logits, i * classes(), classNames()));
          }
        });
    return predictions;
  }

  private synchronized void run(int count, DataType type, Filler filler, Receiver receiver) {
    if (closed) {
      throw new IllegalStateException("[predictor] needs an open predictor, but it is closed");
    }
    Runtime runtime = count < FEW ? single() : many();
    for (int first = 0; first < count; first += runtime.capacity) {
      int rows = Math.min(runtime.capacity, count - first);
      Samples room = runtime.room(type);
      filler.fill(first, rows, room);
      runtime.engine.step(room, runtime.rows, rows, null, step, runtime.logits, null, result);
      receiver.take(first, rows, runtime.logits);
    }
  }

  private Runtime single() {
    if (single == null) {
      single = new Runtime(1, FEW);
    }
    return single;
  }

  private Runtime many() {
    if (many == null) {
      many = new Runtime(MicroBatch.on(device).of(model.network(), 0, CHUNK), CHUNK);
    }
    return many;
  }

  private void fits(Dataset data) {
    Check.present("predictor", "data", data);
    if (!data.shape().equals(inputShape()) || data.classes() > classes()) {
      throw Check.bad(
          "predictor",
          "samples of " + inputShape() + " and at most " + classes() + " classes",
          data.shape() + " and " + data.classes());
    }
  }

  private void length(int values) {
    if (values != inputShape().elements()) {
      throw Check.bad(
          "predictor", "images of " + inputShape().elements() + " values, " + inputShape(), values);
    }
  }

  /** Frees the network's memory; closing twice is silent. The device stays open. */
  @Override
  public synchronized void close() {
    if (!closed) {
      closed = true;
      runtimes.forEach(Runtime::close);
      close(plan);
      close(parameters);
      close(statistics);
      close(vectors);
      close(lanes);
    }
  }

  private static void close(NativeObject part) {
    if (part != null) {
      part.close();
    }
  }

  private static void close(Tensor part) {
    if (part != null) {
      part.close();
    }
  }
}
