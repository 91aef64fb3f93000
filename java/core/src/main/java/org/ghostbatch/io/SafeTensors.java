package org.ghostbatch.io;

import java.io.EOFException;
import java.io.IOException;
import java.io.OutputStream;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.IntToDoubleFunction;

/**
 * A safetensors file: 8 bytes header length, a JSON header of names, types, shapes and offsets,
 * then the values, all little-endian. Opening checks the whole header against the file's size;
 * values are read when asked for.
 *
 * <p>Safe to use from several threads.
 */
public final class SafeTensors implements AutoCloseable {
  /**
   * Longest header that is read or written, in bytes: 100,000 tensors. What a hostile one makes of
   * them takes 40 times as many; the reference implementation's limit of 10^8 would be gigabytes.
   */
  public static final int MAX_HEADER = 1 << 24;

  private static final String METADATA = "__metadata__";
  private static final int CHUNK = 1 << 20;

  /** Element types, by their names in the file. */
  public enum Type {
    F64(8),
    F32(4),
    BF16(2),
    F16(2),
    I64(8),
    U8(1);

    private final int bytes;

    Type(int bytes) {
      this.bytes = bytes;
    }

    /** Bytes of one element. */
    public int bytes() {
      return bytes;
    }
  }

  /**
   * A tensor of the file.
   *
   * @param shape sizes, outermost first; empty for a scalar
   * @param begin offset of the first byte behind the header
   * @param end offset behind the last byte
   */
  public record Entry(Type type, List<Long> shape, long begin, long end) {
    /** Number of elements. */
    public long elements() {
      return (end - begin) / type.bytes();
    }
  }

  private final Path path;
  private final RandomAccessFile file;
  private final long data;
  private final Map<String, String> metadata;
  private final Map<String, Entry> entries;
  private boolean closed;

  private SafeTensors(
      Path path,
      RandomAccessFile file,
      long data,
      Map<String, String> metadata,
      Map<String, Entry> entries) {
    this.path = path;
    this.file = file;
    this.data = data;
    this.metadata = metadata;
    this.entries = entries;
  }

  /**
   * Opens a file and checks its header.
   *
   * @throws UncheckedIOException where the file cannot be read
   * @throws IllegalArgumentException where it is not a valid safetensors file, or has types other
   *     than {@link Type}
   */
  public static SafeTensors open(Path path) {
    try {
      var file = new RandomAccessFile(path.toFile(), "r");
      try {
        return open(path, file);
      } catch (Throwable e) {
        file.close();
        throw e;
      }
    } catch (IOException e) {
      throw new UncheckedIOException(
          "[safetensors] cannot read " + path + ": " + e.getMessage(), e);
    }
  }

  private static SafeTensors open(Path path, RandomAccessFile file) throws IOException {
    long size = file.length();
    if (size < 8) {
      throw invalid(path, "at least 8 bytes", size + " bytes");
    }
    long length = Long.reverseBytes(file.readLong());
    if (length < 2 || length > MAX_HEADER || length > size - 8) {
      throw invalid(
          path,
          "a header of 2 to " + Math.min(MAX_HEADER, size - 8) + " bytes in a file of " + size,
          Long.toUnsignedString(length));
    }
    byte[] header = new byte[(int) length];
    file.readFully(header);
    if (header[0] != '{') {
      throw invalid(path, "a header that starts with '{'", "byte " + (header[0] & 0xFF));
    }
    try {
      JsonObject object = (JsonObject) Json.parse(header);
      Map<String, String> metadata = new LinkedHashMap<>();
      Map<String, Entry> entries = new LinkedHashMap<>();
      for (String name : object.names()) {
        if (name.equals(METADATA)) {
          JsonObject texts = object.getObject(METADATA);
          texts.names().forEach(key -> metadata.put(key, texts.getString(key)));
        } else {
          entries.put(name, entry(name, object.getObject(name)));
        }
      }
      checkLayout(entries, size - 8 - length);
      return new SafeTensors(
          path,
          file,
          8 + length,
          Collections.unmodifiableMap(metadata),
          Collections.unmodifiableMap(entries));
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException(e.getMessage() + ", in the header of " + path, e);
    }
  }

  private static Entry entry(String name, JsonObject object) {
    object.requireOnly(Set.of("dtype", "shape", "data_offsets"));
    String typeName = object.getString("dtype");
    Type type;
    try {
      type = Type.valueOf(typeName);
    } catch (IllegalArgumentException e) {
      throw needs("F64, F32, BF16, F16, I64 or U8 for \"" + name + "\"", typeName);
    }
    List<Long> shape = sizes(name, object, "shape");
    List<Long> offsets = sizes(name, object, "data_offsets");
    if (offsets.size() != 2 || offsets.get(0) > offsets.get(1)) {
      throw needs("two increasing offsets for \"" + name + "\"", offsets.toString());
    }
    long bytes = offsets.get(1) - offsets.get(0);
    if (byteSize(name, type, shape) != bytes) {
      throw needs(
          byteSize(name, type, shape) + " bytes for " + type + " " + shape + " \"" + name + "\"",
          "" + bytes);
    }
    return new Entry(type, shape, offsets.get(0), offsets.get(1));
  }

