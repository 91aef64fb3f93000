package org.ghostbatch.data;

import java.util.Arrays;
import java.util.List;
import org.ghostbatch.random.RandomStream;

/**
 * The embedded data set: digits drawn as strokes, warped, of varying thickness, with clutter and
 * noise; 28x28x1 bytes, 10 classes, light on dark.
 *
 * <p>Drawn when asked for, from Philox numbers and arithmetic that Java defines to the last bit:
 * the same bytes on every JVM and system. Sample i shows the digit i mod 10, so that the first n
 * samples hold the classes evenly.
 */
public final class Strokes {
  /** Changes with any change of the images. */
  public static final String VERSION = "strokes-1";

  /** Samples of the training and of the test set, which share none. */
  public static final int TRAIN_COUNT = 6_000;

  public static final int TEST_COUNT = 10_000;

  private static final int SIZE = 28;
  private static final List<String> NAMES =
      List.of("0", "1", "2", "3", "4", "5", "6", "7", "8", "9");
  private static final Normalization NORMALIZATION =
      Normalization.ofBytes(List.of(0.0994), List.of(0.2099));

  // Difficulty. Lengths are pixels unless said otherwise; ranges are drawn from uniformly.

  /** Side of the square into which a digit is drawn. */
  private static final double BOX = 19;

  /** Each point of a glyph moves by up to this, in box sides. */
  private static final double JITTER = 0.05;

  private static final double MAX_ROTATION = 0.35; // radians
  private static final double MAX_SHEAR = 0.35;
  private static final double MIN_SCALE = 0.72;
  private static final double MAX_SCALE = 1.12;
  private static final double MAX_SHIFT = 3.2;

  /** Each node of the grid that warps the plane moves by up to this. */
  private static final double WARP = 3.6;

  private static final double MIN_RADIUS = 0.45;
  private static final double MAX_RADIUS = 1.7;
  private static final double MIN_LIGHT = 110; // of 255
  private static final double MAX_LIGHT = 255;

  /**
   * Strokes that belong to no digit: up to so many, so long, so bright in parts of the digit's own
   * light.
   */
  private static final int MAX_CLUTTER = 3;

  private static final double MAX_CLUTTER_LENGTH = 8;
  private static final double MIN_CLUTTER_LIGHT = 0.3;
  private static final double MAX_CLUTTER_LIGHT = 1.0;

  /** Dark strokes that hide parts of the digit: up to so many, so long, of such radius. */
  private static final int MAX_GAPS = 2;

  private static final double MAX_GAP_LENGTH = 8;
  private static final double MIN_GAP_RADIUS = 0.6;
  private static final double MAX_GAP_RADIUS = 1.6;

  /** Largest amplitude of the noise on each pixel, the sum of four uniform draws, of 255. */
  private static final double MAX_NOISE = 70;

  private static final long SEED = 0x5354524F4B455331L; // "STROKES1"
  private static final int DRAWING = 0;
  private static final int NOISE = 1;
  private static final int WARP_NODES = 6;
  private static final int SPAN_SEGMENTS = 4;

  private final double[] canvas = new double[SIZE * SIZE];
  private final double[] squares = new double[SIZE * SIZE];
  private final double[] warpX = new double[WARP_NODES * WARP_NODES];
  private final double[] warpY = new double[WARP_NODES * WARP_NODES];
  private final double[] pointsX = new double[32];
  private final double[] pointsY = new double[32];
  private double xx;
  private double xy;
  private double yx;
  private double yy;
  private double shiftX;
  private double shiftY;

  private Strokes() {}

  /** The 6,000 training samples. */
  public static Dataset train() {
    return draw(0, TRAIN_COUNT);
  }

  /** The 10,000 test samples, none of which is among the training samples. */
  public static Dataset test() {
    return draw(TRAIN_COUNT, TEST_COUNT);
  }

  /** Both, by name. */
  static DataPair load() {
    return new DataPair("strokes", train(), test(), NORMALIZATION);
  }

  private static Dataset draw(int first, int count) {
    var strokes = new Strokes();
    byte[] pixels = new byte[count * SIZE * SIZE];
    int[] labels = new int[count];
    for (int i = 0; i < count; i++) {
      labels[i] = i % 10;
      strokes.drawSample(first + i, labels[i], pixels, i * SIZE * SIZE);
    }
    return Dataset.of(pixels, new SampleShape(SIZE, SIZE, 1), labels)
        .withClassNames(NAMES)
        .withNormalization(NORMALIZATION);
  }

