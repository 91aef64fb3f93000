package org.ghostbatch.binding;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import java.util.TreeSet;
import java.util.jar.JarFile;
import java.util.stream.Collectors;
import org.bytedeco.javacpp.Loader;
import org.junit.jupiter.api.Test;

/** What the two jars hold, and how large they are. */
class JarsIT {
  private static final long MIB = 1 << 20;
  private static final String PLATFORM = Loader.getPlatform();

  static Path jar(String property) {
    return Path.of(System.getProperty(property));
  }

  private static Set<String> files(Path jar) throws IOException {
    try (JarFile file = new JarFile(jar.toFile())) {
      return file.stream()
          .filter(entry -> !entry.isDirectory())
          .map(entry -> entry.getName())
          .collect(Collectors.toCollection(TreeSet::new));
    }
  }

  @Test
  void classesJarIsSmallAndHoldsNoNatives() throws IOException {
    Path jar = jar("ghostbatch.jar");
    assertTrue(Files.size(jar) < MIB, () -> jar + " needs less than 1 MiB");
    Set<String> files = files(jar);
    assertTrue(files.contains("org/ghostbatch/binding/GhostBatch.class"));
    assertEquals(
        Set.of(), files.stream().filter(name -> name.contains(".so")).collect(Collectors.toSet()));
  }

  @Test
  void nativesJarHoldsOurLibrariesAndNobodyElses() throws IOException {
    Path jar = jar("ghostbatch.natives.jar");
    assertTrue(Files.size(jar) < 15 * MIB, () -> jar + " needs less than 15 MiB");
    Set<String> libraries = files(jar);
    libraries.removeIf(name -> name.startsWith("META-INF/"));
    String folder = "org/ghostbatch/binding/" + PLATFORM + "/";
    assertTrue(libraries.remove(folder + "libghostbatch.so"));
    assertTrue(libraries.remove(folder + "libjniGhostBatch.so"));
    libraries.remove(folder + "libghostbatch_cuda.so"); // where nvcc was found
    assertEquals(Set.of(), libraries);
  }

  @Test
  void nativesNameNoFolderOfTheMachineThatBuiltThem() throws IOException {
    String root = Path.of("").toAbsolutePath().getParent().getParent().toString();
    try (JarFile jar = new JarFile(jar("ghostbatch.natives.jar").toFile())) {
      for (var entry : jar.stream().filter(e -> e.getName().endsWith(".so")).toList()) {
        byte[] bytes = jar.getInputStream(entry).readAllBytes();
        String text = new String(bytes, java.nio.charset.StandardCharsets.ISO_8859_1);
        assertTrue(!text.contains(root), () -> entry.getName() + " names " + root);
      }
    }
  }
}
