package org.ghostbatch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.w3c.dom.NodeList;

/** Contours of functions whose level lines are known. */
class ContourChartTest {
  private static final double[] GRID = {-1, -0.5, 0, 0.5, 1};
  private static final String[] NAMES = {"a", "b"};

  private interface Function {
    double of(double a, double b);
  }

  private static String svg(Function f) {
    double[][] values = new double[5][5];
    for (int row = 0; row < 5; row++) {
      for (int column = 0; column < 5; column++) {
        values[row][column] = f.of(GRID[column], GRID[row]);
      }
    }
    return new ContourChart("loss of <x>", NAMES, GRID, values).svg();
  }

  private static List<String> paths(String svg, boolean lines) throws Exception {
    NodeList nodes =
        DocumentBuilderFactory.newInstance()
            .newDocumentBuilder()
            .parse(new ByteArrayInputStream(svg.getBytes(StandardCharsets.UTF_8)))
            .getElementsByTagName("path");
    return Stream.iterate(0, i -> i + 1)
        .limit(nodes.getLength())
        .map(nodes::item)
        .filter(
            node ->
                node.getAttributes().getNamedItem("fill").getNodeValue().equals("none") == lines)
        .map(node -> node.getAttributes().getNamedItem("d").getNodeValue())
        .toList();
  }

  /** {x, y} of all corners. */
  private static double[][] corners(String path) {
    Matcher matcher = Pattern.compile("[ML]([0-9.]+) ([0-9.]+)").matcher(path);
    return matcher
        .results()
        .map(m -> new double[] {Double.parseDouble(m.group(1)), Double.parseDouble(m.group(2))})
        .toArray(double[][]::new);
  }

  /** Of the polygons of a path, by the formula of shoelaces; all must turn the same way. */
  private static double area(String path) {
    double all = 0;
    for (String polygon : path.split("Z")) {
      double[][] c = corners(polygon);
      double twice = 0;
      for (int i = 0; i < c.length; i++) {
        double[] next = c[(i + 1) % c.length];
        twice += c[i][0] * next[1] - next[0] * c[i][1];
      }
      assertTrue(twice <= 0, "a polygon that turns the other way");
      all -= twice / 2;
    }
    return all;
  }

  @Test
  void levelsOfAnExponentialAreStraightAndEquallySpaced() throws Exception {
    String svg = svg((a, b) -> Math.pow(10, a));
    List<String> lines = paths(svg, true);
    assertEquals(9, lines.size()); // 10^-0.8, 10^-0.6, ..., 10^0.8
    for (int i = 0; i < 9; i++) {
      double x = 64 + 416 * (i + 1) / 10.;
      double[][] corners = corners(lines.get(i));
      assertTrue(corners.length > 0);
      for (double[] corner : corners) {
        assertEquals(x, corner[0], 0.051);
      }
    }
    List<String> fills = paths(svg, false);
    assertEquals(10, fills.size());
    for (int band = 0; band < 10; band++) {
      assertEquals(416 * 416 * (1 - band / 10.), area(fills.get(band)), 150);
    }
    assertTrue(svg.contains("loss of &lt;x&gt;"));
    for (String label : new String[] {">0.10<", ">1.0<", ">10<", ">-1<", ">0.5<", ">a<", ">b<"}) {
      assertTrue(svg.contains(label), label);
    }
  }

  @Test
  void whatIsNotFiniteIsAGap() throws Exception {
    // The middle point touches four of the 16 cells.
    for (double gap : new double[] {Double.NaN, Double.POSITIVE_INFINITY, -1}) {
      List<String> fills = paths(svg((a, b) -> a == 0 && b == 0 ? gap : 1 + a * a), false);
      assertEquals(416 * 416 * 0.75, area(fills.get(0)), 1);
    }
    assertEquals(0, area(paths(svg((a, b) -> Double.NaN), false).get(0)));
  }

  @Test
  void constantsAndZerosAreDrawn() throws Exception {
    for (double value : new double[] {0, 0.3, 1}) {
      List<String> fills = paths(svg((a, b) -> value), false);
      assertEquals(416 * 416, area(fills.get(0)), 1);
    }
    // A loss of 0 is as low as the least other; what is far below the largest, eight decades.
    List<String> half = paths(svg((a, b) -> a < 0 ? 0 : Math.pow(10, a)), false);
    assertEquals(416 * 416, area(half.get(0)), 1);
    assertEquals(416 * 208 * 0.9, area(half.get(1)), 150);
    String svg = svg((a, b) -> a < 0 ? 1e-12 : 100);
    assertTrue(svg.contains(">1.0e-06<") && svg.contains(">1.0e+02<"), svg);
  }
}
