package org.ghostbatch.fuzz;

import static org.junit.jupiter.api.Assertions.assertEquals;

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

  private static Content read(Path path) {
    try (SafeTensors file = SafeTensors.open(path)) {
      Map<String, List<Object>> tensors = new LinkedHashMap<>();
      file.entries()
          .forEach(
              (name, entry) -> {
                List<Object> tensor = new ArrayList<>(List.of(entry.type(), entry.shape()));
                tensor.add(
                    switch (entry.type()) {
                      case F64 -> Arrays.hashCode(file.doubles(name));
                      case F32, BF16 -> Arrays.hashCode(file.floats(name));
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
                  case I64 -> writer.longs(name, file.longs(name), shape);
                  case U8 -> writer.bytes(name, file.bytes(name), shape);
                }
              });
    }
    writer.write(to);
  }
}