  private static List<Long> sizes(String name, JsonObject object, String member) {
    List<Long> sizes = new ArrayList<>();
    for (Object size : object.getList(member)) {
      if (!(size instanceof Long value) || value < 0) {
        throw needs("integers >= 0 in " + member + " of \"" + name + "\"", String.valueOf(size));
      }
      sizes.add(value);
    }
    return List.copyOf(sizes);
  }

  private static long byteSize(String name, Type type, List<Long> shape) {
    try {
      long bytes = type.bytes();
      for (long size : shape) {
        bytes = Math.multiplyExact(bytes, size);
      }
      return bytes;
    } catch (ArithmeticException e) {
      throw needs("fewer than 2^63 bytes for \"" + name + "\"", type + " " + shape);
    }
  }

  /** Tensors must lie one after another: neither overlaps nor gaps, up to the end of the file. */
  private static void checkLayout(Map<String, Entry> entries, long size) {
    List<Map.Entry<String, Entry>> ordered = new ArrayList<>(entries.entrySet());
    ordered.sort(
        Comparator.comparingLong((Map.Entry<String, Entry> e) -> e.getValue().begin())
            .thenComparingLong(e -> e.getValue().end()));
    long at = 0;
    for (var tensor : ordered) {
      if (tensor.getValue().begin() != at) {
        throw needs(
            "\"" + tensor.getKey() + "\" to begin at offset " + at, "" + tensor.getValue().begin());
      }
      at = tensor.getValue().end();
    }
    if (at != size) {
      throw needs(at + " bytes of values", "" + size);
    }
  }

  /** Free texts of the file, in its order. */
  public Map<String, String> metadata() {
    return metadata;
  }

  /** The tensors by name, in the header's order. */
  public Map<String, Entry> entries() {
    return entries;
  }

  /** The tensor of that name. @throws IllegalArgumentException where there is none */
  public Entry entry(String name) {
    Entry entry = entries.get(name);
    if (entry == null) {
      throw new IllegalArgumentException(
          "[safetensors] needs a tensor \"" + name + "\", got none in " + path);
    }
    return entry;
  }

  /** Values of an F32, BF16 or F16 tensor, row by row. */
  public float[] floats(String name) {
    Entry entry = entry(name, Type.F32, Type.BF16, Type.F16);
    float[] values = new float[length(name, entry)];
    read(
        entry,
        (chunk, first, count) -> {
          if (entry.type() == Type.F32) {
            chunk.asFloatBuffer().get(values, first, count);
          } else {
            for (int i = 0; i < count; i++) {
              values[first + i] = widen(entry.type(), chunk.getShort(2 * i));
            }
          }
        });
    return values;
  }

  /** Values of an F64, F32, BF16 or F16 tensor, row by row. */
  public double[] doubles(String name) {
    double[] values = new double[length(name, entry(name))];
    forEach(name, (index, value) -> values[index] = value);
    return values;
  }

  /** Takes the values of a tensor. */
  public interface Values {
    /**
     * @param index counted row by row
     */
    void accept(int index, double value);
  }

  /** Hands out the values of an F64, F32, BF16 or F16 tensor, row by row. */
  public void forEach(String name, Values to) {
    Entry entry = entry(name, Type.F64, Type.F32, Type.BF16, Type.F16);
    length(name, entry);
    read(
        entry,
        (chunk, first, count) -> {
          for (int i = 0; i < count; i++) {
            to.accept(
                first + i,
                switch (entry.type()) {
                  case F64 -> chunk.getDouble(8 * i);
                  case F32 -> chunk.getFloat(4 * i);
                  default -> widen(entry.type(), chunk.getShort(2 * i));
                });
          }
        });
  }

  /** Values of an I64 tensor, row by row. */
  public long[] longs(String name) {
    Entry entry = entry(name, Type.I64);
    long[] values = new long[length(name, entry)];
    read(entry, (chunk, first, count) -> chunk.asLongBuffer().get(values, first, count));
    return values;
  }

  /** Values of a U8 tensor, row by row. */
  public byte[] bytes(String name) {
    Entry entry = entry(name, Type.U8);
    byte[] values = new byte[length(name, entry)];
    read(entry, (chunk, first, count) -> chunk.get(values, first, count));
    return values;
  }

