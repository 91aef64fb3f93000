package org.ghostbatch.cli;

import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Standard error as a person sees it: lines, and on a terminal one line at its end that is written
 * over again and again.
 */
final class Terminal {
  private final PrintStream out;
  private final boolean overwrites;
  private int shown; // width of the line that stands there now

  private Terminal(PrintStream out, boolean overwrites) {
    this.out = out;
    this.overwrites = overwrites;
  }

  static Terminal standardError() {
    return new Terminal(System.err, isTerminal(2) && !"dumb".equals(System.getenv("TERM")));
  }

  /** Nobody reads it. */
  static Terminal silent() {
    return new Terminal(new PrintStream(OutputStream.nullOutputStream()), false);
  }

  /** One that overwrites, whatever {@code out} is. */
  static Terminal overwriting(PrintStream out) {
    return new Terminal(out, true);
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

  /** Whether {@link #status} shows anything. */
  boolean overwrites() {
    return overwrites;
  }

  /** Prints a line that stays. */
  synchronized void line(String text) {
    clear();
    out.println(text);
  }

  /** Shows a line until the next one comes, on terminals only. */
  synchronized void status(String text) {
    if (overwrites) {
      String blank = " ".repeat(Math.max(0, shown - text.length()));
      out.print("\r" + text + blank);
      out.flush();
      shown = text.length();
    }
  }

  /** Removes what {@link #status} showed. */
  synchronized void clear() {
    if (shown > 0) {
      out.print("\r" + " ".repeat(shown) + "\r");
      out.flush();
      shown = 0;
    }
  }
}
