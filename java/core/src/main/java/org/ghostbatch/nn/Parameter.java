package org.ghostbatch.nn;

import java.util.List;

/**
 * A slice of the parameter vector. In the vector its elements lie [outer, height, width, channels];
 * in files [outer, channels, height, width], PyTorch's layout, which has the shape {@code shape}.
 *
 * @param name PyTorch's, as in {@code 0.weight}
 * @param shape in files: [K, C/G, R, S], [out, in], or [C]
 * @param offset of the first element in the vector
 * @param height R of a convolution, or H of what was flattened before a linear layer, else 1
 * @param fanIn weights of one output
 */
public record Parameter(
    String name,
    Kind kind,
    List<Integer> shape,
    long offset,
    int outer,
    int height,
    int width,
    int channels,
    int fanIn) {
  /** What a parameter is to its layer. */
  public enum Kind {
    WEIGHT,
    BIAS,
    GAMMA,
    BETA
  }

  public Parameter {
    shape = List.copyOf(shape);
  }

  static Parameter vector(String name, Kind kind, long offset, int elements, int fanIn) {
    return new Parameter(name, kind, List.of(elements), offset, elements, 1, 1, 1, fanIn);
  }

  Parameter at(long offset) {
    return new Parameter(name, kind, shape, offset, outer, height, width, channels, fanIn);
  }

  /** Number of elements. */
  public int elements() {
    return outer * height * width * channels;
  }

  /** Elements in the vector's order to the order of files. */
  public double[] toFile(double[] values) {
    return permuted(values, true);
  }

  /** Elements in the order of files to the vector's order. */
  public double[] fromFile(double[] values) {
    return permuted(values, false);
  }

  private double[] permuted(double[] values, boolean toFile) {
    if (values.length != elements()) {
      throw Check.bad("parameter", elements() + " values for " + name, values.length);
    }
    int cells = height * width;
    if (cells == 1 || channels == 1) {
      return values;
    }
    double[] result = new double[values.length];
    for (int o = 0; o < outer; o++) {
      int base = o * cells * channels;
      for (int cell = 0; cell < cells; cell++) {
        for (int c = 0; c < channels; c++) {
          int inVector = base + cell * channels + c;
          int inFile = base + c * cells + cell;
          result[toFile ? inFile : inVector] = values[toFile ? inVector : inFile];
        }
      }
    }
    return result;
  }
}
