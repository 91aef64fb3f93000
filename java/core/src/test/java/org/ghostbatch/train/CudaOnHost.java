package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.bytedeco.javacpp.Loader;

/**
 * A JVM whose natives have the CUDA backend beside them as it runs on the host, on stand-ins of
 * NVIDIA's libraries.
 */
final class CudaOnHost {
  private CudaOnHost() {}

  /** What a program printed that ended well; its natives go to {@code folder}. */
  static String run(
      Path folder, Map<String, String> environment, Class<?> program, String... arguments)
      throws IOException, InterruptedException {
    Path build = build();
    Path natives =
        folder.resolve("org/ghostbatch/binding").resolve(Loader.getPlatform()).toAbsolutePath();
    Files.createDirectories(natives);
    Path built = Path.of("target/classes/org/ghostbatch/binding").resolve(Loader.getPlatform());
    for (String name : List.of("libghostbatch.so", "libjniGhostBatch.so")) {
      copy(built.resolve(name), natives);
    }
    copy(build.resolve("on_host/libghostbatch_cuda.so"), natives);
    Path output = folder.resolve("output.txt");
    List<String> command =
        new ArrayList<>(
            List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED",
                "-cp",
                folder + File.pathSeparator + System.getProperty("java.class.path"),
                program.getName()));
    command.addAll(List.of(arguments));
    var builder = new ProcessBuilder(command);
    builder.environment().put("GHOSTBATCH_CUDNN", build.resolve("fakes/good").toString());
    builder.environment().putAll(environment);
    Process process = builder.redirectErrorStream(true).redirectOutput(output.toFile()).start();
    boolean ended = process.waitFor(300, TimeUnit.SECONDS);
    process.destroyForcibly();
    String text = Files.readString(output);
    assertTrue(ended, "needs an end within 300 s, got:\n" + text);
    assertEquals(0, process.exitValue(), text);
    return text;
  }

  private static void copy(Path file, Path into) throws IOException {
    Files.copy(file, into.resolve(file.getFileName()), StandardCopyOption.REPLACE_EXISTING);
  }

  /** Where the native tests were built. */
  private static Path build() {
    Path folder = Path.of("").toAbsolutePath();
    while (folder != null && !Files.exists(folder.resolve("build/release/native"))) {
      folder = folder.getParent();
    }
    assertTrue(folder != null, "needs build/release of the native tests");
    return folder.resolve("build/release/native");
  }
}