  private void drawSample(int sample, int digit, byte[] pixels, int offset) {
    var random = new RandomStream(SEED, DRAWING, sample, 0);
    Arrays.fill(canvas, 0);
    placeDigit(random);
    double[][][] variants = StrokeGlyphs.DIGITS[digit];
    double[][] glyph = variants[random.nextInt(variants.length)];
    double radius = random.nextDouble(MIN_RADIUS, MAX_RADIUS);
    double light = random.nextDouble(MIN_LIGHT, MAX_LIGHT);

    // The digit.
    Arrays.fill(squares, Double.MAX_VALUE);
    for (double[] stroke : glyph) {
      int points = stroke.length / 2;
      for (int p = 0; p < points; p++) {
        double u = stroke[2 * p] - 0.5 + random.nextDouble(-JITTER, JITTER);
        double v = stroke[2 * p + 1] - 0.5 + random.nextDouble(-JITTER, JITTER);
        pointsX[p] = xx * u + xy * v + shiftX;
        pointsY[p] = yx * u + yy * v + shiftY;
      }
      traceCurve(points, radius);
    }
    paint(radius, light);

    // What hides parts of it, then what distracts from it.
    for (int i = random.nextInt(MAX_GAPS + 1); i > 0; i--) {
      double gapRadius = random.nextDouble(MIN_GAP_RADIUS, MAX_GAP_RADIUS);
      traceLine(random, MAX_GAP_LENGTH, gapRadius);
      paint(gapRadius, 0);
    }
    for (int i = random.nextInt(MAX_CLUTTER + 1); i > 0; i--) {
      double clutterRadius = random.nextDouble(MIN_RADIUS, MAX_RADIUS);
      traceLine(random, MAX_CLUTTER_LENGTH, clutterRadius);
      paint(clutterRadius, light * random.nextDouble(MIN_CLUTTER_LIGHT, MAX_CLUTTER_LIGHT));
    }

    // Noise, and rounding to bytes.
    double noise = random.nextDouble(0, MAX_NOISE);
    var noises = new RandomStream(SEED, NOISE, sample, 0);
    for (int i = 0; i < SIZE * SIZE; i++) {
      int word = noises.nextInt();
      int sum = (word & 0xFF) + (word >>> 8 & 0xFF) + (word >>> 16 & 0xFF) + (word >>> 24);
      double value = canvas[i] + noise * (sum - 510) / 510 + 0.5;
      pixels[offset + i] = (byte) Math.max(0, Math.min(255, (int) value));
    }
  }

  /** Draws the affine map from glyph to image, and the warp of the image. */
  private void placeDigit(RandomStream random) {
    double angle = random.nextDouble(-MAX_ROTATION, MAX_ROTATION);
    double shear = random.nextDouble(-MAX_SHEAR, MAX_SHEAR);
    double width = BOX * random.nextDouble(MIN_SCALE, MAX_SCALE);
    double height = BOX * random.nextDouble(MIN_SCALE, MAX_SCALE);
    double cos = StrictMath.cos(angle);
    double sin = StrictMath.sin(angle);
    // Rotation times shear times scale.
    xx = cos * width;
    xy = (cos * shear - sin) * height;
    yx = sin * width;
    yy = (sin * shear + cos) * height;
    shiftX = (SIZE - 1) / 2.0 + random.nextDouble(-MAX_SHIFT, MAX_SHIFT);
    shiftY = (SIZE - 1) / 2.0 + random.nextDouble(-MAX_SHIFT, MAX_SHIFT);
    for (int i = 0; i < warpX.length; i++) {
      warpX[i] = random.nextDouble(-WARP, WARP);
      warpY[i] = random.nextDouble(-WARP, WARP);
    }
  }

