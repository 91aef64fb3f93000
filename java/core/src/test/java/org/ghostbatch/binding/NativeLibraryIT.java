package org.ghostbatch.binding;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.jar.JarFile;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Loads the libraries out of the jars, in JVMs of their own. */
class NativeLibraryIT {
  @TempDir Path folder;

  /** What each JVM runs: one call through every library. */
  public static final class Probe {
    public static void main(String[] arguments) {
      NativeLibrary.load();
      Lanes lanes = Lanes.create(2);
      int threads = lanes.threads();
      lanes.destroy();
      Device.create("cpu").destroy();
      String error = "none";
      try {
        Device.create("abacus");
      } catch (RuntimeException e) {
        error = e.getMessage();
      }
      System.out.println(
          "threads " + threads + ", error names abacus: " + error.contains("abacus"));
      if (arguments.length > 0) {
        try {
          Device.create("cuda").destroy();
          System.out.println("cuda: made");
        } catch (RuntimeException e) {
          System.out.println("cuda: " + e.getMessage());
        }
      }
    }
  }

  private static final String PROBED = "threads 2, error names abacus: true";

  /** Class path of a program that has the jars, not this build's folders. */
  private static Stream<String> jars() {
    Stream<String> libraries =
        Stream.of(System.getProperty("java.class.path").split(File.pathSeparator))
            .filter(entry -> entry.contains("javacpp") || entry.contains("dnnl"))
            .filter(entry -> entry.endsWith(".jar"));
    Stream<String> own =
        Stream.of("ghostbatch.jar", "ghostbatch.natives.jar").map(p -> JarsIT.jar(p).toString());
    return Stream.concat(own, libraries);
  }

  private Process start(Path cache, Stream<String> classPath, Path output, String... arguments)
      throws IOException {
    String probe = Path.of("target", "test-classes").toAbsolutePath().toString();
    String path =
        Stream.concat(classPath, Stream.of(probe)).collect(Collectors.joining(File.pathSeparator));
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.add("--enable-native-access=ALL-UNNAMED");
    command.add("-Xmx64m");
    command.add("-Dorg.bytedeco.javacpp.cachedir=" + cache);
    command.addAll(List.of("-cp", path, Probe.class.getName()));
    command.addAll(List.of(arguments));
    return new ProcessBuilder(command)
        .redirectErrorStream(true)
        .redirectOutput(output.toFile())
        .start();
  }

  private static String run(Process process, Path output) throws Exception {
    if (!process.waitFor(120, TimeUnit.SECONDS)) {
      process.destroyForcibly();
      throw new AssertionError("needs an end within 120 s, got:\n" + read(output));
    }
    return read(output);
  }

  private static String read(Path output) throws IOException {
    return Files.readString(output, StandardCharsets.UTF_8);
  }

  @Test
  void eightVirtualMachinesStartAtOnceOnAnEmptyCache() throws Exception {
    Path cache = folder.resolve("not yet made").resolve("cache");
    List<Process> processes = new ArrayList<>();
    for (int i = 0; i < 8; ++i) {
      processes.add(start(cache, jars(), folder.resolve(i + ".txt")));
    }
    for (int i = 0; i < 8; ++i) {
      String text = run(processes.get(i), folder.resolve(i + ".txt"));
      assertEquals(PROBED, text.strip());
      assertEquals(0, processes.get(i).exitValue());
    }
  }

  @Test
  void aBrokenExtractionIsRepaired() throws Exception {
    Path cache = folder.resolve("cache");
    Path output = folder.resolve("output.txt");
    run(start(cache, jars(), output), output);
    List<Path> libraries;
    try (Stream<Path> files = Files.walk(cache)) {
      libraries = files.filter(f -> f.getFileName().toString().equals("libghostbatch.so")).toList();
    }
    assertEquals(1, libraries.size());
    Files.write(libraries.get(0), new byte[1000]); // as a JVM that was killed while it wrote
    assertEquals(PROBED, run(start(cache, jars(), output), output).strip());
  }

  @Test
  void theCudaBackendIsFoundInTheJar() throws Exception {
    try (JarFile jar = new JarFile(System.getProperty("ghostbatch.natives.jar"))) {
      assumeTrue(
          jar.stream().anyMatch(entry -> entry.getName().endsWith("libghostbatch_cuda.so")),
          "built without nvcc");
    }
    Path output = folder.resolve("output.txt");
    String text = run(start(folder.resolve("cache"), jars(), output, "cuda"), output);
    // A device, or what is wrong with driver and hardware; not that the library is absent.
    assertTrue(text.contains("cuda: "), text);
    assertFalse(text.contains("libghostbatch_cuda.so"), text);
  }

  @Test
  void absentNativesAreNamed() throws Exception {
    Path output = folder.resolve("output.txt");
    Process process =
        start(
            folder.resolve("cache"),
            jars().filter(jar -> !jar.equals(System.getProperty("ghostbatch.natives.jar"))),
            output);
    String text = run(process, output);
    assertEquals(1, process.exitValue(), text);
    assertTrue(
        text.contains("libghostbatch.so: not found, it is in org.ghostbatch:ghostbatch"), text);
    assertTrue(text.contains("libdnnl.so.3"), text);
  }
}
