package org.ghostbatch.cli;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.stream.DoubleStream;
import org.ghostbatch.io.AtomicFiles;

/** Curves as an SVG picture. */
final class Chart {
  private static final int WIDTH = 640;
  private static final int HEIGHT = 400;
  private static final int LEFT = 72;
  private static final int RIGHT = 20;
  private static final int TOP = 66;
  private static final int BOTTOM = 50;
  private static final int TICKS = 6;
  static final double DECADES = 8;
  private static final List<String> COLOURS =
      List.of("#1f5fa8", "#c4501b", "#2c7a39", "#7a3b93", "#8a6d1a", "#3f8c8c");

  /** A curve, {x, y}; the gaps in it are values that are not finite. */
  private record Curve(String name, double[][] points) {}

  private final String title;
  private final String xName;
  private final boolean logarithmic;
  private final List<Curve> curves = new ArrayList<>();
  private double floor = Double.NEGATIVE_INFINITY;

  /**
   * @param logarithmic whether y is drawn by its logarithm, down to a 10^8th of the largest; values
   *     of 0 and less are gaps then
   */
  Chart(String title, String xName, boolean logarithmic) {
    this.title = title;
    this.xName = xName;
    this.logarithmic = logarithmic;
  }

  Chart curve(String name, double[][] points) {
    curves.add(new Curve(name, points));
    return this;
  }

  void write(Path file) {
    AtomicFiles.write(file, svg().getBytes(StandardCharsets.UTF_8));
  }

  String svg() {
    double[] xs = all(0).toArray();
    double largest = all(1).filter(Double::isFinite).max().orElse(1);
    floor = logarithmic ? Math.log10(largest) - DECADES : Double.NEGATIVE_INFINITY;
    double[] ys = all(1).map(this::height).filter(Double::isFinite).toArray();
    double left = DoubleStream.of(xs).min().orElse(0);
    double right = Math.max(DoubleStream.of(xs).max().orElse(1), Math.nextUp(left));
    double low = DoubleStream.of(ys).min().orElse(0);
    double high = DoubleStream.of(ys).max().orElse(1);
    double step = step(high - low);
    double bottom = Math.floor(low / step) * step;
    double top = Math.max(bottom + step, Math.ceil(high / step) * step);
    StringBuilder svg = new StringBuilder();
    line(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%1$d\" height=\"%2$d\" viewBox=\"0 0 %1$d %2$d\" "
            + "font-family=\"sans-serif\" font-size=\"12\">",
        WIDTH,
        HEIGHT);
    line(svg, "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>");
    line(svg, "<text x=\"%d\" y=\"24\" font-size=\"15\">%s</text>", LEFT, escaped(title));
    for (double y = bottom; y < top + step / 2; y += step) {
      double at = place(y, bottom, top, HEIGHT - BOTTOM, TOP);
      line(
          svg,
          "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>",
          LEFT,
          WIDTH - RIGHT,
          at,
          at);
      line(
          svg,
          "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>",
          LEFT - 6,
          at + 4,
          logarithmic ? power(y) : text(y));
    }
    double across = step(right - left);
    for (double x = Math.ceil(left / across) * across; x <= right + across / 1e6; x += across) {
      line(
          svg,
          "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>",
          place(x, left, right, LEFT, WIDTH - RIGHT),
          HEIGHT - BOTTOM + 18,
          text(Math.abs(x) < across / 1e6 ? 0 : x));
    }
    line(
        svg,
        "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>",
        (LEFT + WIDTH - RIGHT) / 2,
        HEIGHT - 12,
        escaped(xName));
    for (int i = 0; i < curves.size(); i++) {
      draw(svg, curves.get(i), COLOURS.get(i % COLOURS.size()), left, right, bottom, top);
      int at = LEFT + i * (WIDTH - LEFT - RIGHT) / Math.max(3, curves.size());
      line(
          svg,
          "<line x1=\"%d\" x2=\"%d\" y1=\"44\" y2=\"44\" stroke=\"%s\" stroke-width=\"2\"/>",
          at,
          at + 22,
          COLOURS.get(i % COLOURS.size()));
      line(svg, "<text x=\"%d\" y=\"48\">%s</text>", at + 28, escaped(curves.get(i).name()));
    }
    line(svg, "</svg>");
    return svg.toString();
  }

  private void draw(
      StringBuilder svg,
      Curve curve,
      String colour,
      double left,
      double right,
      double bottom,
      double top) {
    StringBuilder path = new StringBuilder();
    boolean pen = false;
    for (double[] point : curve.points()) {
      double y = height(point[1]);
      boolean finite = Double.isFinite(y);
      if (finite) {
        path.append(
            String.format(
                Locale.ROOT,
                "%s%.1f %.1f ",
                pen ? "L" : "M",
                place(point[0], left, right, LEFT, WIDTH - RIGHT),
                place(y, bottom, top, HEIGHT - BOTTOM, TOP)));
      }
      pen = finite;
    }
    line(
        svg,
        "<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\" stroke-linejoin=\"round\"/>",
        path.toString().strip(),
        colour);
  }

  private DoubleStream all(int coordinate) {
    return curves.stream()
        .flatMapToDouble(
            curve -> List.of(curve.points()).stream().mapToDouble(point -> point[coordinate]));
  }

  private double height(double y) {
    return logarithmic ? Math.max(floor, Math.log10(y > 0 ? y : Double.NaN)) : y;
  }

  /**
   * 1, 2 or 5 times a power of ten, so that a range has about six steps; whole decades by powers.
   */
  static double step(double range) {
    double least = Math.max(range, 1e-12) / TICKS;
    double power = Math.pow(10, Math.floor(Math.log10(least)));
    for (double factor : new double[] {1, 2, 5}) {
      if (factor * power >= least) {
        return factor * power;
      }
    }
    return 10 * power;
  }

  static double place(double value, double from, double to, int first, int last) {
    return first + (value - from) / (to - from) * (last - first);
  }

  static String text(double value) {
    return String.format(Locale.ROOT, "%.6g", value)
        .replaceFirst("(\\.[0-9]*?)0+($|e)", "$1$2")
        .replaceFirst("\\.($|e)", "$1");
  }

  /** The value whose logarithm this is. */
  static String power(double logarithm) {
    return String.format(Locale.ROOT, "%.2g", Math.pow(10, logarithm));
  }

  static String escaped(String text) {
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;");
  }

  static void line(StringBuilder svg, String format, Object... values) {
    svg.append(String.format(Locale.ROOT, format, values)).append('\n');
  }
}
