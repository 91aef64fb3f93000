package org.ghostbatch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import javax.imageio.ImageIO;
import javax.tools.ToolProvider;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Strokes;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/**
 * Every command and every Java snippet of the README runs, and its papers are those that the
 * sources cite.
 */
class ReadmeTest {
  private static final Path ROOT = Path.of("").toAbsolutePath().getParent().getParent();

  /** What makes a long command short here. */
  private static final Map<String, String> SMALLER =
      Map.of(
          "./ghostbatch study --quick",
          "--seeds 1 --epoch-scale 0.1 --train-samples 1024 --out runs/study");

  /** Runs everything, this test included: run by hand and by ci. */
  private static final String ALL_TESTS = "ci/test";

  /** Builds before it measures, so it is ci that runs it, as it is printed. */
  private static final String BENCH = "./ghostbatch bench ";

  @TempDir static Path folder;
  private static String readme;

  @BeforeAll
  static void prepare() throws IOException {
    readme = Files.readString(ROOT.resolve("README.md"));
    Dataset test = Strokes.test();
    BufferedImage image = new BufferedImage(28, 28, BufferedImage.TYPE_BYTE_GRAY);
    byte[] pixels = pixels(test, 1);
    image.getRaster().setDataElements(0, 0, 28, 28, pixels);
    ImageIO.write(image, "png", folder.resolve("digit.png").toFile());
    // Drawn digits stand in for MNIST, in its files' format.
    Path mnist = Files.createDirectory(folder.resolve("mnist"));
    writeIdx(mnist, "train", Strokes.train(), 4200);
    writeIdx(mnist, "t10k", test, 500);
  }

  private static byte[] pixels(Dataset data, int count) {
    ByteBuffer buffer = ByteBuffer.allocate(count * data.sampleBytes());
    int[] indices = Stream.iterate(0, i -> i + 1).limit(count).mapToInt(i -> i).toArray();
    data.read(indices, 0, count, buffer);
    return buffer.array();
  }

  private static void writeIdx(Path folder, String part, Dataset data, int count)
      throws IOException {
    byte[] pixels = pixels(data, count);
    ByteBuffer images = ByteBuffer.allocate(16 + pixels.length);
    images.putInt(0x803).putInt(count).putInt(28).putInt(28).put(pixels);
    Files.write(folder.resolve(part + "-images-idx3-ubyte"), images.array());
    ByteBuffer labels = ByteBuffer.allocate(8 + count).putInt(0x801).putInt(count);
    for (int i = 0; i < count; i++) {
      labels.put((byte) data.label(i));
    }
    Files.write(folder.resolve(part + "-labels-idx1-ubyte"), labels.array());
  }

  private static List<String> blocks(String language) {
    List<String> blocks = new ArrayList<>();
    Matcher matcher = Pattern.compile("(?ms)^```" + language + "$\n(.*?)^```$").matcher(readme);
    while (matcher.find()) {
      blocks.add(matcher.group(1));
    }
    assertFalse(blocks.isEmpty(), "README needs blocks of " + language);
    return blocks;
  }

  @Test
  void everyCommandRuns() throws Exception {
    List<String> commands = blocks("sh").stream().flatMap(String::lines).distinct().toList();
    assertTrue(Files.isExecutable(ROOT.resolve("ghostbatch")));
    for (String command : commands) {
      if (command.equals(ALL_TESTS)) {
        assertTrue(Files.isExecutable(ROOT.resolve(ALL_TESTS)));
        continue;
      }
      if (command.startsWith(BENCH)) {
        String ci = Files.readString(ROOT.resolve(".ci/run"));
        assertTrue(ci.contains("step " + command + " "), () -> ".ci/run does not run: " + command);
        continue;
      }
      assertTrue(command.startsWith("./ghostbatch "), () -> "this test cannot run: " + command);
      String line =
          command.substring("./ghostbatch ".length()).replace("\"$DATA\"", folder.toString());
      List<String> arguments = new ArrayList<>(List.of(line.split(" +")));
      if (SMALLER.containsKey(command)) {
        arguments.addAll(List.of(SMALLER.get(command).split(" ")));
      }
      try (Fork fork = Fork.ghostbatch(folder, arguments)) {
        int status = fork.await(300);
        assertEquals(0, status, command + "\n" + fork.out() + fork.err());
        if (command.contains("--json")) {
          assertTrue(fork.out().startsWith("{") && fork.out().lines().count() == 1, fork.out());
        }
      }
    }
  }

