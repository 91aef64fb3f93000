package org.ghostbatch.cli;

import java.util.ArrayList;
import java.util.List;

/**
 * Columns of equal width: the first to the left, the others to the right unless they are said to be
 * texts.
 */
final class TextTable {
  private final List<String[]> rows = new ArrayList<>();
  private final boolean[] texts;

  /** A column whose name starts with {@code <} goes to the left. */
  TextTable(String... columns) {
    texts = new boolean[columns.length];
    String[] names = new String[columns.length];
    for (int i = 0; i < columns.length; i++) {
      texts[i] = i == 0 || columns[i].startsWith("<");
      names[i] = columns[i].startsWith("<") ? columns[i].substring(1) : columns[i];
    }
    rows.add(names);
  }

  void row(String... cells) {
    if (cells.length != texts.length) {
      throw new IllegalArgumentException(
          "[table] needs " + texts.length + " cells, got " + cells.length);
    }
    rows.add(cells);
  }

  @Override
  public String toString() {
    int[] widths = new int[texts.length];
    for (String[] row : rows) {
      for (int i = 0; i < row.length; i++) {
        widths[i] = Math.max(widths[i], row[i].length());
      }
    }
    StringBuilder out = new StringBuilder();
    for (String[] row : rows) {
      StringBuilder line = new StringBuilder();
      for (int i = 0; i < row.length; i++) {
        String space = " ".repeat(widths[i] - row[i].length());
        line.append(i == 0 ? "" : "  ").append(texts[i] ? row[i] + space : space + row[i]);
      }
      out.append(line.toString().stripTrailing()).append('\n');
    }
    return out.toString();
  }
}
