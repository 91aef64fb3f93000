package org.ghostbatch.cli;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.ghostbatch.io.AtomicFiles;

/**
 * A function of two variables as an SVG picture: filled contours of its logarithm, down to a 10^8th
 * of the largest value, with their lines, and their scale beside them. Each cell of the grid is
 * four triangles around its middle, on which the function is linear.
 */
final class ContourChart {
  private static final int WIDTH = 600;
  private static final int HEIGHT = 520;
  private static final int LEFT = 64;
  private static final int TOP = 48;
  private static final int SIDE = 416;
  private static final int SCALE = LEFT + SIDE + 28;
  private static final int SCALE_WIDTH = 18;

  /** Dark to light as the eye sees it, for the colour-blind too. */
  private static final int[][] COLOURS = {
    {68, 1, 84}, {59, 82, 139}, {33, 145, 140}, {94, 201, 98}, {253, 231, 37}
  };

  private final String title;
  private final String[] names;
  private final double[] grid;
  private final double[][] heights;
  private final double bottom;
  private final double step;
  private final int bands;

  /** A corner of a triangle on the picture, and the height there. */
  private record Corner(double x, double y, double height) {
    /** Where the height is {@code level}, on the way to another corner. */
    Corner towards(Corner to, double level) {
      double share = (level - height) / (to.height - height);
      return new Corner(x + share * (to.x - x), y + share * (to.y - y), level);
    }

    String text() {
      return String.format(Locale.ROOT, "%.1f %.1f", x, y);
    }
  }

  /**
   * @param names of the two variables
   * @param grid their values, ascending
   * @param values [second variable][first variable]; what is negative or not finite is left grey
   */
  ContourChart(String title, String[] names, double[] grid, double[][] values) {
    this.title = title;
    this.names = names;
    this.grid = grid;
    double[] logarithms =
        Arrays.stream(values)
            .flatMapToDouble(Arrays::stream)
            .filter(value -> value > 0 && value < Double.POSITIVE_INFINITY)
            .map(Math::log10)
            .toArray();
    double high = Arrays.stream(logarithms).max().orElse(0);
    double low = Math.max(Arrays.stream(logarithms).min().orElse(0), high - Chart.DECADES);
    step = Chart.step((high - low) / 2);
    bottom = Math.floor(low / step) * step;
    bands = Math.max(1, (int) Math.ceil((high - bottom) / step));
    heights =
        Arrays.stream(values)
            .map(row -> Arrays.stream(row).map(value -> height(value, low)).toArray())
            .toArray(double[][]::new);
  }

  private static double height(double value, double low) {
    return value >= 0 && value < Double.POSITIVE_INFINITY
        ? Math.max(low, Math.log10(value))
        : Double.NaN;
  }

  void write(Path file) {
    AtomicFiles.write(file, svg().getBytes(StandardCharsets.UTF_8));
  }

  String svg() {
    StringBuilder svg = new StringBuilder();
    Chart.line(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%1$d\" height=\"%2$d\" viewBox=\"0 0 %1$d %2$d\" "
            + "font-family=\"sans-serif\" font-size=\"12\">",
        WIDTH,
        HEIGHT);
    Chart.line(svg, "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>");
    Chart.line(
        svg, "<text x=\"%d\" y=\"24\" font-size=\"15\">%s</text>", LEFT, Chart.escaped(title));
    Chart.line(
        svg,
        "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"#ccc\"/>",
        LEFT,
        TOP,
        SIDE,
        SIDE);
    for (int band = 0; band < bands; band++) {
      fill(svg, band);
    }
    for (int band = 1; band < bands; band++) {
      contour(svg, bottom + band * step);
    }
    axes(svg);
    scale(svg);
    Chart.line(svg, "</svg>");
    return svg.toString();
  }

  /** Everything from the lower end of a band upwards; the bands above are drawn over it. */
  private void fill(StringBuilder svg, int band) {
    double level = band == 0 ? Double.NEGATIVE_INFINITY : bottom + band * step;
    StringBuilder path = new StringBuilder();
    for (int row = 0; row + 1 < grid.length; row++) {
      for (int column = 0; column + 1 < grid.length; column++) {
        int first = column;
        while (column + 1 < grid.length && whole(row, column, level)) {
          column++;
        }
        if (column > first) {
          add(
              path,
              List.of(
                  corner(row, first),
                  corner(row, column),
                  corner(row + 1, column),
                  corner(row + 1, first)));
        }
        for (Corner[] triangle : triangles(row, column)) {
          add(path, above(triangle, level));
        }
      }
    }
    Chart.line(svg, "<path d=\"%s\" fill=\"%s\"/>", path.toString().strip(), colour(band));
  }

  private boolean whole(int row, int column, double level) {
    return heights[row][column] >= level
        && heights[row][column + 1] >= level
        && heights[row + 1][column] >= level
        && heights[row + 1][column + 1] >= level;
  }

  private Corner corner(int row, int column) {
    return new Corner(across(grid[column]), up(grid[row]), heights[row][column]);
  }

