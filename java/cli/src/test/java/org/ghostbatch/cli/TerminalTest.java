package org.ghostbatch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;

class TerminalTest {
  @Test
  void statusIsWrittenOverAndLeavesNothing() {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    Terminal terminal = Terminal.overwriting(new PrintStream(out, true, StandardCharsets.UTF_8));
    terminal.status("longer");
    terminal.status("short");
    terminal.line("stays");
    String eol = System.lineSeparator();
    assertEquals("\rlonger\rshort \r     \rstays" + eol, out.toString(StandardCharsets.UTF_8));
  }

  @Test
  void columnsAlign() {
    TextTable table = new TextTable("name", "value", "<note");
    table.row("a", "1.5", "");
    table.row("long", "-10.25", "x");
    assertEquals("name   value  note\na        1.5\nlong  -10.25  x\n", table.toString());
    assertThrows(IllegalArgumentException.class, () -> table.row("a"));
  }

  @Test
  void figuresAreShort() {
    assertEquals("97.31 %", Figures.percent(0.9731));
    assertEquals("-", Figures.percent(Double.NaN));
    assertEquals("12.3 s", Figures.duration(12.34));
    assertEquals("4 min 05 s", Figures.duration(245));
    assertEquals("3 h 20 min", Figures.duration(12000));
    assertEquals("512 B", Figures.bytes(512));
    assertEquals("1.5 MiB", Figures.bytes(1.5 * 1024 * 1024));
  }

  @Test
  void theBarOfAResumedRunCountsWhatThisPartOfItDid() {
    assertEquals(
        "[############............]  50 %  update 500/1000  loss 0.2500  640 images/s  50.0 s left",
        TrainProgress.bar(500, 1000, 100, 6400, 10, 0.25));
  }
}
