package org.ghostbatch.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.ghostbatch.device.ConvolutionSpec;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.GhostBatchNormSpec;
import org.ghostbatch.device.LinearSpec;
import org.ghostbatch.device.LoadSpec;
import org.ghostbatch.device.PoolKind;
import org.ghostbatch.device.PoolSpec;
import org.ghostbatch.io.JsonObject;

/**
 * What {@code info} finds.
 *
 * @param healthy whether the backend that was asked for works
 */
record Doctor(JsonObject json, boolean healthy) {
  private static final Pattern MAPPED = Pattern.compile("\\s(/\\S+)$");

  static Doctor examine(String backend, int threads) {
    JsonObject json = new JsonObject();
    json.put("ghostbatch", Version.text());
    json.put(
        "java",
        System.getProperty("java.vm.name") + " " + System.getProperty("java.runtime.version"));
    json.put(
        "system",
        System.getProperty("os.name")
            + " "
            + System.getProperty("os.version")
            + " "
            + System.getProperty("os.arch"));
    json.put("processor", processor());
    json.put("threads", threads);
    boolean healthy = backend(json, backend, threads);
    json.put("cuda", cuda());
    json.put("openmp_runtimes", mapped("lib(gomp|iomp5|omp)[.-].*"));
    json.put(
        "native_libraries",
        mapped("lib(ghostbatch|jniGhostBatch|jnijavacpp|dnnl|cudart|cudnn|cublas).*"));
    json.put("memory", memory());
    return new Doctor(json, healthy);
  }

  private static boolean backend(JsonObject json, String name, int threads) {
    JsonObject backend = new JsonObject().put("name", name);
    json.put("backend", backend);
    try (Device device = Device.of(name, threads)) {
      backend.put("name", device.name());
      backend.put("description", device.description().lines().toList());
      backend.put("available_bytes", device.availableBytes());
      backend.put("precisions", precisions(device));
      backend.put("kernels", kernels(device));
      return true;
    } catch (RuntimeException | LinkageError e) {
      backend.put(
          "error",
          String.valueOf(e.getMessage()).lines().toList()); // names every place that was tried
      return false;
    }
  }

  /** Whether activations may have a type, and how they are computed. */
  private static JsonObject precisions(Device device) {
    JsonObject precisions = new JsonObject();
    for (DataType type : List.of(DataType.F32, DataType.BF16, DataType.F64)) {
      String note = device.precisionNote(type);
      precisions.put(
          type.toString(),
          !device.supports(type) ? "no: " + note : note.isEmpty() ? "yes" : "yes: " + note);
    }
    return precisions;
  }

  /** What runs for shapes of every day. */
  private static JsonObject kernels(Device device) {
    JsonObject kernels = new JsonObject();
    try (var convolution =
            device.convolution(
                ConvolutionSpec.of(32, 32, 32, 16, 16, 3).withPadding(1).withBias(false), true);
        var linear = device.linear(LinearSpec.of(128, 512, 512), true);
        var norm = device.ghostBatchNorm(GhostBatchNormSpec.of(32, 32, 32, 16).withRelu(true));
        var pooling = device.pooling(PoolSpec.of(PoolKind.MAX, 32, 28, 28, 32, 2).withStride(2));
        var elementwise = device.elementwise(DataType.F32);
        var loss = device.softmaxCrossEntropy(DataType.F32);
        var loader = device.batchLoader(LoadSpec.of(32, 32, 3));
        var vectors = device.vectors(null)) {
      kernels.put("convolution 3x3, [32,32,32,16]", convolution.implementation());
      kernels.put("linear 512, [128,512]", linear.implementation());
      kernels.put("ghost batch norm, [32,32,32,16]", norm.implementation());
      kernels.put("max pooling 2x2, [32,28,28,32]", pooling.implementation());
      kernels.put("elementwise", elementwise.implementation());
      kernels.put("softmax cross-entropy", loss.implementation());
      kernels.put("batch loader", loader.implementation());
      kernels.put("vectors", vectors.implementation());
    }
    return kernels;
  }

  /** Asked for last, since it may load the driver; a sentence where there is none. */
  private static JsonObject cuda() {
    JsonObject cuda = new JsonObject();
    try (Device device = Device.of("cuda", 1)) {
      cuda.put("available", true).put("description", device.description().lines().toList());
    } catch (RuntimeException | LinkageError e) {
      cuda.put("available", false).put("reason", String.valueOf(e.getMessage()));
    }
    cuda.put("driver", firstLine(Path.of("/proc/driver/nvidia/version")));
    return cuda;
  }

  /** Files mapped into this process whose name matches. */
  static List<String> mapped(String name) {
    TreeSet<String> files = new TreeSet<>();
    for (String line : lines(Path.of("/proc/self/maps"))) {
      Matcher matcher = MAPPED.matcher(line);
      if (matcher.find() && Path.of(matcher.group(1)).getFileName().toString().matches(name)) {
        files.add(matcher.group(1));
      }
    }
    return new ArrayList<>(files);
  }

  private static JsonObject memory() {
    JsonObject memory = new JsonObject();
    for (String line : lines(Path.of("/proc/meminfo"))) {
      String[] parts = line.split("[:\\s]+");
      if (parts.length >= 2 && List.of("MemTotal", "MemAvailable").contains(parts[0])) {
        memory.put(
            parts[0].equals("MemTotal") ? "total_bytes" : "available_bytes",
            Long.parseLong(parts[1]) * 1024);
      }
    }
    String limit = firstLine(Path.of("/sys/fs/cgroup/memory.max"));
    memory.put("container_limit", limit == null ? "none" : limit.equals("max") ? "none" : limit);
    memory.put("java_heap_limit_bytes", Runtime.getRuntime().maxMemory());
    memory.put("huge_pages", firstLine(Path.of("/sys/kernel/mm/transparent_hugepage/enabled")));
    return memory;
  }

  private static String processor() {
    return lines(Path.of("/proc/cpuinfo")).stream()
        .filter(line -> line.startsWith("model name"))
        .map(line -> line.substring(line.indexOf(':') + 1).strip())
        .findFirst()
        .orElse(System.getProperty("os.arch"));
  }

  private static String firstLine(Path file) {
    List<String> lines = lines(file);
    return lines.isEmpty() ? null : lines.get(0).strip();
  }

  /** Lines of a file that this system may not have. */
  private static List<String> lines(Path file) {
    try {
      return Arrays.asList(Files.readString(file).split("\n"));
    } catch (IOException e) {
      return List.of();
    }
  }
}
