package org.ghostbatch.binding;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.spi.ToolProvider;
import org.junit.jupiter.api.Test;

/**
 * The numbers of NVIDIA's libraries that native/cuda writes down by hand, against those of the
 * JavaCPP preset, which is generated from NVIDIA's headers.
 */
class CudaConstantsTest {
  private static final Path HEADERS = Path.of("").toAbsolutePath().resolve("../../native/cuda");
  private static final Pattern DECLARED = Pattern.compile("  (\\w+) = (\\d+),");
  private static final Pattern PUBLISHED =
      Pattern.compile("  public static final int (\\w+) = (-?\\d+);");

  /** Name and number of all that the enumeration at the start of a header declares. */
  private static TreeMap<String, Integer> declared(String header) throws IOException {
    TreeMap<String, Integer> numbers = new TreeMap<>();
    boolean inside = false;
    for (String line : Files.readAllLines(HEADERS.resolve(header))) {
      if (line.startsWith("enum ")) {
        inside = true;
      } else if (line.equals("};")) {
        inside = false;
      } else if (inside && !line.isBlank() && !line.startsWith("  //")) {
        Matcher matcher = DECLARED.matcher(line);
        assertTrue(
            matcher.matches(), () -> header + " has a line that is no name and number: " + line);
        numbers.put(matcher.group(1), Integer.valueOf(matcher.group(2)));
      }
    }
    return numbers;
  }

  /**
   * The same of a class of the preset: from its file, as loading the class would load NVIDIA's
   * libraries.
   */
  private static TreeMap<String, Integer> published(String name)
      throws ReflectiveOperationException {
    Class<?> uninitialized = Class.forName(name, false, CudaConstantsTest.class.getClassLoader());
    String jar = uninitialized.getProtectionDomain().getCodeSource().getLocation().getPath();
    StringWriter text = new StringWriter();
    PrintWriter out = new PrintWriter(text);
    ToolProvider javap = ToolProvider.findFirst("javap").orElseThrow();
    assertEquals(0, javap.run(out, out, "-constants", "-classpath", jar, name), text::toString);
    TreeMap<String, Integer> numbers = new TreeMap<>();
    PUBLISHED
        .matcher(text.toString())
        .results()
        .forEach(match -> numbers.put(match.group(1), Integer.valueOf(match.group(2))));
    return numbers;
  }

  private static void compare(TreeMap<String, Integer> declared, int least, String... classes)
      throws ReflectiveOperationException {
    TreeMap<String, Integer> published = new TreeMap<>();
    for (String name : classes) {
      published.putAll(published("org.bytedeco.cuda.global." + name));
    }
    assertTrue(declared.size() >= least, declared::toString);
    declared.entrySet().removeAll(published.entrySet());
    assertEquals(Map.of(), declared, "numbers that the preset does not have so");
  }

  @Test
  void cudnnsNumbersAreThoseOfItsHeaders() throws Exception {
    compare(declared("cudnn.h"), 90, "cudnn");
  }

  @Test
  void cublasltsNumbersAreThoseOfItsHeaders() throws Exception {
    compare(declared("cublaslt.h"), 20, "cublas", "cudart");
  }
}
