package org.ghostbatch.analysis;

import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import org.ghostbatch.analysis.NetworkLossSpec.Norm;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Engine;
import org.ghostbatch.device.EngineSpec;
import org.ghostbatch.device.Lanes;
import org.ghostbatch.device.LoadSpec;
import org.ghostbatch.device.LossResult;
import org.ghostbatch.device.NetworkPlan;
import org.ghostbatch.device.NormMode;
import org.ghostbatch.device.Samples;
import org.ghostbatch.device.StepSpec;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.device.VectorKernels;
import org.ghostbatch.nn.MicroBatch;
import org.ghostbatch.nn.ModelFile;
import org.ghostbatch.nn.Network;
import org.ghostbatch.random.Shuffle;
import org.ghostbatch.train.BatchNormStatistics;
import org.ghostbatch.train.Evaluation;
import org.ghostbatch.train.SampleCopy;

/**
 * The loss of a trained network on a data set as a function of all its parameters: f(x) = mean
 * cross-entropy, x in R^n, without weight decay, augmentation, dropout and label smoothing.
 *
 * <p>Points and gradients are f64 tensors in memory of the host: of the device, or, where its
 * memory is a GPU's, of a CPU device that belongs to this loss. The network sees a point in its own
 * precision: f32, or f64 on the reference backend. Losses and gradients of pieces of about 4,096
 * samples, always the same ones in the same order, are summed in double. Same point, same bits, on
 * any number of threads. The samples lie in native memory. Not thread-safe.
 */
public final class NetworkLoss implements Objective, AutoCloseable {
  private static final String KIND = "loss";

  /** Samples of a piece: a constant, as results must not follow the machine. */
  private static final int PIECE = 4096;

  private final Device device;
  private final ModelFile model;
  private final NetworkLossSpec spec;
  private final int ghost;
  private final int[] rows;
  private final int[] piece;
  private final int pieces;
  private final StepSpec step = new StepSpec().augment(false).dropout(false);
  private final LossResult result = new LossResult();
  private final Deque<Runnable> closing = new ArrayDeque<>();
  private Device home; // of points
  private Lanes lanes;
  private VectorKernels vectors;
  private VectorKernels engineVectors; // the same, where points lie where the engine is
  private Engine engine;
  // Where they do not: a gradient on its way to the host, and what travels.
  private Tensor sum;
  private double[] travelling;
  private Samples samples;
  private Tensor start;
  private long passes;

  private NetworkLoss(Device device, ModelFile model, int count, NetworkLossSpec spec) {
    this.device = device;
    this.model = model;
    this.spec = spec;
    this.ghost = model.network().hasBatchNorm() ? spec.ghost() : 0;
    boolean running = spec.norm() == Norm.RUNNING;
    step.mode(running ? NormMode.RUNNING : NormMode.BATCH_STATISTICS_WITHOUT_UPDATE).ghost(ghost);
    int largest = running || ghost == 0 ? PIECE : Math.max(1, PIECE / ghost) * ghost;
    // Samples of one class may lie side by side: a part of the data, and ghosts, need an order.
    int used = spec.samples() == 0 ? count : spec.samples();
    rows = Arrays.copyOf(Shuffle.permutation(count, spec.seed(), 0), used);
    pieces = (int) ((used + (long) largest - 1) / largest);
    piece = new int[(used + pieces - 1) / pieces];
  }

  /**
   * The loss of a model on a data set, normalized as the model was trained.
   *
   * @throws IllegalArgumentException where the data does not fit the network
   * @throws org.ghostbatch.device.NativeException where memory is short
   */
  public static NetworkLoss of(Device device, ModelFile model, Dataset data, NetworkLossSpec spec) {
    Check.present(KIND, "a device", device);
    Network network = Check.present(KIND, "a model", model).network();
    Check.present(KIND, "data", data);
    Check.present(KIND, "a spec", spec);
    if (!data.shape().equals(network.inputShape()) || data.classes() > network.classes()) {
      throw Check.bad(
          KIND,
          "samples of " + network.inputShape() + " and at most " + network.classes() + " classes",
          data.shape() + " and " + data.classes());
    }
    if (spec.samples() > data.count()) {
      throw Check.bad(KIND, "at most the " + data.count() + " samples of its data", spec.samples());
    }
    NetworkLoss made = new NetworkLoss(device, model, data.count(), spec);
    try {
      made.prepare(data);
      return made;
    } catch (RuntimeException e) {
      made.close();
      throw e;
    }
  }

