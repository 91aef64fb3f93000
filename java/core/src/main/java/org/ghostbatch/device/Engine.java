package org.ghostbatch.device;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.javacpp.Pointer;
import org.ghostbatch.binding.Resource;

/**
 * A network compiled for micro-batches, with its vectors and its lanes' memory. Runs batches of any
 * size; same input, same bits, for any number of lanes. A step allocates nothing once it has seen
 * its largest batch.
 */
public final class Engine extends NativeObject {
  private static final ProfileEntry.Direction[] DIRECTIONS = ProfileEntry.Direction.values();

  private final org.ghostbatch.binding.Engine binding;
  private final EngineSpec spec;
  private final Lanes lanes;
  private final org.ghostbatch.binding.StepSpec step;
  private final org.ghostbatch.binding.LossResult sums;
  private final Tensor parameters;
  private final Tensor gradients;
  private final Tensor statistics;
  private final long bytes;
  private final int microBatch;
  private final int classes;
  private double partSquares;
  private int parts;
  private HostMemory logitsMemory = HostMemory.NONE;
  private HostMemory inputGradientMemory = HostMemory.NONE;
  private int recorded; // rows of the last step that recorded an adversary

  /** Memory that the native side writes per-sample results to, kept between steps. */
  private record HostMemory(ByteBuffer buffer, Pointer pointer) {
    static final HostMemory NONE = new HostMemory(ByteBuffer.allocateDirect(0), new Pointer());

    static HostMemory holding(HostMemory now, long bytes) {
      if (now.buffer.capacity() >= bytes) {
        return now;
      }
      if (bytes > Integer.MAX_VALUE) {
        throw Check.bad("engine", "results of at most 2147483647 bytes", bytes);
      }
      ByteBuffer buffer = ByteBuffer.allocateDirect((int) bytes).order(ByteOrder.nativeOrder());
      return new HostMemory(buffer, new Pointer(buffer));
    }

    void copyTo(float[] dst, int count, DataType type) {
      if (type == DataType.F64) {
        for (int i = 0; i < count; i++) {
          dst[i] = (float) buffer.getDouble(8 * i);
        }
      } else {
        for (int i = 0; i < count; i++) {
          dst[i] = buffer.getFloat(4 * i);
        }
      }
    }
  }

  private Engine(
      Device device,
      org.ghostbatch.binding.Engine binding,
      EngineSpec spec,
      Lanes lanes,
      NetworkPlan network,
      org.ghostbatch.binding.StepSpec step,
      org.ghostbatch.binding.LossResult sums) {
    super(
        device,
        "engine",
        new Resource[] {binding},
        new Pointer[] {step, sums},
        lanes.handle,
        network.handle);
    this.binding = binding;
    this.spec = spec;
    this.lanes = lanes;
    this.step = step;
    this.sums = sums;
    this.parameters = lend(binding.parameters());
    this.gradients = lend(binding.gradients());
    this.statistics = lend(binding.statistics());
    this.bytes = binding.bytes();
    this.microBatch = (int) binding.micro_batch();
    int output = network.binding.operations();
    this.classes = (int) network.binding.value_channels(output);
  }

  private Tensor lend(org.ghostbatch.binding.Tensor tensor) {
    return tensor == null || tensor.isNull()
        ? null
        : new Tensor(device, tensor, spec.type().parameterType(), handle);
  }

  static Engine create(Device device, Lanes lanes, NetworkPlan network, EngineSpec spec) {
    Check.present("engine", "lanes", lanes);
    Check.present("engine", "a network", network);
    Check.present("engine", "a spec", spec);
    if (lanes.device() != device || network.device() != device) {
      throw Check.bad("engine", "lanes and network of its own device", "those of another");
    }
    lanes.handle.acquire();
    try {
      network.handle.acquire();
      try (var binding = spec.toBinding()) {
        return new Engine(
            device,
            org.ghostbatch.binding.Engine.create(
                device.binding(), lanes.binding, network.binding, binding),
            spec,
            lanes,
            network,
            new org.ghostbatch.binding.StepSpec(),
            new org.ghostbatch.binding.LossResult());
      } finally {
        network.handle.release();
      }
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      lanes.handle.release();
    }
  }