  /**
   * Takes a Catmull-Rom curve through the first {@code points} points, warped, into the field of
   * distances.
   */
  private void traceCurve(int points, double radius) {
    double fromX = warped(warpX, pointsX[0], pointsX[0], pointsY[0]);
    double fromY = warped(warpY, pointsY[0], pointsX[0], pointsY[0]);
    for (int p = 0; p + 1 < points; p++) {
      int before = Math.max(0, p - 1);
      int after = Math.min(points - 1, p + 2);
      for (int s = 1; s <= SPAN_SEGMENTS; s++) {
        double t = (double) s / SPAN_SEGMENTS;
        double x = curve(pointsX[before], pointsX[p], pointsX[p + 1], pointsX[after], t);
        double y = curve(pointsY[before], pointsY[p], pointsY[p + 1], pointsY[after], t);
        double toX = warped(warpX, x, x, y);
        double toY = warped(warpY, y, x, y);
        traceSegment(fromX, fromY, toX, toY, radius);
        fromX = toX;
        fromY = toY;
      }
    }
  }

  /** Takes one straight line, anywhere, into an empty field of distances. */
  private void traceLine(RandomStream random, double maxLength, double radius) {
    Arrays.fill(squares, Double.MAX_VALUE);
    double x = random.nextDouble(0, SIZE);
    double y = random.nextDouble(0, SIZE);
    double dx = random.nextDouble(-maxLength, maxLength);
    double dy = random.nextDouble(-maxLength, maxLength);
    traceSegment(x, y, x + dx, y + dy, radius);
  }

  private static double curve(double p0, double p1, double p2, double p3, double t) {
    return p1
        + t * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0))) / 2;
  }

  /**
   * The coordinate moved by the warp at (x, y): a cubic B-spline over the grid's nodes, smooth
   * everywhere.
   */
  private static double warped(double[] nodes, double coordinate, double x, double y) {
    double step = (double) SIZE / (WARP_NODES - 3);
    double gx = Math.max(0, Math.min(WARP_NODES - 3 - 1e-9, x / step));
    double gy = Math.max(0, Math.min(WARP_NODES - 3 - 1e-9, y / step));
    int column = (int) gx;
    int row = (int) gy;
    double sum = 0;
    for (int j = 0; j < 4; j++) {
      double inRow = 0;
      for (int i = 0; i < 4; i++) {
        inRow += spline(gx - column, i) * nodes[(row + j) * WARP_NODES + column + i];
      }
      sum += spline(gy - row, j) * inRow;
    }
    return coordinate + sum;
  }

  private static double spline(double t, int node) {
    return switch (node) {
          case 0 -> (1 - t) * (1 - t) * (1 - t);
          case 1 -> 4 + t * t * (3 * t - 6);
          case 2 -> 1 + t * (3 + t * (3 - 3 * t));
          default -> t * t * t;
        }
        / 6;
  }

  /** Lowers the squared distances of pixels near the segment to those to the segment. */
  private void traceSegment(double x0, double y0, double x1, double y1, double radius) {
    double reach = radius + 1;
    int left = (int) Math.max(0, Math.ceil(Math.min(x0, x1) - reach));
    int right = (int) Math.min(SIZE - 1, Math.floor(Math.max(x0, x1) + reach));
    int top = (int) Math.max(0, Math.ceil(Math.min(y0, y1) - reach));
    int bottom = (int) Math.min(SIZE - 1, Math.floor(Math.max(y0, y1) + reach));
    double dx = x1 - x0;
    double dy = y1 - y0;
    double length = dx * dx + dy * dy;
    for (int y = top; y <= bottom; y++) {
      for (int x = left; x <= right; x++) {
        double along = length > 0 ? ((x - x0) * dx + (y - y0) * dy) / length : 0;
        double t = Math.max(0, Math.min(1, along));
        double ex = x - x0 - t * dx;
        double ey = y - y0 - t * dy;
        int i = y * SIZE + x;
        squares[i] = Math.min(squares[i], ex * ex + ey * ey);
      }
    }
  }

  /**
   * Covers pixels within {@code radius} of what was traced with {@code light}, with an edge one
   * pixel wide.
   */
  private void paint(double radius, double light) {
    for (int i = 0; i < SIZE * SIZE; i++) {
      if (squares[i] < (radius + 0.5) * (radius + 0.5)) {
        double cover = Math.min(1, radius + 0.5 - Math.sqrt(squares[i]));
        canvas[i] = light > 0 ? Math.max(canvas[i], cover * light) : canvas[i] * (1 - cover);
      }
    }
  }
}
