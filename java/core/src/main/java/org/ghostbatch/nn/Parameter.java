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

  /**
   * Where element {@code inFile} of the file's tensor, row by row, lies in the vector, counted from
   * {@code offset}.
   */
  public int inVector(int inFile) {
    int cells = height * width;
    int row = inFile / (cells * channels);
    int inRow = inFile % (cells * channels);
    return row * cells * channels + inRow % cells * channels + inRow / cells;
  }
}
