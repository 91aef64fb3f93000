package org.ghostbatch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.List;
import org.junit.jupiter.api.Test;

class TerminalTest {
  @Test
  void statusIsWrittenOverAndLeavesNothing() {
    Screen screen = new Screen(20);
    Terminal terminal = Terminal.overwriting(screen.stream(), 20);
    terminal.status("longer");
    terminal.status("short");
    assertEquals(List.of("short"), screen.lines());
    terminal.line("stays");
    assertEquals(List.of("stays", ""), screen.lines());
    assertEquals(List.of("longer", "short"), screen.seen());
  }

  @Test
  void theFirstThatFitsIsShown() {
    Screen screen = new Screen(5);
    Terminal terminal = Terminal.overwriting(screen.stream(), 5);
    terminal.status(List.of("12345", "1234", "123"));
    terminal.status("much too long");
    assertEquals(List.of("1234", "much"), screen.seen());
    // A terminal that has become narrower since its width was asked for.
    Screen narrow = new Screen(5);
    Terminal.overwriting(narrow.stream(), 20).status("0123456789");
    assertEquals(0, narrow.wrapped());
  }

  @Test
  void longLinesGoOnBehindMarks() {
    Screen screen = new Screen(30);
    Terminal terminal = Terminal.overwriting(screen.stream(), 30);
    terminal.line("a line of a length that fits it");
    terminal.line("one 1,000; two 2,000; three 3,000, four 4,000; five 5,000");
    terminal.line("stopped after update 12: go on with ghostbatch train --resume a/run");
    assertEquals(
        List.of(
            "a line of a length that fits i",
            "t",
            "one 1,000; two 2,000;",
            "  three 3,000, four 4,000;",
            "  five 5,000",
            "stopped after update 12:",
            "  go on with ghostbatch train",
            "--resume a/run",
            ""),
        screen.lines());
    Screen narrow = new Screen(3);
    Terminal.overwriting(narrow.stream(), 3).line("a: b, c; d: , : eeeeeeeeeeeee, f");
    assertEquals("a:", narrow.lines().get(0));
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
    assertEquals("59.9 s", Figures.duration(59.94));
    assertEquals("1 min 00 s", Figures.duration(59.96));
    assertEquals("1 h 00 min", Figures.duration(3599.6));
    assertEquals("4 min 05 s", Figures.duration(245));
    assertEquals("3 h 20 min", Figures.duration(12000));
    assertEquals("512 B", Figures.bytes(512));
    assertEquals("1.5 MiB", Figures.bytes(1.5 * 1024 * 1024));
  }
}
