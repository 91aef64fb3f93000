package org.ghostbatch.device;

import java.lang.System.Logger;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.bytedeco.javacpp.Pointer;
import org.ghostbatch.binding.NativeLibrary;
import org.ghostbatch.binding.Resource;

/**
 * A backend on one piece of hardware: makes memory and kernels. Safe to use from several threads.
 *
 * <p>Closing a device closes all that was made on it, newest first; while one of these is in use
 * that is an {@link IllegalStateException}, and the device stays open.
 */
public final class Device implements AutoCloseable {
  private static final Logger LOG = System.getLogger("org.ghostbatch");
  private static final Pointer[] NO_STRUCTS = {};

  /** Notes on precisions that were logged. */
  private static final Set<String> WARNED = ConcurrentHashMap.newKeySet();

  private final org.ghostbatch.binding.Device binding;
  private final HandleRegistry registry = new HandleRegistry();
  private final NativeHandle handle;
  private final String name;
  private final String description;
  private final int threads;
  private boolean closed;

  private Device(org.ghostbatch.binding.Device binding, int threads) {
    this.binding = binding;
    this.threads = threads;
    this.name = binding.name();
    this.description = binding.description();
    this.handle = new NativeHandle("device " + name, new Resource[] {binding}, null, NO_STRUCTS);
  }

  /**
   * The device called {@code cpu}, {@code reference} (plain loops in double: slow, exact), {@code
   * cuda}, {@code cuda:1}, or {@code auto}: CUDA where there is one, else the CPU, logging why.
   * Trainers on it use all processors. A {@code ,tf32} behind the CUDA names allows products and
   * convolutions of f32 to round their operands to TF32, which has 10 bits of mantissa; an {@code
   * ,autotune} behind that lets the device choose the kernels of convolutions by timing them, where
   * cuDNN's heuristics choose otherwise: see {@link #kernelChoices}.
   *
   * @throws IllegalArgumentException where no backend has that name
   * @throws NativeException with the reason, where the backend is not to be had
   */
  public static Device of(String name) {
    return of(name, Runtime.getRuntime().availableProcessors());
  }

  /** As {@link #of(String)}; {@code threads} in [1, 1024] is the default of what runs on it. */
  public static Device of(String name, int threads) {
    Check.present("device", "a name", name);
    Check.range("device", "threads", threads, 1, 1024);
    if (name.equals("auto")) {
      try {
        return create("cuda", threads);
      } catch (NativeException e) {
        LOG.log(Logger.Level.INFO, "backend auto: cpu, as there is no cuda: {0}", e.getMessage());
        return create("cpu", threads);
      }
    }
    if (!name.matches("cpu|reference|cuda(:[0-9]{1,4})?(,tf32)?(,autotune)?")) {
      throw Check.bad(
          "device",
          "cpu, reference, auto, cuda or cuda:N, the last two perhaps with ,tf32 and then ,autotune",
          name);
    }
    return create(name, threads);
  }

  private static Device create(String name, int threads) {
    NativeLibrary.load();
    try {
      return new Device(org.ghostbatch.binding.Device.create(name), threads);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    }
  }

  /** As {@link #of(String)} takes it: {@code cpu}, {@code cuda:1,tf32}. */
  public String name() {
    return name;
  }

  /** Several lines for people: library versions, instruction set, hardware. */
  public String description() {
    return description;
  }

  /** Whether tensors lie in memory of the host, which everything in this library can work on. */
  public boolean hostMemory() {
    return !name.startsWith("cuda");
  }

  /** Default number of threads of what runs on this device. */
  public int threads() {
    return threads;
  }

  /** Whether activations may have this type here. */
  public synchronized boolean supports(DataType type) {
    Check.present("device", "a data type", type);
    open();
    return binding.supports(type.binding);
  }

  /**
   * Empty where the hardware computes activations of this type itself; else a sentence: that they
   * are emulated, or why they are not supported.
   */
  public synchronized String precisionNote(DataType type) {
    Check.present("device", "a data type", type);
    open();
    return binding.precision_note(type.binding);
  }

  /**
   * What this device has chosen by timing kernels, and what {@link #useKernelChoices} gave it:
   * lines of text, of which the first names GPU and library; empty where there is nothing. Grows
   * with what is made on a device with {@code ,autotune}.
   */
  public synchronized String kernelChoices() {
    open();
    return binding.kernel_choices();
  }

  /**
   * Has the kernels that are made from now on chosen as {@link #kernelChoices} once said, without
   * timing them again, so that they give the same bits.
   *
   * @throws NativeException where the text is not understood, is of another GPU or library, or says
   *     other than what this device has chosen; and on devices that time nothing, unless it is
   *     empty
   */
  public synchronized void useKernelChoices(String text) {
    Check.present("device", "kernel choices", text);
    open();
    try {
      binding.use_kernel_choices(text);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    }
  }

  /** Bytes that can still be allocated. */
  public synchronized long availableBytes() {
    open();
    return binding.available_bytes();
  }

  /** Bytes that all open tensors of this process hold. */
  public static long liveBytes() {
    NativeLibrary.load();
    return org.ghostbatch.binding.Tensor.live_bytes();
  }

  /** How many objects were collected as garbage without having been closed, in this process. */
  public static long leaks() {
    return NativeHandle.leaks();
  }

  /** Memory for the product of {@code shape} elements, zeroed. */
  public synchronized Tensor tensor(DataType type, long... shape) {
    Check.present("tensor", "a data type", type);
    long elements = Tensor.elements("tensor", shape);
    open();
    try {
      return new Tensor(
          this,
          org.ghostbatch.binding.Tensor.create(binding, type.binding, elements),
          type,
          shape.clone());
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    }
  }

