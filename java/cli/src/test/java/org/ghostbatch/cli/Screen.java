package org.ghostbatch.cli;

import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** A terminal of so many columns: what a person would see of what was printed. */
final class Screen extends OutputStream {
  private final int columns;
  private final List<StringBuilder> lines = new ArrayList<>(List.of(new StringBuilder()));
  private final List<String> seen = new ArrayList<>();
  private final StringBuilder escape = new StringBuilder();
  private boolean wraps = true;
  private int column;
  private int wrapped;

  Screen(int columns) {
    this.columns = columns;
  }

  PrintStream stream() {
    return new PrintStream(this, true, StandardCharsets.US_ASCII);
  }

  @Override
  public void write(int b) {
    char c = (char) b;
    if (escape.length() > 0 || c == 27) {
      escape.append(c);
      if (escape.length() > 2 && Character.isLetter(c)) {
        sequence(escape.substring(1));
        escape.setLength(0);
      }
      return;
    }
    switch (c) {
      case '\r' -> column = 0;
      case '\n' -> newLine();
      default -> put(c);
    }
  }

  private void put(char c) {
    if (column == columns) {
      if (wraps) {
        wrapped++;
        newLine();
      } else {
        column--;
      }
    }
    StringBuilder line = line();
    while (line.length() <= column) {
      line.append(' ');
    }
    line.setCharAt(column++, c);
  }

  private void newLine() {
    lines.add(new StringBuilder());
    column = 0;
  }

  private StringBuilder line() {
    return lines.get(lines.size() - 1);
  }

  private void sequence(String sequence) {
    switch (sequence) {
      case "[?7l" -> wraps = false;
      case "[?7h" -> {
        wraps = true;
        seen.add(line().toString().stripTrailing());
      }
      case "[K" -> line().setLength(Math.min(column, line().length()));
      case "[2K" -> line().setLength(0);
      default -> throw new AssertionError("a sequence that is not expected: " + sequence);
    }
  }

  /** The lines that stand there now. */
  List<String> lines() {
    return lines.stream().map(line -> line.toString().stripTrailing()).toList();
  }

  /** What stood in the last line, one after the other. */
  List<String> seen() {
    return seen;
  }

  /** How often text went on in the next line. */
  int wrapped() {
    return wrapped;
  }
}
