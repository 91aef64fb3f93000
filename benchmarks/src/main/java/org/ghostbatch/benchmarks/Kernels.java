package org.ghostbatch.benchmarks;

import java.util.ArrayList;
import java.util.List;
import java.util.function.BiFunction;
import java.util.stream.IntStream;
import org.ghostbatch.device.ConvolutionSpec;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.LinearSpec;

/**
 * The kernels by name, each with its shape, directions, and what one run costs by the textbook.
 *
 * <table>
 * <caption>Shapes</caption>
 * <tr><td>gbn</td><td>N,H,W,C: ghost batch norm and ReLU</td></tr>
 * <tr><td>conv</td><td>N,H,W,C,F,K,S: F filters of K x K, stride S, padding K/2, no bias</td></tr>
 * <tr><td>linear</td><td>N,IN,OUT: no bias</td></tr>
 * <tr><td>relu</td><td>N: out of place</td></tr>
 * <tr><td>copy</td><td>N: f32 to f32, the limit of kernels that move memory on a GPU</td></tr>
 * </table>
 *
 * Threads share the rows; each runs the kernel on its own part, as the lanes of a training do. On a
 * GPU one thread begins call after call.
 */
final class Kernels {
  /** From so many bytes a tensor on, what is counted is each tensor once: caches do not hold it. */
  private static final long BEYOND_CACHES = 16L << 20;

  /** Of a GPU's work, which would keep the reference busy for minutes. */
  private static final int CHECKED_ROWS = 32;

  /** Directions of convolutions and linear layers. */
  static final List<String> AFFINE = List.of("forward", "backward-data", "backward-weights");

  /** Of an element, read and written. */
  private static final int COPY_BYTES = 8;

  private Kernels() {}

  /** One thread's part of a kernel, on any device: the reference's is what it is checked with. */
  private interface Part {
    KernelPart on(Device device, Case what, int rows, long seed);
  }

  /** A kernel's cost: flops where arithmetic limits it, bytes where memory does. */
  record Cost(double flops, double bytes) {}

  private record Kernel(
      List<String> directions,
      String[] shape,
      Part part,
      BiFunction<Case, int[], Cost> cost,
      String formula) {}

  private static Kernel kernel(String name) {
    return switch (name) {
      case "gbn" ->
          new Kernel(
              List.of("forward", "backward", "both"),
              new String[] {"N", "H", "W", "C"},
              KernelPart.Norm::new,
              Kernels::normCost,
              "");
      case "conv" ->
          new Kernel(
              AFFINE,
              new String[] {"N", "H", "W", "C", "F", "K", "S"},
              KernelPart.Layer::convolution,
              (what, n) ->
                  new Cost(
                      ConvolutionSpec.of(n[0], n[1], n[2], n[3], n[4], n[5])
                          .withPadding(n[5] / 2)
                          .withStride(n[6])
                          .flops(),
                      0),
              "2 N OH OW F C K K flops");
      case "linear" ->
          new Kernel(
              AFFINE,
              new String[] {"N", "IN", "OUT"},
              KernelPart.Layer::linear,
              (what, n) -> new Cost(LinearSpec.of(n[0], n[1], n[2]).flops(), 0),
              "2 N IN OUT flops");
      case "relu" ->
          new Kernel(
              List.of("forward"),
              new String[] {"N"},
              KernelPart.Relu::new,
              (what, n) -> new Cost(0, 2.0 * n[0] * type(what).bytes()),
              "x read, y written");
      case "copy" ->
          new Kernel(
              List.of("forward"),
              new String[] {"N"},
              KernelPart.Copy::new,
              (what, n) -> new Cost(0, COPY_BYTES * (double) n[0]),
              "x read, y written");
      default ->
          throw new IllegalArgumentException(
              "[bench] needs --kernel gbn, conv, linear, relu or copy, got " + name);
    };
  }

  static DataType type(Case what) {
    return DataType.of(what.precision());
  }

  private static boolean inCache(Case what, int[] n) {
    return (double) n[0] * n[1] * n[2] * n[3] * type(what).bytes() < BEYOND_CACHES;
  }

  /** Passes over tensors: in caches all count, beyond them the first of each tensor. */
  private static Cost normCost(Case what, int[] n) {
    double tensor = (double) n[0] * n[1] * n[2] * n[3] * type(what).bytes();
    boolean all = inCache(what, n);
    double passes =
        switch (what.direction()) {
          case "forward" -> all ? 3 : 2;
          case "backward" -> all ? 5 : 3;
          default -> all ? 8 : 5;
        };
    return new Cost(0, passes * tensor);
  }

  /** What one run of a case costs. */
  static Cost cost(Case what) {
    Kernel kernel = kernel(what.name());
    return kernel.cost.apply(what, what.sizes(kernel.shape));
  }