  private Entry entry(String name, Type... types) {
    Entry entry = entry(name);
    if (!List.of(types).contains(entry.type())) {
      throw new IllegalArgumentException(
          "[safetensors] needs "
              + List.of(types)
              + " for \""
              + name
              + "\", got "
              + entry.type()
              + " in "
              + path);
    }
    return entry;
  }

  private int length(String name, Entry entry) {
    if (entry.elements() > Integer.MAX_VALUE - 8) {
      throw new IllegalArgumentException(
          "[safetensors] needs at most 2147483639 elements for \""
              + name
              + "\", got "
              + entry.elements());
    }
    return (int) entry.elements();
  }

  private interface Decoder {
    void decode(ByteBuffer chunk, int first, int count);
  }

  private synchronized void read(Entry entry, Decoder decoder) {
    if (closed) {
      throw new IllegalStateException("[safetensors] needs an open file, got " + path + " closed");
    }
    try {
      byte[] bytes = new byte[(int) Math.min(CHUNK, entry.end() - entry.begin())];
      ByteBuffer chunk = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
      file.seek(data + entry.begin());
      for (long at = entry.begin(); at < entry.end(); at += bytes.length) {
        int count = (int) Math.min(bytes.length, entry.end() - at);
        file.readFully(bytes, 0, count);
        decoder.decode(
            chunk.clear(),
            (int) ((at - entry.begin()) / entry.type().bytes()),
            count / entry.type().bytes());
      }
    } catch (EOFException e) {
      throw new IllegalArgumentException(
          "[safetensors] needs a file of constant size, got " + path + " cut short", e);
    } catch (IOException e) {
      throw new UncheckedIOException(
          "[safetensors] cannot read " + path + ": " + e.getMessage(), e);
    }
  }

  /** Closes the file; again is allowed. */
  @Override
  public synchronized void close() {
    closed = true;
    try {
      file.close();
    } catch (IOException e) {
      throw new UncheckedIOException(
          "[safetensors] cannot close " + path + ": " + e.getMessage(), e);
    }
  }

  /** Starts a new file. */
  public static Writer writer() {
    return new Writer();
  }

  /** Collects tensors, which it does not copy, and writes them as one file. */
  public static final class Writer {
    private record Tensor(String name, Type type, List<Long> shape, int length, Encoder encoder) {}

    private interface Encoder {
      void encode(ByteBuffer chunk, int first, int count);
    }

    private final Map<String, String> metadata = new LinkedHashMap<>();
    private final Map<String, Tensor> tensors = new LinkedHashMap<>();

    private Writer() {}

    /** Adds a text. */
    public Writer metadata(String key, String value) {
      if (value == null || metadata.putIfAbsent(key, value) != null) {
        throw new IllegalArgumentException(
            "[safetensors] needs each metadata key once, with a text, got " + key);
      }
      return this;
    }

    /** Adds an F32 tensor; the sizes' product is values.length. */
    public Writer floats(String name, float[] values, long... shape) {
      return add(
          name,
          Type.F32,
          values.length,
          shape,
          (chunk, first, n) -> chunk.asFloatBuffer().put(values, first, n));
    }

    /** Adds an F64 tensor. */
    public Writer doubles(String name, double[] values, long... shape) {
      return add(
          name,
          Type.F64,
          values.length,
          shape,
          (chunk, first, n) -> chunk.asDoubleBuffer().put(values, first, n));
    }

    /** Adds an F32 tensor of values that are made as it is written: value(index), row by row. */
    public Writer floats(String name, int length, IntToDoubleFunction value, long... shape) {
      return add(
          name,
          Type.F32,
          length,
          shape,
          (chunk, first, n) -> {
            for (int i = 0; i < n; i++) {
              chunk.putFloat(4 * i, (float) value.applyAsDouble(first + i));
            }
          });
    }

    /** Adds an F64 tensor of values that are made as it is written: value(index), row by row. */
    public Writer doubles(String name, int length, IntToDoubleFunction value, long... shape) {
      return add(
          name,
          Type.F64,
          length,
          shape,
          (chunk, first, n) -> {
            for (int i = 0; i < n; i++) {
              chunk.putDouble(8 * i, value.applyAsDouble(first + i));
            }
          });
    }

    /** Adds a BF16 tensor, values rounded to the nearest, ties to even. */
    public Writer bfloats(String name, float[] values, long... shape) {
      return add(
          name,
          Type.BF16,
          values.length,
          shape,
          (chunk, first, n) -> {
            for (int i = 0; i < n; i++) {
              chunk.putShort(2 * i, narrow(values[first + i]));
            }
          });
    }

    /** Adds an I64 tensor. */
    public Writer longs(String name, long[] values, long... shape) {
      return add(
          name,
          Type.I64,
          values.length,
          shape,
          (chunk, first, n) -> chunk.asLongBuffer().put(values, first, n));
    }

