package org.ghostbatch.data;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Arrays that NumPy saved: a folder with {@code train_x.npy}, {@code train_y.npy}, {@code
 * test_x.npy} and {@code test_y.npy}.
 *
 * <p>Features x are [N, H, W, C], [N, H, W] (one channel) or [N, D] (D channels of one pixel) of
 * uint8, which are then divided by 255, or of float32 or float64, which become floats and must be
 * finite. Labels y are [N] or [N, 1] of any integer type, from 0 on; there are as many classes as
 * the largest of both halves says. Little endian, C order; format versions 1.0 to 3.0. The
 * normalization is measured on the training features.
 *
 * @see <a href="https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html">the
 *     format</a>
 */
public final class Npy {
  private static final String KIND = "npy";
  private static final int MAX_HEADER = 10_000; // as in NumPy
  private static final int MAX_VALUES = Integer.MAX_VALUE - 16;
  private static final int PIECE = 1 << 16;
  private static final int MAX_CLASSES = 1 << 16; // each of them gets a name
  private static final byte[] MAGIC = {(byte) 0x93, 'N', 'U', 'M', 'P', 'Y'};

  /** Bytes of an element, by the type's name without byte order. */
  private static final Map<String, Integer> SIZES =
      Map.ofEntries(
          Map.entry("u1", 1),
          Map.entry("f4", 4),
          Map.entry("f8", 8),
          Map.entry("i1", 1),
          Map.entry("i2", 2),
          Map.entry("u2", 2),
          Map.entry("i4", 4),
          Map.entry("u4", 4),
          Map.entry("i8", 8),
          Map.entry("u8", 8));

  // The header is a Python dictionary of exactly these three members, in any order.
  private static final Pattern MEMBER =
      Pattern.compile(
          "\\s*+(?:'descr'\\s*+:\\s*+'(?<type>[^']*+)'"
              + "|'fortran_order'\\s*+:\\s*+(?<fortran>True|False)"
              + "|'shape'\\s*+:\\s*+\\((?<shape>[0-9,\\s]*+)\\))\\s*+(?:,\\s*+|$)");

  private Npy() {}

  /**
   * The data of a folder.
   *
   * @throws IllegalArgumentException naming file, offset and what was expected
   * @throws java.io.UncheckedIOException where a file cannot be read
   */
  public static DataPair load(Path folder) {
    Check.present(KIND, "a folder", folder);
    Dataset train = read(folder.resolve("train_x.npy"), folder.resolve("train_y.npy"));
    Dataset test = read(folder.resolve("test_x.npy"), folder.resolve("test_y.npy"));
    var names = (train.classes() < test.classes() ? test : train).classNames(); // numbers
    Dataset named = train.withClassNames(names);
    return new DataPair("npy:" + folder, named, test.withClassNames(names), named.normalization());
  }

  /** One pair of files. */
  static Dataset read(Path features, Path labels) {
    record Features(byte[] bytes, float[] floats, SampleShape shape, int count) {}
    Features x =
        DataFiles.read(
            KIND,
            features,
            in -> {
              Header header = header(in);
              if (!header.is("u1", "f4", "f8")) {
                throw in.invalid("features of type u1, f4 or f8", header.type);
              }
              SampleShape shape = shape(in, header);
              int count = header.shape[0];
              int values = count * shape.elements();
              return header.is("u1")
                  ? new Features(bytes(in, values), null, shape, count)
                  : new Features(null, floats(in, values, header.is("f8")), shape, count);
            });
    int[] y =
        DataFiles.read(
            KIND,
            labels,
            in -> {
              Header header = header(in);
              if (header.is("f4", "f8")) {
                throw in.invalid("labels of an integer type", header.type);
              }
              boolean flat =
                  header.shape.length == 1 || header.shape.length == 2 && header.shape[1] == 1;
              if (!flat || header.shape[0] != x.count) {
                throw in.invalid(
                    "labels of shape [" + x.count + "], one a sample",
                    Arrays.toString(header.shape));
              }
              return labels(in, header);
            });
    return x.bytes != null ? Dataset.of(x.bytes, x.shape, y) : Dataset.of(x.floats, x.shape, y);
  }

  /**
   * @param type without byte order
   * @param shape none of whose sizes is 0, and whose product is an int
   */
  private record Header(String type, int[] shape) {
    boolean is(String... types) {
      return Arrays.asList(types).contains(type);
    }

    int size() {
      return SIZES.get(type);
    }
  }

  private static Header header(DataFiles.Input in) throws IOException {
    byte[] start = new byte[8];
    in.read(start, 0, 8, "the magic text and version");
    if (!Arrays.equals(start, 0, 6, MAGIC, 0, 6)) {
      throw in.invalid("a file that begins with \\x93NUMPY", "another", 0);
    }
    if (start[6] < 1 || start[6] > 3 || start[7] != 0) {
      throw in.invalid("format version 1.0, 2.0 or 3.0", start[6] + "." + start[7], 6);
    }
    byte[] size = new byte[start[6] == 1 ? 2 : 4];
    in.read(size, 0, size.length, "the length of the header");
    long length = 0;
    for (int i = size.length - 1; i >= 0; i--) {
      length = length << 8 | size[i] & 0xFF;
    }
    if (length > MAX_HEADER) {
      throw in.invalid("a header of at most " + MAX_HEADER + " bytes", Long.toString(length), 8);
    }
    byte[] text = new byte[(int) length];
    long at = in.offset();
    in.read(text, 0, text.length, "the header");
    return parse(in, new String(text, StandardCharsets.UTF_8), at);
  }

