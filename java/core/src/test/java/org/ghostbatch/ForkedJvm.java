package org.ghostbatch;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/**
 * A program in a JVM of its own, with this test's class path. What the program prints, and what
 * HotSpot writes about a crash, lies in a folder of its own under {@code target/forks}.
 */
public final class ForkedJvm {
  /**
   * How a program ended.
   *
   * @param exit its status (HotSpot's own after a crash is 1), or -1 where it had to be killed
   * @param output all that it printed
   * @param crash HotSpot's account of a crash, or null
   */
  public record End(int exit, String output, String crash) {
    /** For the text of an assertion. */
    @Override
    public String toString() {
      return "exit "
          + exit
          + "\n"
          + output
          + (crash == null ? "" : "\n" + crash.substring(0, Math.min(4000, crash.length())));
    }
  }

  private final Path folder;
  private final List<String> options = new ArrayList<>();
  private long addressSpace;
  private long fileSize;

  private ForkedJvm(Path folder) {
    this.folder = folder;
  }

  /** A JVM with a small heap; {@code name} names its folder. */
  public static ForkedJvm named(String name) {
    Path folder = Path.of("target", "forks", name).toAbsolutePath();
    try {
      Files.createDirectories(folder);
      try (Stream<Path> old = Files.list(folder)) {
        for (Path file : old.toList()) {
          Files.delete(file);
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return new ForkedJvm(folder).with("-Xmx256m", "-XX:+UseSerialGC");
  }

  /** Adds options of the JVM; later ones win. */
  public ForkedJvm with(String... more) {
    options.addAll(Arrays.asList(more));
    return this;
  }

  /** Bounds the process' address space, so that no mistake takes the machine's memory. */
  public ForkedJvm addressSpace(long bytes) {
    addressSpace = bytes;
    return this;
  }

  /** Bounds each file that the process writes: beyond that it fails as on a full disk. */
  public ForkedJvm fileSize(long bytes) {
    fileSize = bytes;
    return this;
  }

  /** Where this program may write files. */
  public Path folder() {
    return folder;
  }

  /** Runs {@code main} to its end, or kills it after {@code seconds}. */
  public End run(int seconds, Class<?> main, String... arguments)
      throws IOException, InterruptedException {
    Process process = start(main, arguments);
    boolean ended = process.waitFor(seconds, TimeUnit.SECONDS);
    return ended ? end(process) : kill(process);
  }

  /** Starts {@code main}. */
  public Process start(Class<?> main, String... arguments) throws IOException {
    List<String> command = new ArrayList<>();
    if (addressSpace > 0) {
      command.addAll(limited("ulimit -v " + addressSpace / 1024));
    }
    if (fileSize > 0) {
      command.addAll(limited("ulimit -f " + fileSize / 512)); // POSIX: blocks of 512 bytes
    }
    command.addAll(
        List.of(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "--enable-native-access=ALL-UNNAMED",
            "-XX:-CreateCoredumpOnCrash",
            "-XX:ErrorFile=" + folder.resolve("hs_err_%p.log")));
    command.addAll(options);
    command.addAll(List.of("-cp", System.getProperty("java.class.path"), main.getName()));
    command.addAll(Arrays.asList(arguments));
    return new ProcessBuilder(command)
        .redirectErrorStream(true)
        .redirectOutput(folder.resolve("output.txt").toFile())
        .start();
  }

  private static List<String> limited(String limit) {
    return List.of("/bin/sh", "-c", limit + " && exec \"$@\"", "sh");
  }

  /** How a process that has ended did so. */
  public End end(Process process) throws IOException {
    return new End(process.exitValue(), output(), crash());
  }

  /** Ends a process that hangs; what its threads did is in the output. */
  public End kill(Process process) throws IOException, InterruptedException {
    new ProcessBuilder("kill", "-QUIT", Long.toString(process.pid()))
        .start()
        .waitFor(); // prints all stacks
    process.waitFor(2, TimeUnit.SECONDS);
    process.destroyForcibly().waitFor();
    return new End(-1, output(), crash());
  }

  private String output() throws IOException {
    return Files.readString(folder.resolve("output.txt"), StandardCharsets.UTF_8);
  }

  private String crash() throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      for (Path file :
          files.filter(f -> f.getFileName().toString().startsWith("hs_err")).toList()) {
        return Files.readString(file, StandardCharsets.UTF_8);
      }
    }
    return null;
  }
}