    /** Adds a U8 tensor. */
    public Writer bytes(String name, byte[] values, long... shape) {
      return add(
          name, Type.U8, values.length, shape, (chunk, first, n) -> chunk.put(values, first, n));
    }

    private Writer add(String name, Type type, int length, long[] shape, Encoder encoder) {
      List<Long> sizes = new ArrayList<>();
      for (long size : shape) {
        if (size < 0) {
          throw needs("sizes >= 0 for \"" + name + "\"", "" + size);
        }
        sizes.add(size);
      }
      if (byteSize(name, type, sizes) != (long) length * type.bytes()) {
        throw needs("as many values as " + sizes + " has for \"" + name + "\"", "" + length);
      }
      if (name.equals(METADATA)
          || tensors.putIfAbsent(name, new Tensor(name, type, sizes, length, encoder)) != null) {
        throw needs("each name once, none of them " + METADATA, name);
      }
      return this;
    }

    /** Writes the file, whole or not at all (see {@link AtomicFiles}). */
    public void write(Path path) {
      AtomicFiles.write(path, this::writeTo);
    }

    /**
     * Writes the file's bytes. Wider types come first, so that every tensor is aligned to its
     * elements; otherwise the order is that of adding.
     */
    public void writeTo(OutputStream out) throws IOException {
      List<Tensor> ordered = new ArrayList<>(tensors.values());
      ordered.sort(Comparator.comparingInt(tensor -> -tensor.type().bytes()));
      byte[] header = header(ordered);
      out.write(
          ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(header.length).array());
      out.write(header);
      for (Tensor tensor : ordered) {
        write(tensor, out);
      }
    }

    private byte[] header(List<Tensor> ordered) {
      var object = new JsonObject();
      if (!metadata.isEmpty()) {
        var texts = new JsonObject();
        metadata.forEach(texts::put);
        object.put(METADATA, texts);
      }
      long at = 0;
      for (Tensor tensor : ordered) {
        long end = at + (long) tensor.length() * tensor.type().bytes();
        object.put(
            tensor.name(),
            new JsonObject()
                .put("dtype", tensor.type().name())
                .put("shape", tensor.shape())
                .put("data_offsets", List.of(at, end)));
        at = end;
      }
      byte[] json = Json.write(object).getBytes(StandardCharsets.UTF_8);
      // Spaces up to a multiple of 8 align the values.
      byte[] header = new byte[(json.length + 7) / 8 * 8];
      if (header.length > MAX_HEADER) {
        throw needs("a header of at most " + MAX_HEADER + " bytes", "" + header.length);
      }
      Arrays.fill(header, (byte) ' ');
      System.arraycopy(json, 0, header, 0, json.length);
      return header;
    }

    private static void write(Tensor tensor, OutputStream out) throws IOException {
      int size = tensor.type().bytes();
      byte[] bytes = new byte[(int) Math.min(CHUNK, (long) tensor.length() * size)];
      ByteBuffer chunk = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
      for (long first = 0; first < tensor.length(); first += bytes.length / size) {
        int count = (int) Math.min(bytes.length / size, tensor.length() - first);
        tensor.encoder().encode(chunk.clear(), (int) first, count);
        out.write(bytes, 0, count * size);
      }
    }
  }

  private static float widen(Type type, short bits) {
    return type == Type.F16 ? half(bits) : widen(bits);
  }

  static float widen(short bf16) {
    return Float.intBitsToFloat(bf16 << 16);
  }

  /** IEEE 754 binary16: sign, 5 bits of exponent (15 is 1), 10 of fraction. */
  static float half(short bits) {
    int exponent = bits >> 10 & 0x1F;
    int fraction = bits & 0x3FF;
    float magnitude =
        switch (exponent) {
          case 0 -> fraction * 0x1p-24f;
          case 31 -> fraction == 0 ? Float.POSITIVE_INFINITY : Float.NaN;
          default -> Float.intBitsToFloat(exponent + 127 - 15 << 23 | fraction << 13);
        };
    return bits < 0 ? -magnitude : magnitude;
  }

  static short narrow(float value) {
    int bits = Float.floatToRawIntBits(value);
    if (Float.isNaN(value)) {
      return (short) (bits >>> 16 | 0x40); // Rounding could carry a NaN's payload away.
    }
    return (short) (bits + 0x7FFF + (bits >>> 16 & 1) >>> 16);
  }

  private static IllegalArgumentException needs(String what, String got) {
    return new IllegalArgumentException("[safetensors] needs " + what + ", got " + got);
  }

  private static IllegalArgumentException invalid(Path path, String what, String got) {
    return needs(what, got + " in " + path);
  }
}