  private static Header parse(DataFiles.Input in, String text, long at) {
    String type = null;
    String fortran = null;
    String shape = null;
    String header = text.strip();
    boolean valid = header.startsWith("{") && header.endsWith("}");
    String body = valid ? header.substring(1, header.length() - 1) : "";
    Matcher member = MEMBER.matcher(body);
    int end = 0;
    int members = 0;
    while (valid && end < body.length() && member.region(end, body.length()).lookingAt()) {
      type = member.group("type") != null ? member.group("type") : type;
      fortran = member.group("fortran") != null ? member.group("fortran") : fortran;
      shape = member.group("shape") != null ? member.group("shape") : shape;
      end = member.end();
      members++;
    }
    if (!valid
        || end < body.length()
        || members != 3
        || type == null
        || fortran == null
        || shape == null) {
      throw in.invalid(
          "a header {'descr': ..., 'fortran_order': ..., 'shape': (...)}",
          text.length() > 120 ? text.substring(0, 120) + "..." : text.strip(),
          at);
    }
    boolean little = type.length() == 3 && "<|".indexOf(type.charAt(0)) >= 0;
    String name = type.isEmpty() ? type : type.substring(1);
    if (!little || !SIZES.containsKey(name) || type.charAt(0) == '|' && SIZES.get(name) > 1) {
      throw in.invalid("a little-endian type such as |u1, <f4, <f8 or <i8", type, at);
    }
    if (fortran.equals("True")) {
      throw in.invalid("C order (numpy.ascontiguousarray)", "Fortran order", at);
    }
    return new Header(name, sizes(in, shape, at));
  }

  private static int[] sizes(DataFiles.Input in, String shape, long at) {
    String[] parts = shape.strip().isEmpty() ? new String[0] : shape.strip().split("\\s*+,\\s*+");
    int[] sizes = new int[parts.length];
    long product = 1;
    for (int i = 0; i < sizes.length; i++) {
      long size = parts[i].matches("[0-9]{1,10}") ? Long.parseLong(parts[i]) : 0;
      product = size > 0 && size <= MAX_VALUES ? product * size : Long.MAX_VALUE;
      if (product > MAX_VALUES) {
        throw in.invalid(
            "a shape of sizes >= 1 and at most " + MAX_VALUES + " values", "(" + shape + ")", at);
      }
      sizes[i] = (int) size;
    }
    return sizes;
  }

  private static SampleShape shape(DataFiles.Input in, Header header) {
    int[] s = header.shape;
    return switch (s.length) {
      case 2 -> new SampleShape(1, 1, s[1]);
      case 3 -> new SampleShape(s[1], s[2], 1);
      case 4 -> new SampleShape(s[1], s[2], s[3]);
      default ->
          throw in.invalid(
              "features of shape [N, H, W, C], [N, H, W] or [N, D]", Arrays.toString(s));
    };
  }

  private static byte[] bytes(DataFiles.Input in, int count) throws IOException {
    in.requireSize(in.offset() + count, count + " values");
    in.requireHeap(count);
    byte[] values = new byte[count];
    in.read(values, 0, count, "values");
    in.requireEnd();
    return values;
  }

  private static float[] floats(DataFiles.Input in, int count, boolean wide) throws IOException {
    int size = wide ? 8 : 4;
    in.requireSize(in.offset() + (long) count * size, count + " values");
    in.requireHeap(4L * count);
    float[] values = new float[count];
    byte[] piece = new byte[PIECE];
    ByteBuffer buffer = ByteBuffer.wrap(piece).order(ByteOrder.LITTLE_ENDIAN);
    for (int first = 0; first < count; ) {
      int read = Math.min(count - first, PIECE / size);
      long at = in.offset();
      in.read(piece, 0, read * size, "values");
      for (int i = 0; i < read; i++) {
        double value = wide ? buffer.getDouble(8 * i) : buffer.getFloat(4 * i);
        values[first + i] = (float) value;
        if (!Float.isFinite(values[first + i])) {
          throw in.invalid("finite 32-bit floats", Double.toString(value), at + (long) i * size);
        }
      }
      first += read;
    }
    in.requireEnd();
    return values;
  }

  private static int[] labels(DataFiles.Input in, Header header) throws IOException {
    int count = header.shape[0];
    int size = header.size();
    in.requireSize(in.offset() + (long) count * size, count + " labels");
    boolean signed = header.type.charAt(0) == 'i';
    int[] labels = new int[count];
    byte[] value = new byte[size];
    for (int i = 0; i < count; i++) {
      long at = in.offset();
      in.read(value, 0, size, "labels");
      long label = signed ? value[size - 1] : value[size - 1] & 0xFF;
      for (int b = size - 2; b >= 0; b--) {
        label = label << 8 | value[b] & 0xFF;
      }
      if (label < 0 || label >= MAX_CLASSES) {
        throw in.invalid(
            "labels in [0, " + MAX_CLASSES + ")",
            signed ? Long.toString(label) : Long.toUnsignedString(label),
            at);
      }
      labels[i] = (int) label;
    }
    in.requireEnd();
    return labels;
  }
}
