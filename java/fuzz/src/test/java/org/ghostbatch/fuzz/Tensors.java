package org.ghostbatch.fuzz;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.ghostbatch.io.SafeTensors;

/** All that a safetensors file holds, for comparisons. */
final class Tensors {
  private Tensors() {}

  record Content(Map<String, String> metadata, Map<String, List<Object>> tensors) {}

  /** Files with all types, with none, and with tensors that hold nothing. */
  static Stream<byte[]> valid() {
    return Stream.of(
            SafeTensors.writer(),
            SafeTensors.writer()
                .metadata("a", "b")
                .doubles("f64", new double[] {1, Double.NaN}, 2)
                .longs("i64", new long[] {-1}, 1, 1)
                .floats("f32", new float[] {1, 2, 3, 4, 5, 6}, 2, 3)
                .bfloats("bf16", new float[] {0.5f}, 1)
                .bytes("u8", new byte[3], 3),
            SafeTensors.writer().floats("none", new float[0], 0, 7).bytes("scalar", new byte[1]))
        .map(
            writer -> {
              Path file = Reading.file(Reading.folder(), "valid.safetensors");
              writer.write(file);
              return Reading.bytes(file);
            });
  }

  /** How many bytes of values a file has, below 256, then its header. */
  static byte[] headerOf(byte[] file) {
    int header = (int) ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN).getLong();
    byte[] input = Arrays.copyOfRange(file, 7, 8 + header);
    input[0] = (byte) (file.length - 8 - header);
    return input;
  }

  /** The file of such a header, with zeros as values. */
  static byte[] withHeader(byte[] input) {
    return ByteBuffer.allocate(8 + input.length - 1 + (input[0] & 0xFF))
        .order(ByteOrder.LITTLE_ENDIAN)
        .putLong(input.length - 1)
        .put(input, 1, input.length - 1)
        .array();
  }

  /** Reads a file; where it is accepted, what is written of it must read the same. */
  static boolean accepts(Path file, long size) {
    var read = Reading.of(size, 64, () -> read(file));
    read.ifPresent(
        content -> {
          Path again = Reading.file(file.getParent(), "again.safetensors");
          write(file, again);
          assertEquals(content, read(again));
        });
    return read.isPresent();
  }

  /** Halves are read, and written as floats. */
  private static SafeTensors.Type written(SafeTensors.Type type) {
    return type == SafeTensors.Type.F16 ? SafeTensors.Type.F32 : type;
  }

  private static Content read(Path path) {
    try (SafeTensors file = SafeTensors.open(path)) {
      Map<String, List<Object>> tensors = new LinkedHashMap<>();
      file.entries()
          .forEach(
              (name, entry) -> {
                List<Object> tensor =
                    new ArrayList<>(List.of(written(entry.type()), entry.shape()));
                tensor.add(
                    switch (entry.type()) {
                      case F64 -> Arrays.hashCode(file.doubles(name));
                      case F32, BF16, F16 -> Arrays.hashCode(file.floats(name));
                      case I64 -> Arrays.hashCode(file.longs(name));
                      case U8 -> Arrays.hashCode(file.bytes(name));
                    });
                tensors.put(name, tensor);
              });
      return new Content(file.metadata(), tensors);
    }
  }

  private static void write(Path from, Path to) {
    SafeTensors.Writer writer = SafeTensors.writer();
    try (SafeTensors file = SafeTensors.open(from)) {
      file.metadata().forEach(writer::metadata);
      file.entries()
          .forEach(
              (name, entry) -> {
                long[] shape = entry.shape().stream().mapToLong(Long::longValue).toArray();
                switch (entry.type()) {
                  case F64 -> writer.doubles(name, file.doubles(name), shape);
                  case F32 -> writer.floats(name, file.floats(name), shape);
                  case BF16 -> writer.bfloats(name, file.floats(name), shape);
                  case F16 -> writer.floats(name, file.floats(name), shape);
                  case I64 -> writer.longs(name, file.longs(name), shape);
                  case U8 -> writer.bytes(name, file.bytes(name), shape);
                }
              });
    }
    writer.write(to);
  }
}