  /** Of a cell; none where a height is missing, or there is no cell. */
  private List<Corner[]> triangles(int row, int column) {
    if (column + 1 >= grid.length) {
      return List.of();
    }
    Corner[] around = {
      corner(row, column),
      corner(row, column + 1),
      corner(row + 1, column + 1),
      corner(row + 1, column)
    };
    double mean = Arrays.stream(around).mapToDouble(Corner::height).average().orElseThrow();
    if (Double.isNaN(mean)) {
      return List.of();
    }
    Corner middle =
        new Corner((around[0].x() + around[2].x()) / 2, (around[0].y() + around[2].y()) / 2, mean);
    List<Corner[]> triangles = new ArrayList<>();
    for (int i = 0; i < 4; i++) {
      triangles.add(new Corner[] {around[i], around[(i + 1) % 4], middle});
    }
    return triangles;
  }

  /** The part of a triangle at a level and above: up to four corners. */
  private static List<Corner> above(Corner[] triangle, double level) {
    List<Corner> part = new ArrayList<>();
    for (int i = 0; i < 3; i++) {
      Corner from = triangle[i];
      Corner to = triangle[(i + 1) % 3];
      if (from.height() >= level) {
        part.add(from);
      }
      if (from.height() >= level != to.height() >= level) {
        part.add(from.towards(to, level));
      }
    }
    return part;
  }

  private static void add(StringBuilder path, List<Corner> polygon) {
    for (int i = 0; i < polygon.size(); i++) {
      path.append(i == 0 ? "M" : "L").append(polygon.get(i).text());
    }
    path.append(polygon.isEmpty() ? "" : "Z");
  }

  private void contour(StringBuilder svg, double level) {
    StringBuilder path = new StringBuilder();
    for (int row = 0; row + 1 < grid.length; row++) {
      for (int column = 0; column + 1 < grid.length; column++) {
        for (Corner[] triangle : triangles(row, column)) {
          char pen = 'M';
          for (int i = 0; i < 3; i++) {
            Corner from = triangle[i];
            Corner to = triangle[(i + 1) % 3];
            if (from.height() >= level != to.height() >= level) {
              path.append(pen).append(from.towards(to, level).text());
              pen = 'L';
            }
          }
        }
      }
    }
    Chart.line(
        svg,
        "<path d=\"%s\" fill=\"none\" stroke=\"white\" stroke-opacity=\"0.6\" stroke-width=\"0.8\"/>",
        path);
  }

  private void axes(StringBuilder svg) {
    double from = grid[0];
    double to = grid[grid.length - 1];
    double apart = Chart.step(to - from);
    for (double at = Math.ceil(from / apart) * apart; at <= to + apart / 1e6; at += apart) {
      String text = Chart.text(Math.abs(at) < apart / 1e6 ? 0 : at);
      Chart.line(
          svg,
          "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>",
          across(at),
          TOP + SIDE + 18,
          text);
      Chart.line(
          svg,
          "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>",
          LEFT - 6,
          up(at) + 4,
          text);
    }
    Chart.line(
        svg,
        "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>",
        LEFT + SIDE / 2,
        TOP + SIDE + 38,
        names[0]);
    Chart.line(svg, "<text x=\"14\" y=\"%d\">%s</text>", TOP + SIDE / 2 + 4, names[1]);
    if (from <= 0 && to >= 0) {
      Chart.line(
          svg,
          "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"white\" stroke=\"black\"/>",
          across(0),
          up(0));
    }
  }

  private void scale(StringBuilder svg) {
    double height = (double) SIDE / bands;
    for (int band = 0; band <= bands; band++) {
      double y = TOP + SIDE - band * height;
      if (band < bands) {
        Chart.line(
            svg,
            "<rect x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%.1f\" fill=\"%s\"/>",
            SCALE,
            y - height,
            SCALE_WIDTH,
            height,
            colour(band));
      }
      Chart.line(
          svg,
          "<text x=\"%d\" y=\"%.1f\">%s</text>",
          SCALE + SCALE_WIDTH + 6,
          y + 4,
          Chart.power(bottom + band * step));
    }
  }

  private double across(double first) {
    return Chart.place(first, grid[0], grid[grid.length - 1], LEFT, LEFT + SIDE);
  }

  private double up(double second) {
    return Chart.place(second, grid[0], grid[grid.length - 1], TOP + SIDE, TOP);
  }

  private String colour(int band) {
    double at = bands == 1 ? 0 : (double) band / (bands - 1) * (COLOURS.length - 1);
    int below = Math.min((int) at, COLOURS.length - 2);
    int[] mixed = new int[3];
    for (int i = 0; i < 3; i++) {
      double share = at - below;
      mixed[i] = (int) Math.round((1 - share) * COLOURS[below][i] + share * COLOURS[below + 1][i]);
    }
    return String.format(Locale.ROOT, "#%02x%02x%02x", mixed[0], mixed[1], mixed[2]);
  }
}
