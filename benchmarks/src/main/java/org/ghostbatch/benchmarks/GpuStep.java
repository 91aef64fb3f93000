package org.ghostbatch.benchmarks;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.Engine;
import org.ghostbatch.device.EngineSpec;
import org.ghostbatch.device.Lanes;
import org.ghostbatch.device.LoadSpec;
import org.ghostbatch.device.LossResult;
import org.ghostbatch.device.NetworkPlan;
import org.ghostbatch.device.ProfileEntry;
import org.ghostbatch.device.ProfileEntry.Direction;
import org.ghostbatch.device.Samples;
import org.ghostbatch.device.StepSpec;
import org.ghostbatch.nn.MicroBatch;
import org.ghostbatch.nn.Network;
import org.ghostbatch.nn.Parameter;

/**
 * What one update of a network launches, moves and computes on the CUDA backend, on paper: u8
 * samples in device memory, SGD with momentum, a clipped gradient, sequential running statistics.
 *
 * <p>Which instructions a pass has, and which tensors each touches, the engine itself says: it runs
 * a few rows on the CPU, and what its profile lists is scaled to the micro-batch. What the CUDA
 * backend makes of an instruction is written down here, from native/cuda/engine.cpp and the heads
 * of the kernels' files.
 */
final class GpuStep {
  private static final int ROWS = 2; // of the micro-batches that run here
  private static final long RESULT_BYTES = 16;
  private static final long FLOAT = 4;

  /** What an entry is listed under. */
  enum Part {
    CONVOLUTION("convolutions"),
    LINEAR("linear layers"),
    NORM_FORWARD("batch norm, forward"),
    NORM_AGAIN("batch norm, computed again"),
    NORM_BACKWARD("batch norm, backward"),
    POOL("pooling"),
    ELEMENTWISE("sums, ReLU, dropout"),
    LOSS("loss"),
    LOADER("loader"),
    ZEROING("zeroing of unused rows"),
    COMMIT("gradient commits"),
    PACKING("packing of weights"),
    STATISTICS("running statistics"),
    CLIP("norm of the gradient"),
    OPTIMIZER("optimizer"),
    COPIES("state and results");

    final String text;

    Part(String text) {
      this.text = text;
    }
  }

  /**
   * Work of one call.
   *
   * @param what in words; entries of the same are one row
   * @param launches kernels, copies and fills that are enqueued
   * @param captured whether they are part of the pass, which is launched as one graph
   * @param bytes between a kernel and device memory
   */
  record Entry(
      Part part, String what, int launches, boolean captured, double bytes, double flops) {}

  /**
   * An instruction of a pass, of one micro-batch.
   *
   * @param again whether backward computes what forward has computed already
   * @param meets whether it makes sums of a micro-batch that those of the others meet
   */
  private record Call(ProfileEntry entry, boolean again, boolean meets) {
    /** Bytes of a row in f32, and of what else is kept of it. */
    double rowBytes() {
      return entry.bytes() / entry.calls() / ROWS;
    }

    double rowFlops() {
      return entry.flops() / entry.calls() / ROWS;
    }
  }

  /**
   * Micro-batches that are launched as one.
   *
   * @param ghosts whose statistics move the running ones
   */
  private record Unit(List<Integer> rows, int ghosts) {}

  private final Network network;
  private final Map<String, Parameter> parameters;
  private final int elementBytes;
  private final int batch;
  private final int ghost; // the largest, in rows
  private final int microBatch;
  private final boolean spans;
  private final boolean perLane;
  private final int room; // ghosts that a micro-batch may have
  private final GpuNorm.Limits limits;
  private final List<Unit> units = new ArrayList<>();
  private final List<Entry> entries = new ArrayList<>();

  private GpuStep(Network network, int batch, int ghost, DataType type, GpuNorm.Limits limits) {
    this.network = network;
    this.limits = limits;
    this.parameters =
        network.parameters().stream()
            .collect(Collectors.toMap(Parameter::name, Function.identity()));
    this.elementBytes = type.bytes();
    this.batch = batch;
    int asked = ghost >= batch ? 0 : ghost; // as TrainingPlan has it
    this.ghost = !network.hasBatchNorm() ? 0 : asked == 0 ? batch : asked;
    this.microBatch = MicroBatch.ON_GPU.of(network, asked, batch);
    this.perLane = MicroBatch.ON_GPU.ghostPerLane(network, asked);
    this.spans = this.ghost > 0 && divideUp(batch, divideUp(batch, this.ghost)) > microBatch;
    this.room =
        this.ghost == 0 || this.ghost > microBatch
            ? 1
            : Math.max(1, microBatch / Math.max(1, this.ghost / 2));
    cut();
  }