  private void prepare(Dataset data) {
    Network network = model.network();
    int threads = spec.threads() == 0 ? device.threads() : spec.threads();
    home = device;
    if (!device.hostMemory()) {
      home = Device.of("cpu", threads);
      closing.push(home::close);
    }
    lanes = home.lanes(threads);
    closing.push(lanes::close);
    vectors = home.vectors(lanes);
    closing.push(vectors::close);
    Lanes engineLanes = lanes;
    engineVectors = vectors;
    if (home != device) {
      engineLanes = device.lanes(1);
      closing.push(engineLanes::close);
      engineVectors = device.vectors(engineLanes);
      closing.push(engineVectors::close);
      sum = device.tensor(DataType.F64, dimension());
      closing.push(sum::close);
      travelling = new double[Math.toIntExact(dimension())];
    }
    NetworkPlan plan = network.compile(device);
    closing.push(plan::close);
    LoadSpec load =
        LoadSpec.of(data.shape().height(), data.shape().width(), data.shape().channels());
    engine =
        device.engine(
            engineLanes,
            plan,
            new EngineSpec(
                device.supports(DataType.F64) ? DataType.F64 : DataType.F32,
                MicroBatch.on(device).of(network, ghost, piece.length),
                ghost,
                MicroBatch.on(device).ghostPerLane(network, ghost),
                true,
                false,
                model.normalization().of(load)));
    closing.push(engine::close);
    if (engine.statistics() != null) {
      engine.statistics().copyFrom(model.statistics());
    }
    samples = SampleCopy.room(device, data, rows.length);
    closing.push(samples::close);
    new SampleCopy(data).copy(rows, 0, rows.length, samples);
    for (int i = 0; i < rows.length; i++) {
      rows[i] = i; // where they lie now
    }
    start = vector();
    closing.push(start::close);
    start.copyFrom(model.parameters());
  }

  @Override
  public long dimension() {
    return model.network().parameterCount();
  }

  @Override
  public Tensor start() {
    return start;
  }

  @Override
  public DataType precision() {
    return engine.spec().type();
  }

  /** What this is the loss of. */
  public ModelFile model() {
    return model;
  }

  /** Samples that the loss is the mean of. */
  public int samples() {
    return rows.length;
  }

  /** Where batch norm has its statistics from. */
  public Norm norm() {
    return spec.norm();
  }

  @Override
  public Device device() {
    return home;
  }

  @Override
  public Lanes lanes() {
    return lanes;
  }

  @Override
  public VectorKernels vectors() {
    return vectors;
  }

  @Override
  public long gradients() {
    return passes;
  }

  @Override
  public double value(Tensor x) {
    return evaluate(x).loss();
  }

  /** Loss and accuracy at x. Costs a pass forward. */
  public Evaluation evaluate(Tensor x) {
    moveTo(x);
    step.backward(false);
    double loss = 0;
    long correct = 0;
    for (int i = 0; i < pieces; i++) {
      run(i);
      loss += result.loss();
      correct += result.correct();
    }
    return new Evaluation(loss / rows.length, (double) correct / rows.length, rows.length);
  }

  @Override
  public double gradient(Tensor x, Tensor gradient) {
    moveTo(x);
    step.backward(true);
    passes++;
    Tensor total = sum == null ? gradient : sum;
    engineVectors.fill(0, total);
    double loss = 0;
    for (int i = 0; i < pieces; i++) {
      int count = run(i);
      engineVectors.axpy((double) count / rows.length, engine.gradients(), total);
      loss += result.loss();
    }
    if (total != gradient) {
      total.copyTo(0, travelling);
      gradient.copyFrom(travelling);
    }
    return loss / rows.length;
  }

  /** The samples of piece i; pieces are as even as can be. */
  private int run(int i) {
    int from = (int) ((long) i * rows.length / pieces);
    int count = (int) ((i + 1L) * rows.length / pieces) - from;
    System.arraycopy(rows, from, piece, 0, count);
    engine.step(samples, piece, count, null, step, null, null, result);
    return count;
  }

  private void moveTo(Tensor x) {
    Check.present(KIND, "a point", x);
    if (sum == null) {
      vectors.copy(x, engine.parameters());
    } else {
      x.copyTo(0, travelling);
      engine.parameters().copyFrom(travelling);
    }
    engine.parametersChanged();
  }

  /**
   * Makes the running statistics those of the network at x: the mean over the ghosts of {@code
   * train}. Costs a pass forward. Nothing happens without batch norm, and where the spec has no
   * ghost.
   *
   * @see BatchNormStatistics#recompute
   */
  public void recomputeStatistics(Tensor x, Dataset train) {
    Check.present(KIND, "training data", train);
    if (ghost > 0) {
      moveTo(x);
      BatchNormStatistics.recompute(device, engine, engineVectors, train, ghost, spec.seed());
    }
  }

  /**
   * The same from the samples of this loss, which are not copied again: for many points. Where they
   * are the whole training data, the same bits.
   */
  public void recomputeStatistics(Tensor x) {
    if (ghost > 0) {
      moveTo(x);
      BatchNormStatistics.recompute(engine, engineVectors, samples, rows.length, ghost);
    }
  }

  /** Takes the running statistics of another loss of the same network. */
  public void takeStatistics(NetworkLoss other) {
    if (engine.statistics() != null) {
      engineVectors.copy(other.engine.statistics(), engine.statistics());
    }
  }

  /** Frees the memory; closing twice is silent. The device stays open. */
  @Override
  public void close() {
    while (!closing.isEmpty()) {
      closing.pop().run();
    }
  }
}
