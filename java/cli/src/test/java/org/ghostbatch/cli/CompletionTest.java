package org.ghostbatch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.ghostbatch.analysis.Measures;
import org.ghostbatch.data.Datasets;
import org.ghostbatch.nn.Models;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The completion script, asked by bash itself. */
class CompletionTest {
  @TempDir static Path folder;
  private static Path script;

  @BeforeAll
  static void write() throws IOException {
    Cli cli = Cli.line("completion bash");
    assertEquals(0, cli.status(), cli::err);
    script = Files.writeString(folder.resolve("ghostbatch.bash"), cli.out());
  }

  private static String bash(String... arguments) throws Exception {
    ProcessBuilder builder = new ProcessBuilder("bash", "--norc");
    builder.command().addAll(List.of(arguments));
    Process bash = builder.redirectErrorStream(true).start();
    String out = new String(bash.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, bash.waitFor(), out);
    return out;
  }

  /** What bash offers for the last of these words. */
  private static Set<String> complete(String... words) throws Exception {
    String ask =
        "source \"$0\" && compopt() { :; } && COMP_WORDS=(\"$@\") && COMP_CWORD=$(($# - 1)) && "
            + "COMP_LINE=\"$*\" && COMP_POINT=${#COMP_LINE} && "
            + "_complete_ghostbatch && printf '%s\\n' \"${COMPREPLY[@]}\"";
    String[] arguments = new String[words.length + 3];
    arguments[0] = "-c";
    arguments[1] = ask;
    arguments[2] = script.toString();
    System.arraycopy(words, 0, arguments, 3, words.length);
    Set<String> offered = new TreeSet<>();
    bash(arguments)
        .lines()
        .map(String::strip)
        .filter(line -> !line.isEmpty())
        .forEach(offered::add);
    return offered;
  }

  @Test
  void bashTakesTheScript() throws Exception {
    assertEquals("", bash("-n", script.toString()));
    assertTrue(
        bash("-c", "source '" + script + "' && complete -p ghostbatch")
            .contains("_complete_ghostbatch"));
    assertEquals(Files.readString(script), Cli.line("completion zsh").out());
  }

  @Test
  void completesCommandsFlagsAndValues() throws Exception {
    assertEquals(Set.of("train"), complete("ghostbatch", "tr"));
    assertEquals(Set.of("--epochs"), complete("ghostbatch", "train", "--epo"));
    assertEquals(Set.of("--top"), complete("ghostbatch", "predict", "--to"));
    assertEquals(new TreeSet<>(Models.names()), complete("ghostbatch", "train", "--model", ""));
    assertEquals(
        new TreeSet<>(Datasets.NAMES),
        complete("ghostbatch", "train", "--model", "lenet", "--data", ""));
    assertEquals(new TreeSet<>(Measures.NAMES), complete("ghostbatch", "train", "--measure", ""));
    assertEquals(Set.of("reference"), complete("ghostbatch", "evaluate", "--backend", "r"));
    assertEquals(Set.of("surface"), complete("ghostbatch", "su"));
    assertEquals(
        Set.of("eigenvector", "sharpness", "random"),
        complete("ghostbatch", "slice", "--along", ""));
    assertEquals(
        Set.of("recomputed", "running", "batch"), complete("ghostbatch", "surface", "--bn", ""));
    assertEquals(Set.of("bash", "zsh"), complete("ghostbatch", "completion", ""));
  }

  @ParameterizedTest
  @ValueSource(strings = {"completion", "completion fish", "completion bash zsh"})
  void needsAShellThatItKnows(String line) {
    Cli cli = Cli.line(line);
    assertEquals(Main.BAD_USAGE, cli.status(), cli::err);
    assertEquals("", cli.out());
  }
}
