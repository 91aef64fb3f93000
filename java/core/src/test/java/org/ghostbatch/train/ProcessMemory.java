package org.ghostbatch.train;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;

/** What Linux says about this process. */
final class ProcessMemory {
  private ProcessMemory() {}

  /** Bytes resident now. */
  static long resident() {
    return entry("VmRSS:");
  }

  /** Most bytes that were ever resident. */
  static long peak() {
    return entry("VmHWM:");
  }

  private static long entry(String name) {
    try (Stream<String> lines = Files.lines(Path.of("/proc/self/status"))) {
      String line = lines.filter(l -> l.startsWith(name)).findFirst().orElseThrow();
      return 1024 * Long.parseLong(line.replaceAll("[^0-9]", ""));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Threads of the process, native ones too. */
  static long threads() {
    try (Stream<Path> tasks = Files.list(Path.of("/proc/self/task"))) {
      return tasks.count();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