  /** A copy that moves so many bytes. */
  static Case copy(double bytes) {
    long elements = Math.max(1, Math.round(bytes / COPY_BYTES));
    return new Case("kernels", "copy", Long.toString(elements), "f32", "forward", 0, 1, "");
  }

  /** The bytes or flops that are counted, in words. */
  static String formula(Case what) {
    if (!what.name().equals("gbn")) {
      return kernel(what.name()).formula;
    }
    boolean all = inCache(what, what.sizes(kernel("gbn").shape));
    String twice = all ? " twice" : "";
    String forward = "x read" + twice + ", y written";
    String backward = "x, dy read" + twice + ", dx written";
    return switch (what.direction()) {
      case "forward" -> forward;
      case "backward" -> backward;
      default -> forward + ", " + backward;
    };
  }

  /** Checks the words of a case. */
  static void check(Case what) {
    Kernel kernel = kernel(what.name());
    what.sizes(kernel.shape);
    if (!kernel.directions.contains(what.direction())) {
      throw new IllegalArgumentException(
          "[bench] needs --direction "
              + String.join(" or ", kernel.directions)
              + " for "
              + what.name()
              + ", got "
              + what.direction());
    }
    if (what.name().equals("copy") && !what.precision().equals("f32")) {
      throw new IllegalArgumentException(
          "[bench] needs precision f32 for copy, got " + what.precision());
    }
  }

  /**
   * A kernel on a device, after its results, on a GPU those of a smaller batch, were compared with
   * the reference backend's.
   *
   * @throws IllegalStateException where they differ
   */
  static Work prepare(Case what, String device) {
    check(what);
    Kernel kernel = kernel(what.name());
    int[] sizes = what.sizes(kernel.shape);
    int unit = what.name().equals("gbn") && what.ghost() > 0 ? what.ghost() : 1;
    if (what.name().equals("gbn") && what.ghost() == 0 && what.threads() > 1) {
      throw new IllegalArgumentException(
          "[bench] needs --ghost or one thread: a batch norm is one thread's work");
    }
    if (sizes[0] % unit != 0 || sizes[0] / unit < what.threads()) {
      throw new IllegalArgumentException(
          "[bench] needs whole ghosts of "
              + unit
              + " rows, at least one for each of "
              + what.threads()
              + " threads, got "
              + sizes[0]
              + " rows");
    }
    Device opened = Device.of(device, 1);
    List<KernelPart> parts = new ArrayList<>();
    try {
      long units = sizes[0] / unit;
      int rows = (int) (units / what.threads()) * unit; // of the first part
      if (!opened.hostMemory()) {
        rows = Math.min(rows, unit * Math.max(2, CHECKED_ROWS / unit));
      }
      try (Device reference = Device.of("reference", 1);
          KernelPart exact = kernel.part.on(reference, what, rows, 0);
          KernelPart checked = kernel.part.on(opened, what, rows, 0)) {
        exact.run();
        checked.run();
        checked.compare(exact, tolerance(what, device));
      }
      long free = opened.availableBytes();
      for (int t = 0; t < what.threads(); t++) {
        int first = (int) (units * t / what.threads());
        int end = (int) (units * (t + 1) / what.threads());
        parts.add(kernel.part.on(opened, what, (end - first) * unit, t));
      }
      return new KernelWork(opened, parts, kernel.cost.apply(what, sizes), free);
    } catch (RuntimeException e) {
      parts.forEach(KernelPart::close);
      opened.close();
      throw e;
    }
  }

  /** As a share of the largest value. */
  private static double tolerance(Case what, String device) {
    return type(what) == DataType.BF16 ? 0.02 : device.contains(",tf32") ? 5e-3 : 1e-4;
  }

  private static final class KernelWork implements Work {
    private final Device device;
    private final List<KernelPart> parts;
    private final Cost cost;
    private final long deviceBytes;
    private final Team team;

    KernelWork(Device device, List<KernelPart> parts, Cost cost, long free) {
      this.device = device;
      this.parts = parts;
      this.cost = cost;
      this.deviceBytes = Work.deviceBytes(device, free);
      this.team =
          new Team(
              IntStream.range(0, parts.size())
                  .mapToObj(t -> (Runnable) () -> this.parts.get(t).run())
                  .toList());
    }

    @Override
    public String kernel() {
      return parts.get(0).kernel();
    }

    @Override
    public double flops() {
      return cost.flops;
    }

    @Override
    public double bytes() {
      return cost.bytes;
    }

    @Override
    public void run() {
      team.run();
    }

    @Override
    public void finish() {
      parts.forEach(KernelPart::finish);
    }

    @Override
    public long deviceBytes() {
      return deviceBytes;
    }

    @Override
    public void close() {
      team.close();
      parts.forEach(KernelPart::close);
      device.close();
    }
  }
}