  static long predictBytes(Device device, int threads, NetworkPlan network, EngineSpec spec) {
    Check.range("engine", "threads", threads, 1, 1024);
    Check.present("engine", "a network", network);
    Check.present("engine", "a spec", spec);
    network.handle.acquire();
    try (var binding = spec.toBinding()) {
      return org.ghostbatch.binding.Engine.predict_bytes(
          device.binding(), threads, network.binding, binding);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      network.handle.release();
    }
  }

  public EngineSpec spec() {
    return spec;
  }

  /**
   * The parameter vector; it lives as long as the engine. Call {@link #parametersChanged} after
   * writing to it.
   */
  public Tensor parameters() {
    return parameters;
  }

  /** The gradient of the last step, or null for a forward-only engine. */
  public Tensor gradients() {
    return gradients;
  }

  /** Running means and variances, or null for a network without batch norm. */
  public Tensor statistics() {
    return statistics;
  }

  /** Lanes that the engine runs on. */
  public Lanes lanes() {
    return lanes;
  }

  /** Bytes that the engine holds, but for what {@link Adversary#RECORD} keeps. */
  public long bytes() {
    return bytes;
  }

  /** S. */
  public int microBatch() {
    return microBatch;
  }

  /** Number of outputs of the network. */
  public int classes() {
    return classes;
  }

  /**
   * Of the last step, sum_k n_k ||G_k||^2 over the parts whose gradients were added up:
   * micro-batches, or ghosts where one lane runs several micro-batches of each. G_k is the mean
   * gradient of part k's n_k rows, with the factors of its samples. 0 without {@link
   * StepSpec#partNorms}; same bits for any number of lanes. Costs a pass over the gradient for each
   * part.
   */
  public double partSquares() {
    return partSquares;
  }

  /** Number of the parts of the last step. */
  public int parts() {
    return parts;
  }

