package org.ghostbatch.cli;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Java programs in JVMs of their own, with this test's class path. */
final class Fork implements AutoCloseable {
  private final Process process;
  private final Path out;
  private final Path err;

  private Fork(Process process, Path out, Path err) {
    this.process = process;
    this.out = out;
    this.err = err;
  }

  /** Starts {@code ghostbatch} with these arguments in a folder. */
  static Fork ghostbatch(Path folder, List<String> arguments) throws IOException {
    return ghostbatch(folder, arguments, Map.of());
  }

  /** As {@link #ghostbatch(Path, List)}, with these variables in its environment. */
  static Fork ghostbatch(Path folder, List<String> arguments, Map<String, String> environment)
      throws IOException {
    return java(
        folder,
        System.getProperty("java.class.path"),
        Main.class.getName(),
        arguments,
        environment);
  }

  static Fork java(Path folder, String classPath, String main, List<String> arguments)
      throws IOException {
    return java(folder, classPath, main, arguments, Map.of());
  }

  private static Fork java(
      Path folder,
      String classPath,
      String main,
      List<String> arguments,
      Map<String, String> environment)
      throws IOException {
    List<String> command =
        new ArrayList<>(
            List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED",
                "-XX:+UseSerialGC",
                "-Xmx512m",
                "-cp",
                classPath,
                main));
    command.addAll(arguments);
    Path out = Files.createTempFile(folder, ".out", ".txt");
    Path err = Files.createTempFile(folder, ".err", ".txt");
    ProcessBuilder builder = new ProcessBuilder(command).directory(folder.toFile());
    builder.environment().putAll(environment);
    builder.redirectOutput(out.toFile()).redirectError(err.toFile());
    return new Fork(builder.start(), out, err);
  }

  /** Waits for the end and returns the exit status. */
  int await(int seconds) throws IOException, InterruptedException {
    if (!process.waitFor(seconds, TimeUnit.SECONDS)) {
      process.destroyForcibly().waitFor();
      throw new AssertionError("needs an end within " + seconds + " s, got:\n" + out() + err());
    }
    return process.exitValue();
  }

  long pid() {
    return process.pid();
  }

  boolean running() {
    return process.isAlive();
  }

  String out() throws IOException {
    return Files.readString(out, StandardCharsets.UTF_8);
  }

  String err() throws IOException {
    return Files.readString(err, StandardCharsets.UTF_8);
  }

  @Override
  public void close() {
    process.destroyForcibly();
  }
}
