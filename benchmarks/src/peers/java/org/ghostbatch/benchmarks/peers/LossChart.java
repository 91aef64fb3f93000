package org.ghostbatch.benchmarks.peers;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/** Training loss by update as an SVG picture: a panel for each precision, a line for each run. */
final class LossChart {
  private static final int PANEL = 460;
  private static final int HEIGHT = 400;
  private static final int LEFT = 58;
  private static final int RIGHT = 16;
  private static final int TOP = 64;
  private static final int BOTTOM = 52;
  private static final List<String> DASHES = List.of("none", "6 3", "2 2", "9 3 2 3");

  private LossChart() {}

  static String svg(List<RunRecord> runs) {
    List<String> precisions = new ArrayList<>(List.of("f32", "bf16"));
    precisions.removeIf(p -> runs.stream().noneMatch(r -> r.precision().equals(p)));
    List<Long> seeds = runs.stream().map(RunRecord::seed).distinct().sorted().toList();
    double[] all = runs.stream().flatMapToDouble(r -> Arrays.stream(r.losses())).toArray();
    double high = Arrays.stream(all).filter(Double::isFinite).max().orElse(1);
    double low = Arrays.stream(all).filter(Double::isFinite).min().orElse(0);
    double step = high - low > 4 ? 1 : high - low > 1 ? 0.25 : 0.1;
    double bottom = Math.floor(low / step) * step;
    double top = Math.max(bottom + step, Math.ceil(high / step) * step);
    int updates = runs.stream().mapToInt(r -> r.losses().length).max().orElse(1);
    int width = PANEL * precisions.size();
    StringBuilder svg = new StringBuilder();
    line(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\""
            + " viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\">",
        width,
        HEIGHT,
        width,
        HEIGHT);
    line(svg, "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>");
    for (int p = 0; p < precisions.size(); p++) {
      String precision = precisions.get(p);
      line(svg, "<g transform=\"translate(%d 0)\">", p * PANEL);
      axes(svg, precision, bottom, top, step, updates);
      List<RunRecord> drawn = runs.stream().filter(r -> r.precision().equals(precision)).toList();
      for (RunRecord run : drawn) {
        curve(svg, run, seeds.indexOf(run.seed()), bottom, top, updates);
      }
      legend(svg, drawn, seeds);
      line(svg, "</g>");
    }
    line(svg, "</svg>");
    return svg.toString();
  }

  private static void axes(
      StringBuilder svg, String title, double bottom, double top, double step, int updates) {
    line(svg, "<text x=\"%d\" y=\"24\" font-size=\"15\">Training loss, %s</text>", LEFT, title);
    for (int i = 0; bottom + i * step <= top + step / 2; i++) {
      double y = y(bottom + i * step, bottom, top);
      line(
          svg,
          "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>",
          LEFT,
          PANEL - RIGHT,
          y,
          y);
      line(
          svg,
          "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>",
          LEFT - 6,
          y + 4,
          String.format(Locale.ROOT, step < 1 ? "%.2f" : "%.0f", bottom + i * step));
    }
    int every = Math.max(1, (int) Math.ceil(updates / 6.0));
    every = every > 10 ? (every + 9) / 10 * 10 : every;
    for (int update = every; update <= updates; update += every) {
      line(
          svg,
          "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%d</text>",
          x(update, updates),
          HEIGHT - BOTTOM + 18,
          update);
    }
    line(
        svg,
        "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">update</text>",
        (LEFT + PANEL - RIGHT) / 2,
        HEIGHT - 14);
  }

  private static void curve(
      StringBuilder svg, RunRecord run, int seed, double bottom, double top, int updates) {
    StringBuilder points = new StringBuilder();
    for (int i = 0; i < run.losses().length; i++) {
      if (Double.isFinite(run.losses()[i])) {
        points.append(
            String.format(
                Locale.ROOT, "%.1f,%.1f ", x(i + 1, updates), y(run.losses()[i], bottom, top)));
      }
    }
    line(
        svg,
        "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.4\""
            + " stroke-dasharray=\"%s\"/>",
        points.toString().strip(),
        colour(run),
        dash(seed));
  }

  /** A row for each engine, in it its seeds. */
  private static void legend(StringBuilder svg, List<RunRecord> runs, List<Long> seeds) {
    int step = (PANEL - RIGHT - LEFT) / Math.max(2, seeds.size());
    for (RunRecord run : runs) {
      int x = LEFT + step * seeds.indexOf(run.seed());
      int y = run.engine().equals("ghostbatch") ? 40 : 55;
      line(
          svg,
          "<line x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\" stroke=\"%s\" stroke-width=\"2\""
              + " stroke-dasharray=\"%s\"/>",
          x,
          x + 22,
          y - 4,
          y - 4,
          colour(run),
          dash(seeds.indexOf(run.seed())));
      line(
          svg,
          "<text x=\"%d\" y=\"%d\" font-size=\"11\">%s, seed %d</text>",
          x + 26,
          y,
          run.engine().equals("ghostbatch") ? "GhostBatch" : run.engine(),
          run.seed());
    }
  }

  private static double x(int update, int updates) {
    return LEFT + (double) (PANEL - RIGHT - LEFT) * (update - 1) / Math.max(1, updates - 1);
  }

  private static double y(double loss, double bottom, double top) {
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (loss - bottom) / (top - bottom);
  }

  private static String colour(RunRecord run) {
    return run.engine().equals("ghostbatch") ? "#0072b2" : "#d55e00";
  }

  private static String dash(int seed) {
    return DASHES.get(seed % DASHES.size());
  }

  private static void line(StringBuilder svg, String format, Object... values) {
    svg.append(String.format(Locale.ROOT, format, values)).append('\n');
  }
}