  /**
   * An update with a batch of {@code batch} rows.
   *
   * @param ghost V in rows; 0 for plain batch norm over the batch, or none
   * @param type of activations, f32 or bf16
   * @param limits of the GPU's blocks
   */
  static GpuStep of(Network network, int batch, int ghost, DataType type, GpuNorm.Limits limits) {
    GpuStep step = new GpuStep(network, batch, ghost, type, limits);
    step.enter(step.instructions());
    return step;
  }

  /** S. */
  int microBatch() {
    return microBatch;
  }

  int batch() {
    return batch;
  }

  /** Rows that kernels of NVIDIA's libraries compute: whole micro-batches. */
  long computedRows() {
    return (long) microBatch * units.stream().mapToInt(unit -> unit.rows.size()).sum();
  }

  /** All work of the update, in the order of its kinds. */
  List<Entry> entries() {
    return entries;
  }

  private void cut() {
    if (ghost == 0) {
      for (int first = 0; first < batch; first += microBatch) {
        units.add(new Unit(List.of(Math.min(microBatch, batch - first)), 0));
      }
      return;
    }
    int ghosts = divideUp(batch, ghost);
    int longer = batch % ghosts;
    int rows = batch / ghosts;
    if (spans) {
      for (int g = 0; g < ghosts; g++) {
        List<Integer> micros = new ArrayList<>();
        for (int left = rows + (g < longer ? 1 : 0); left > 0; left -= microBatch) {
          micros.add(Math.min(left, microBatch));
        }
        units.add(new Unit(micros, 1));
      }
      return;
    }
    int each = Math.min(room, microBatch / (rows + (longer > 0 ? 1 : 0)));
    for (int g = 0; g < ghosts; g += each) {
      int end = Math.min(ghosts, g + each);
      int first = g * rows + Math.min(g, longer);
      units.add(new Unit(List.of(end * rows + Math.min(end, longer) - first), end - g));
    }
  }

  /** What a pass runs, from a step of few rows: of one micro-batch, or of a ghost of two. */
  private List<Call> instructions() {
    int rows = spans ? 2 * ROWS : ROWS;
    var shape = network.inputShape();
    EngineSpec spec =
        new EngineSpec(
            DataType.F32,
            ROWS,
            ghost == 0 ? 0 : rows,
            perLane,
            true,
            false,
            LoadSpec.of(shape.height(), shape.width(), shape.channels()));
    try (Device device = Device.of("cpu", 1);
        Lanes lanes = device.lanes(1);
        NetworkPlan plan = network.compile(device);
        Engine engine = device.engine(lanes, plan, spec);
        Samples samples =
            device.samples(DataType.U8, rows, shape.height(), shape.width(), shape.channels(), 1)) {
      samples.write(0, rows, new byte[rows * shape.elements()]);
      samples.writeLabels(0, rows, new int[rows]);
      int[] indices = new int[rows];
      engine.profile(true);
      engine.step(samples, indices, rows, null, new StepSpec(), null, null, new LossResult());
      return calls(engine.profile());
    }
  }

  private List<Call> calls(List<ProfileEntry> profile) {
    List<Call> calls = new ArrayList<>();
    boolean backward = false;
    ProfileEntry before = null;
    for (ProfileEntry entry : profile) {
      if (entry.calls() == 0) {
        continue;
      }
      boolean norm =
          entry.operation() >= 0 && network.operationKind(entry.operation()).equals("batch norm");
      boolean again = norm && backward && entry.direction() == Direction.FORWARD;
      // Sums come right before what they are for, under the same name.
      boolean applies =
          before != null
              && before.operation() == entry.operation()
              && before.direction() == entry.direction();
      calls.add(new Call(entry, again, spans && norm && !again && !applies));
      backward |= entry.operation() < 0 && entry.name().equals("loss");
      before = entry;
    }
    return calls;
  }

