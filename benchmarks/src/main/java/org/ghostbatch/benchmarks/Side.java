package org.ghostbatch.benchmarks;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Who is measured: a program that speaks {@link WorkerLoop}'s protocol. */
enum Side {
  GHOSTBATCH("GhostBatch") {
    @Override
    List<String> command(Path root, int threads) {
      return onDevice("cpu");
    }
  },
  /** oneDNN and the machine's limits, from C++. */
  NATIVE("oneDNN") {
    @Override
    List<String> command(Path root, int threads) {
      Path worker = root.resolve("build/release/native/benchmarks/ghostbatch_benchmarks");
      if (!Files.isExecutable(worker)) {
        throw new IllegalStateException(
            "[bench] needs " + worker + ", which benchmarks/run builds");
      }
      return List.of(worker.toString());
    }
  },
  /** Threads and memory tuned. */
  LIBTORCH("libtorch") {
    @Override
    List<String> command(Path root, int threads) {
      return List.of(root.resolve("benchmarks/peers/worker").toString(), Integer.toString(threads));
    }
  },
  LIBTORCH_DEFAULTS("libtorch, default memory") {
    @Override
    List<String> command(Path root, int threads) {
      List<String> command = new ArrayList<>(LIBTORCH.command(root, threads));
      command.add("defaults");
      return command;
    }
  };

  private final String title;

  Side(String title) {
    this.title = title;
  }

  /** For people. */
  String title() {
    return title;
  }

  abstract List<String> command(Path root, int threads);

  private static List<String> onDevice(String device) {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(List.of("--enable-native-access=ALL-UNNAMED", "-XX:+UseSerialGC"));
    command.addAll(List.of("-cp", System.getProperty("java.class.path")));
    command.addAll(List.of(GhostBatchWorker.class.getName(), device));
    return command;
  }

  /** GhostBatch on a device by name. */
  static Worker startOn(String device) {
    return new Worker("GhostBatch on " + device, onDevice(device));
  }

  Worker start(Path root, int threads) {
    return new Worker(title, command(root, threads));
  }
}
