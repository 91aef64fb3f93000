package org.ghostbatch.cli;

import java.io.File;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.IntSupplier;

/**
 * Standard error as a person sees it: lines, and on a terminal one line at its end that is written
 * over again and again, and never wraps.
 */
final class Terminal {
  private static final int DEFAULT_WIDTH = 80;
  private static final long NANOS_BETWEEN_SIZES = 2_000_000_000;

  private static final String INDENT = "  ";

  // Sequences that all terminals since the VT100 know.
  private static final String NO_WRAP = "\u001b[?7l";
  private static final String WRAP = "\u001b[?7h";
  private static final String ERASE_BEHIND = "\u001b[K";
  private static final String ERASE_LINE = "\u001b[2K\r";

  private final PrintStream out;
  private final boolean overwrites;
  private final IntSupplier size;
  private int width;
  private long sized; // when the width was asked for
  private boolean shown; // whether a status stands there now

  private Terminal(PrintStream out, boolean overwrites, IntSupplier size) {
    this.out = out;
    this.overwrites = overwrites;
    this.size = size;
  }

  static Terminal standardError() {
    boolean overwrites = isTerminal(2) && !"dumb".equals(System.getenv("TERM"));
    return new Terminal(System.err, overwrites, () -> columns(2));
  }

  /** Nobody reads it. */
  static Terminal silent() {
    return new Terminal(
        new PrintStream(OutputStream.nullOutputStream()), false, () -> DEFAULT_WIDTH);
  }

  /** One that overwrites, whatever {@code out} is, and has so many columns. */
  static Terminal overwriting(PrintStream out, int columns) {
    return new Terminal(out, true, () -> columns);
  }

  /** One that does not overwrite. */
  static Terminal plain(PrintStream out) {
    return new Terminal(out, false, () -> DEFAULT_WIDTH);
  }

  private static boolean isTerminal(int descriptor) {
    try {
      String target = Files.readSymbolicLink(Path.of("/proc/self/fd/" + descriptor)).toString();
      return target.startsWith("/dev/pts/")
          || target.startsWith("/dev/tty")
          || target.equals("/dev/console");
    } catch (IOException | UnsupportedOperationException e) {
      return System.console() != null;
    }
  }

  /** Columns of the terminal that standard output is, or {@code elsewhere}. */
  static int columnsOfOutput(int elsewhere) {
    return isTerminal(1) ? columns(1) : elsewhere;
  }

  /** Columns of the terminal behind a descriptor; Java has no call for it. */
  private static int columns(int descriptor) {
    File terminal = new File("/proc/self/fd/" + descriptor);
    try {
      Process stty =
          new ProcessBuilder("stty", "size")
              .redirectInput(terminal.exists() ? terminal : new File("/dev/tty"))
              .redirectError(ProcessBuilder.Redirect.DISCARD)
              .start();
      String text = new String(stty.getInputStream().readAllBytes(), StandardCharsets.US_ASCII);
      stty.waitFor(1, TimeUnit.SECONDS);
      String[] size = text.strip().split(" ");
      int columns = size.length == 2 ? Integer.parseInt(size[1]) : 0;
      return columns > 0 ? columns : DEFAULT_WIDTH;
    } catch (IOException | NumberFormatException e) {
      return DEFAULT_WIDTH;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return DEFAULT_WIDTH;
    }
  }

  /** Whether {@link #status} shows anything. */
  boolean overwrites() {
    return overwrites;
  }

  /**
   * Prints a line that stays. On a terminal one that is longer than a row goes on, indented, behind
   * a comma, colon or semicolon; never between other words, as commands are copied from there.
   */
  synchronized void line(String text) {
    clear();
    if (!overwrites) {
      out.println(text);
      return;
    }
    int columns = columns();
    String rest = text;
    while (rest.length() > columns) {
      int end = endOfRow(rest, columns);
      if (end < 0) {
        break;
      }
      out.println(rest.substring(0, end));
      rest = INDENT + rest.substring(end + 1);
    }
    out.println(rest);
  }

  /**
   * Where the space lies that a row ends at: behind a semicolon in its second half, else the last
   * behind any mark, else the first beyond it; or -1.
   */
  private static int endOfRow(String text, int columns) {
    int semicolon = -1;
    int mark = -1;
    for (int i = INDENT.length() + 1; i < text.length(); i++) {
      if (i > columns && mark >= 0) {
        break;
      }
      char before = text.charAt(i - 1);
      if (text.charAt(i) == ' ' && ";,:".indexOf(before) >= 0) {
        mark = i;
        semicolon = before == ';' ? i : semicolon;
      }
    }
    return semicolon >= columns / 2 ? semicolon : mark;
  }

  /** Shows a line until the next one comes, on terminals only. */
  void status(String text) {
    status(List.of(text));
  }

  /** Shows the first of these that fits, or the beginning of the last. */
  synchronized void status(List<String> texts) {
    if (!overwrites) {
      return;
    }
    int room = Math.max(1, columns() - 1); // in the last column some wrap already
    String last = texts.get(texts.size() - 1);
    String text =
        texts.stream()
            .filter(each -> each.length() <= room)
            .findFirst()
            .orElse(last.substring(0, Math.min(room, last.length())));
    // The width may have changed since it was asked for.
    out.print(NO_WRAP + "\r" + text + ERASE_BEHIND + WRAP);
    out.flush();
    shown = true;
  }

  private int columns() {
    long now = System.nanoTime();
    if (width == 0 || now - sized > NANOS_BETWEEN_SIZES) {
      width = size.getAsInt();
      sized = now;
    }
    return width;
  }

  /** Removes what {@link #status} showed. */
  synchronized void clear() {
    if (shown) {
      out.print(ERASE_LINE);
      out.flush();
      shown = false;
    }
  }
}