  @Test
  void everyConfigIsOne() throws Exception {
    for (String config : blocks("yaml")) {
      Path file = Files.writeString(folder.resolve("readme.yaml"), config);
      TrainCommand command = new TrainCommand();
      new CommandLine(command).parseArgs("--config", file.toString());
      command.spec();
    }
  }

  @Test
  void everyJavaSnippetRuns() throws Exception {
    int number = 0;
    for (String snippet : blocks("java")) {
      Path out = Files.createDirectory(folder.resolve("snippet" + number++));
      Path source = out.resolve("Example.java");
      StringBuilder text = new StringBuilder();
      snippet
          .lines()
          .filter(line -> line.startsWith("import "))
          .forEach(line -> text.append(line).append('\n'));
      text.append("import org.ghostbatch.data.*;\nimport org.ghostbatch.device.*;\n");
      text.append(
          "public class Example {\npublic static void main(String[] arguments) throws Exception {\n");
      snippet
          .lines()
          .filter(line -> !line.startsWith("import "))
          .forEach(line -> text.append(line).append('\n'));
      text.append("}\n}\n");
      Files.writeString(source, text);
      String classPath = System.getProperty("java.class.path");
      int compiled =
          ToolProvider.getSystemJavaCompiler()
              .run(
                  null,
                  null,
                  null,
                  "-proc:none",
                  "-d",
                  out.toString(),
                  "-cp",
                  classPath,
                  source.toString());
      assertEquals(0, compiled, snippet);
      try (Fork fork = Fork.java(out, out + ":" + classPath, "Example", List.of())) {
        assertEquals(0, fork.await(60), snippet + fork.out() + fork.err());
        String last = fork.out().lines().reduce((a, b) -> b).orElse("");
        assertTrue(Double.parseDouble(last) >= 0, fork.out());
      }
    }
  }

  @Test
  void papersAreListedOnceAndAreThoseThatTheSourcesCite() throws Exception {
    Pattern id = Pattern.compile("(?i)arxiv(?:\\.org/abs/|[ :]+)(\\d{4}\\.\\d{4,5})");
    Map<String, Integer> listed = new TreeMap<>();
    Matcher inReadme =
        Pattern.compile("\\[arXiv (\\d{4}\\.\\d{4,5})]\\(https://arxiv\\.org/abs/(.*?)\\)")
            .matcher(readme);
    while (inReadme.find()) {
      assertEquals(inReadme.group(1), inReadme.group(2), "text and link of a paper");
      listed.merge(inReadme.group(1), 1, Integer::sum);
    }
    listed.forEach(
        (paper, times) -> assertEquals(1, times, "times that README lists arXiv " + paper));
    List<Path> sources = new ArrayList<>();
    for (String part : List.of("native", "java/core/src/main", "java/cli/src/main")) {
      try (Stream<Path> files = Files.walk(ROOT.resolve(part))) {
        files
            .filter(file -> file.toString().matches(".*\\.(java|h|cpp|cu|json)"))
            .forEach(sources::add);
      }
    }
    for (Path source : sources) {
      Matcher cited = id.matcher(Files.readString(source));
      while (cited.find()) {
        assertTrue(
            listed.containsKey(cited.group(1)),
            () -> source + " cites arXiv " + cited.group(1) + ", README does not");
      }
    }
  }
}