  /** {@code threads} native threads in [1, 1024], which sleep while they have no work. */
  public synchronized Lanes lanes(int threads) {
    Check.range("lanes", "threads", threads, 1, 1024);
    open();
    try {
      return new Lanes(this, org.ghostbatch.binding.Lanes.create(threads), threads);
    } catch (RuntimeException e) {
      throw NativeException.of(e);
    }
  }

  /** Room for samples of a data set: u8 or f32 [count, height, width, channels], and labels. */
  public synchronized Samples samples(
      DataType type, int count, int height, int width, int channels, int classes) {
    open();
    return Samples.create(this, type, count, height, width, channels, classes);
  }

  /** A 2-D convolution; {@code backward}: whether its gradients can be had too. */
  public synchronized Convolution convolution(ConvolutionSpec spec, boolean backward) {
    Check.present("convolution", "a spec", spec);
    open();
    return Convolution.create(this, spec, backward);
  }

  /** A linear layer; {@code backward}: whether its gradients can be had too. */
  public synchronized Linear linear(LinearSpec spec, boolean backward) {
    Check.present("linear", "a spec", spec);
    open();
    return Linear.create(this, spec, backward);
  }

  /** A matrix product. */
  public synchronized Gemm gemm(GemmSpec spec) {
    Check.present("gemm", "a spec", spec);
    open();
    return Gemm.create(this, spec);
  }

  /** Ghost batch normalization. */
  public synchronized GhostBatchNorm ghostBatchNorm(GhostBatchNormSpec spec) {
    Check.present("ghost_batch_norm", "a spec", spec);
    open();
    return GhostBatchNorm.create(this, spec);
  }

  /** Max or average pooling. */
  public synchronized Pooling pooling(PoolSpec spec) {
    Check.present("pooling", "a spec", spec);
    open();
    return Pooling.create(this, spec);
  }

  /** ReLU, sums and dropout of any size. */
  public synchronized Elementwise elementwise(DataType type) {
    Check.activation("elementwise", type);
    open();
    return Elementwise.create(this, type);
  }

  /** Softmax and cross-entropy of any size, logits of the given type. */
  public synchronized SoftmaxCrossEntropy softmaxCrossEntropy(DataType type) {
    Check.activation("softmax_cross_entropy", type);
    open();
    return SoftmaxCrossEntropy.create(this, type);
  }

  /** A loader that gathers, augments and normalizes samples. */
  public synchronized BatchLoader batchLoader(LoadSpec spec) {
    Check.present("batch_loader", "a spec", spec);
    open();
    return BatchLoader.create(this, spec);
  }

  /** Kernels on vectors of any length, run on {@code lanes}, or the calling thread if null. */
  public synchronized VectorKernels vectors(Lanes lanes) {
    open();
    return VectorKernels.create(this, lanes);
  }

  /** No layers yet, of a vector that LARS or LAMB updates. */
  public synchronized Segments segments() {
    open();
    return Segments.create(this);
  }

  /**
   * A matrix [rows, columns] of random signs; columns in [1, 1024]; on devices whose tensors are
   * host memory.
   */
  public synchronized SignMatrix signMatrix(long rows, int columns, long seed) {
    open();
    return SignMatrix.create(this, rows, columns, seed);
  }

  /**
   * A minimizer in a box of {@code elements} variables, run on {@code lanes}, or the calling thread
   * if null; on devices whose tensors are host memory.
   *
   * @throws NativeException naming bytes asked and free
   */
  public synchronized Lbfgsb lbfgsb(Lanes lanes, long elements, LbfgsbSpec spec) {
    Check.present("lbfgsb", "a spec", spec);
    open();
    return Lbfgsb.create(this, lanes, elements, spec);
  }

  /** An empty network on inputs [N, height, width, channels]. */
  public synchronized NetworkPlan networkPlan(int height, int width, int channels) {
    Check.positive("network", "height", height);
    Check.positive("network", "width", width);
    Check.positive("network", "channels", channels);
    open();
    return NetworkPlan.create(this, height, width, channels);
  }

  /**
   * Compiles a network. The first for a precision that this hardware emulates logs a warning.
   *
   * @throws NativeException naming bytes needed, bytes free and the largest ghost that fits
   */
  public synchronized Engine engine(Lanes lanes, NetworkPlan network, EngineSpec spec) {
    open();
    Engine engine = Engine.create(this, lanes, network, spec);
    String note = binding.precision_note(spec.type().binding);
    if (!note.isEmpty() && WARNED.add(note)) {
      LOG.log(Logger.Level.WARNING, note);
    }
    return engine;
  }

  /** Bytes that {@link #engine} would allocate on {@code threads} lanes. */
  public synchronized long predictBytes(int threads, NetworkPlan network, EngineSpec spec) {
    open();
    return Engine.predictBytes(this, threads, network, spec);
  }

  /** Whether {@link #close} has been called. */
  public synchronized boolean closed() {
    return closed;
  }

  /**
   * Closes all that was made on this device, then the device; closing twice is silent.
   *
   * @throws IllegalStateException while something made on it is in use
   */
  @Override
  public synchronized void close() {
    if (!closed) {
      registry.closeAll();
      handle.close();
      closed = true;
    }
  }

  /** The native device; the caller holds this object's monitor. */
  org.ghostbatch.binding.Device binding() {
    return binding;
  }

  NativeHandle register(
      String kind, Resource[] resources, Pointer[] structs, NativeHandle... needed) {
    NativeHandle made = new NativeHandle(kind, resources, registry, structs, needed);
    registry.add(made);
    return made;
  }

  private void open() {
    if (closed) {
      throw new IllegalStateException("[device] needs an open device, but " + name + " is closed");
    }
  }

  @Override
  public String toString() {
    return name;
  }
}