  private void enter(List<Call> calls) {
    double rows = batch;
    launch(Part.COPIES, "states of the micro-batches to the device", 1, 0);
    launch(Part.COPIES, "numbers of the samples to the device", 1, FLOAT * rows);
    if (ghost > 0) {
      launch(Part.STATISTICS, "zeroing of sums", 1, 16 * network.statisticsCount());
    }
    double packed = (double) elements(Parameter.Kind.WEIGHT) * (FLOAT + elementBytes);
    launch(Part.PACKING, "all of them", 1, packed);
    for (int u = 0; u < units.size(); u++) {
      Unit unit = units.get(u);
      launch(Part.COPIES, "state of a pass", 1, 0);
      for (int m = 0; m < unit.rows.size(); m++) {
        for (int i = 0; i < calls.size(); i++) {
          instruction(calls, i, u, m);
        }
      }
      if (partsAreUnits()) {
        commit(network.parameterCount(), u == 0);
      } else {
        commit(elements(Parameter.Kind.GAMMA) + elements(Parameter.Kind.BETA), u == 0);
      }
      launch(Part.COPIES, "results of a pass", 1, 0);
    }
    if (ghost > 0) {
      launch(Part.STATISTICS, "those that need all ghosts", 1, 0);
    }
    launch(Part.COPIES, "results to the host, which waits", 1, 0);
    double weights = network.parameterCount();
    launch(Part.CLIP, "its squares, and their sum", 2, FLOAT * weights);
    launch(Part.CLIP, "the norm to the host, which waits", 1, 0);
    launch(Part.OPTIMIZER, "settings to the device", 1, 0);
    launch(Part.OPTIMIZER, "SGD with momentum", 1, 5 * FLOAT * weights);
  }

  private long elements(Parameter.Kind kind) {
    return network.parameters().stream()
        .filter(parameter -> parameter.kind() == kind)
        .mapToLong(Parameter::elements)
        .sum();
  }

  private void instruction(List<Call> calls, int i, int u, int micro) {
    Call call = calls.get(i);
    ProfileEntry entry = call.entry;
    Unit unit = units.get(u);
    double rows = unit.rows.get(micro);
    if (entry.operation() < 0) {
      engineWork(calls, i, rows, unit, micro == unit.rows.size() - 1);
      return;
    }
    int operation = entry.operation();
    String kind = network.operationKind(operation);
    double bytes = rows * call.rowBytes() * elementBytes / FLOAT;
    String of = network.operationShape(operation).toString();
    switch (kind) {
      case "convolution", "linear" -> affine(call, kind, unit, u, micro);
      case "batch norm" -> norm(call, unit, micro);
      case "pooling" -> {
        double values =
            network.operationShape(operation).elements()
                + network.operationSource(operation).elements();
        double kept = call.rowBytes() - FLOAT * values; // where the largest were, in bytes
        captured(
            Part.POOL,
            direction(entry) + ", to " + of,
            1,
            rows * (elementBytes * values + kept),
            0);
      }
      default ->
          captured(Part.ELEMENTWISE, kind + ", " + direction(entry) + ", " + of, 1, bytes, 0);
    }
  }

  /** What belongs to no operation of the network. */
  private void engineWork(List<Call> calls, int i, double rows, Unit unit, boolean last) {
    double classes = network.classes();
    switch (calls.get(i).entry.name()) {
      case "load" -> {
        double values = network.inputShape().elements();
        // A number and a label are read, the label is written.
        double bytes = values * (1 + elementBytes) + 3 * FLOAT;
        captured(Part.LOADER, "samples", 1, rows * bytes, 0);
      }
      case "loss" -> {
        double bytes = 2 * classes * elementBytes + FLOAT + 2 * RESULT_BYTES;
        captured(Part.LOSS, "softmax and cross-entropy, their sum", 2, rows * bytes, 0);
        if (last && ghost > 0) {
          double statistics = FLOAT * network.statisticsCount();
          captured(Part.STATISTICS, "ghosts of a pass", 1, (unit.ghosts + 2) * statistics, 0);
        }
      }
      case "gradient add" -> {
        var shape = summed(calls, i);
        double bytes = 3.0 * shape.elements() * elementBytes;
        captured(Part.ELEMENTWISE, "sum of gradients, " + shape, 1, rows * bytes, 0);
      }
      default -> {} // the CPU's own: commits, waiting, packing
    }
  }

  /**
   * Shape of the value whose gradients are summed: the result of the operation whose backward pass
   * follows; a batch norm may be computed again between them.
   */
  private SampleShape summed(List<Call> calls, int from) {
    for (Call call : calls.subList(from, calls.size())) {
      ProfileEntry entry = call.entry;
      if (entry.operation() >= 0 && entry.direction() != Direction.FORWARD) {
        return network.operationShape(entry.operation());
      }
    }
    return network.inputShape();
  }