  /** To be called after every change of the parameters. */
  public void parametersChanged() {
    begin();
    try {
      binding.parameters_changed();
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /**
   * Loss, and gradients (means over the batch of weight * gradient), of samples[indices[0..batch)].
   *
   * @param weights factors of each sample's loss and gradient, or null for 1
   * @param logits receives [batch, classes], or null
   * @param inputGradient receives [batch, H, W, C], or null; needs an engine made with it
   * @param result receives sums over the batch
   */
  public void step(
      Samples samples,
      int[] indices,
      int batch,
      float[] weights,
      StepSpec spec,
      float[] logits,
      float[] inputGradient,
      LossResult result) {
    Check.present(kind, "samples", samples);
    Check.present(kind, "indices", indices);
    Check.present(kind, "a step spec", spec);
    Check.present(kind, "a result", result);
    Check.range(kind, "batch", batch, 1, indices.length);
    if (weights != null && weights.length < batch) {
      throw Check.bad(kind, "a weight for each of " + batch + " samples", weights.length);
    }
    if (logits != null && logits.length < (long) batch * classes) {
      throw Check.bad(kind, "room for " + (long) batch * classes + " logits", logits.length);
    }
    if (samples.height() != this.spec.load().height()
        || samples.width() != this.spec.load().width()
        || samples.channels() != this.spec.load().channels()
        || samples.classes() > classes) {
      throw Check.bad(
          kind, "samples of its network's input size and at most " + classes + " classes", samples);
    }
    long inputs = batch * samples.sampleElements();
    if (inputGradient != null && inputGradient.length < inputs) {
      throw Check.bad(
          kind, "room for " + inputs + " values of the input's gradient", inputGradient.length);
    }
    if (inputGradient != null && !this.spec.inputGradient()) {
      throw Check.bad(kind, "to be made with the gradient of its input", "one without");
    }
    if (spec.backward && !this.spec.backward()) {
      throw Check.bad(kind, "to be made with backward", "a forward-only one");
    }
    if (spec.adversary == Adversary.RECORD && !(spec.backward && this.spec.inputGradient())) {
      throw Check.bad(
          kind, "to be made and run with the gradient of its input to record its signs", "not so");
    }
    if (spec.adversary == Adversary.APPLY && recorded != batch) {
      throw Check.bad(
          kind, "the signs of the batch of " + batch + " recorded", recorded + " rows of them");
    }
    if (!(spec.adversaryEpsilon >= 0 && Double.isFinite(spec.adversaryEpsilon))) {
      throw Check.bad(kind, "a finite epsilon of the adversary >= 0", spec.adversaryEpsilon);
    }
    if (spec.partNorms && !spec.backward) {
      throw Check.bad(kind, "a step with backward for norms of parts", "loss only");
    }
    DataType type = this.spec.type().parameterType();
    begin();
    try {
      use(lanes.handle);
      use(samples.handle);
      if (logits != null) {
        logitsMemory = HostMemory.holding(logitsMemory, (long) batch * classes * type.bytes());
      }
      if (inputGradient != null) {
        inputGradientMemory = HostMemory.holding(inputGradientMemory, inputs * type.bytes());
      }
      step.mode(spec.mode.binding)
          .running_statistics(spec.runningStatistics.binding)
          .momentum(spec.momentum)
          .ghost(spec.ghost)
          .backward(spec.backward)
          .dropout(spec.dropout)
          .augment(spec.augment)
          .label_smoothing(spec.labelSmoothing)
          .seed(spec.seed)
          .step(spec.step)
          .first_row(spec.firstRow)
          .epoch(spec.epoch)
          .adversary(spec.adversary.binding)
          .adversary_epsilon(spec.adversaryEpsilon)
          .part_norms(spec.partNorms);
      if (spec.adversary == Adversary.RECORD) {
        recorded = 0;
      }
      binding.step(
          samples.binding,
          indices,
          batch,
          weights,
          step,
          logits == null ? null : logitsMemory.pointer,
          inputGradient == null ? null : inputGradientMemory.pointer,
          sums);
      if (spec.adversary == Adversary.RECORD) {
        recorded = batch;
      }
      result.loss = sums.loss();
      result.correct = sums.correct();
      partSquares = spec.partNorms ? binding.part_squares() : 0;
      parts = (int) binding.parts();
      if (logits != null) {
        logitsMemory.copyTo(logits, batch * classes, type);
      }
      if (inputGradient != null) {
        inputGradientMemory.copyTo(inputGradient, (int) inputs, type);
      }
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** What runs for an operation of the network. */
  public String implementation(int operation) {
    begin();
    try {
      return binding.implementation(operation);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** Starts afresh, or ends, the measurement of where time goes. */
  public void profile(boolean on) {
    begin();
    try {
      binding.set_profiling(on);
      binding.reset_profile();
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** Leaves steps out of the measurement, or goes on with it; what was measured stays. */
  public void pauseProfile(boolean paused) {
    begin();
    try {
      binding.set_profiling(!paused);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** Where time went since {@link #profile}. */
  public List<ProfileEntry> profile() {
    begin();
    try (var entry = new org.ghostbatch.binding.ProfileEntry()) {
      List<ProfileEntry> entries = new ArrayList<>();
      for (int i = 0; i < binding.profile_entries(); i++) {
        binding.profile_entry(i, entry);
        entries.add(
            new ProfileEntry(
                binding.profile_name(i),
                entry.operation(),
                DIRECTIONS[entry.direction()],
                entry.seconds(),
                entry.calls(),
                entry.flops(),
                entry.bytes()));
      }
      return entries;
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /**
   * From now on, while {@link #profile} is on, keeps each lane's calls, up to so many; 0: none.
   * Forgets those kept before. Costs 32 bytes a call, reserved here.
   */
  public void trace(int callsPerLane) {
    Check.range(kind, "calls of a lane", callsPerLane, 0, 1 << 20);
    begin();
    try {
      binding.set_tracing(callsPerLane);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** How many calls the lane that has kept the most has kept. */
  public int traced() {
    begin();
    try {
      long most = 0;
      for (int lane = 0; lane < lanes.threads(); lane++) {
        most = Math.max(most, binding.trace_events(lane));
      }
      return (int) most;
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /** The calls that were kept, lane by lane, each in order of time. */
  public List<TraceEvent> trace() {
    begin();
    try (var event = new org.ghostbatch.binding.TraceEvent()) {
      List<TraceEvent> events = new ArrayList<>();
      for (int lane = 0; lane < lanes.threads(); lane++) {
        long count = binding.trace_events(lane);
        for (long i = 0; i < count; i++) {
          binding.trace_event(lane, i, event);
          events.add(
              new TraceEvent(event.entry(), lane, event.begin(), event.end(), event.micro_batch()));
        }
      }
      return events;
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }

  /**
   * Fills all working memory with NaN: a test that no result depends on memory that was not
   * written.
   */
  public void poison() {
    begin();
    try {
      binding.poison();
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    } finally {
      end();
    }
  }
}