  private void affine(Call call, String kind, Unit unit, int u, int micro) {
    int operation = call.entry.operation();
    var src = network.operationSource(operation);
    var dst = network.operationShape(operation);
    boolean convolution = kind.equals("convolution");
    String name = network.operationNames().get(operation);
    Parameter weight = parameters.get(name + ".weight");
    Parameter bias = parameters.get(name + ".bias");
    double weights = weight.elements();
    double moved = (double) microBatch * (src.elements() + dst.elements()) * elementBytes;
    double flops = microBatch * call.rowFlops();
    Part part = convolution ? Part.CONVOLUTION : Part.LINEAR;
    String shape =
        convolution
            ? src + " to " + dst + ", " + weight.height() + "x" + weight.width()
            : src.elements() + " to " + dst.elements();
    String what = shape + ", " + direction(call.entry);
    if (call.entry.direction() != Direction.BACKWARD_WEIGHTS) {
      captured(part, what, 1, moved + weights * elementBytes, flops);
      if (bias != null && call.entry.direction() == Direction.FORWARD) {
        // The libraries want a bias aligned, cuBLASLt in the type of activations.
        boolean copied = !convolution && elementBytes != FLOAT || bias.offset() * FLOAT % 16 != 0;
        if (copied) {
          captured(part, "bias as the library wants it", 1, 2 * FLOAT * bias.elements(), 0);
        }
      }
      return;
    }
    int unused = microBatch - unit.rows.get(micro);
    if (unused > 0) {
      for (var of : List.of(src, dst)) {
        double bytes = (double) unused * of.elements() * elementBytes;
        captured(Part.ZEROING, "operands of gradients of weights", 1, bytes, 0);
      }
    }
    captured(part, what, 1, moved + weights * FLOAT, flops);
    if (bias != null && convolution) {
      captured(
          part, "gradient of a bias", 2, (double) microBatch * dst.elements() * elementBytes, 0);
    }
    long elements = weight.elements() + (bias == null ? 0 : bias.elements());
    if (!partsAreUnits()) {
      commit(elements, u == 0 && micro == 0);
    } else if (micro > 0) { // to those of the ghost's micro-batches before
      commit(elements, false);
    }
  }

  /** Whether the gradient is the sum of those of units, or of their micro-batches. */
  private boolean partsAreUnits() {
    return !spans || perLane;
  }

  /** Gradients to their sums: the first are copied, the others are added. */
  private void commit(long elements, boolean first) {
    captured(Part.COMMIT, first ? "copied" : "added", 1, (first ? 2 : 3) * FLOAT * elements, 0);
  }

  private void norm(Call call, Unit unit, int micro) {
    int operation = call.entry.operation();
    SampleShape shape = network.operationShape(operation);
    double tensor = unit.rows.get(micro) * (double) shape.elements() * elementBytes;
    int tensors = (int) Math.round(call.rowBytes() / FLOAT / shape.elements());
    boolean forward = call.entry.direction() == Direction.FORWARD;
    if (call.again) {
      norm(Part.NORM_AGAIN, shape.toString(), 1, tensors, tensor);
    } else if (!spans) {
      GpuNorm norm =
          GpuNorm.of(
              shape.height() * shape.width(),
              shape.channels(),
              elementBytes,
              room,
              unit.ghosts,
              Math.min(ghost, microBatch),
              limits);
      if (forward) {
        norm(Part.NORM_FORWARD, shape.toString(), norm.forward().launches(), tensors, tensor);
      } else {
        norm(Part.NORM_BACKWARD, shape.toString(), norm.backward().launches(), tensors, tensor);
      }
    } else if (call.meets) {
      Part part = forward ? Part.NORM_FORWARD : Part.NORM_BACKWARD;
      norm(part, shape + ", sums", 2, tensors, tensor);
      if (micro == unit.rows.size() - 1) {
        captured(part, "sums that meet", 1, 0, 0);
      }
    } else if (forward) {
      norm(Part.NORM_FORWARD, shape.toString(), 1, tensors, tensor);
    } else { // x and the gradient, which the sums have left added up, to that of x
      norm(Part.NORM_BACKWARD, shape.toString(), 1, 3, tensor);
    }
  }

  private void norm(Part part, String what, int launches, int tensors, double tensor) {
    captured(part, what + ", tensors: " + tensors, launches, tensors * tensor, 0);
  }

  private static String direction(ProfileEntry entry) {
    return switch (entry.direction()) {
      case BACKWARD_DATA -> "backward";
      case BACKWARD_WEIGHTS -> "gradient of weights";
      default -> "forward";
    };
  }

  private void launch(Part part, String what, int launches, double bytes) {
    entries.add(new Entry(part, what, launches, false, bytes, 0));
  }

  private void captured(Part part, String what, int launches, double bytes, double flops) {
    entries.add(new Entry(part, what, launches, true, bytes, flops));
  }

  private static int divideUp(int a, int b) {
    return (a + b - 1) / b;
  }
}
