package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/**
 * Reads TensorBoard's event files, from the description of TFRecord and of event.proto alone;
 * shares nothing with the writer.
 */
final class EventReader {
  /**
   * One event; parts that it does not have are null, or 0.
   *
   * @param sessionStatus 1: start
   */
  record Event(
      double wallTime, long step, String fileVersion, List<Scalar> scalars, long sessionStatus) {}

  record Scalar(String tag, float value) {}

  /** A scalar of a file, with its step. */
  record Point(long step, String tag, float value) {}

  private EventReader() {}

  static List<Path> files(Path folder) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files
          .filter(file -> file.getFileName().toString().contains("tfevents"))
          .sorted()
          .toList();
    }
  }

  static List<Point> points(Path file) throws IOException {
    List<Point> points = new ArrayList<>();
    for (Event event : read(Files.readAllBytes(file), false)) {
      for (Scalar scalar : event.scalars) {
        points.add(new Point(event.step, scalar.tag, scalar.value));
      }
    }
    return points;
  }

  /** The points of a tag. */
  static List<Point> points(Path file, String tag) throws IOException {
    return points(file).stream().filter(point -> point.tag.equals(tag)).toList();
  }

  /**
   * @param cut whether the file may end within a record
   */
  static List<Event> read(byte[] file, boolean cut) {
    List<Event> events = new ArrayList<>();
    ByteBuffer in = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
    while (in.hasRemaining()) {
      if (cut && (in.remaining() < 12 || in.remaining() < 16 + in.getLong(in.position()))) {
        break;
      }
      byte[] length = new byte[8];
      in.get(length);
      assertEquals(masked(crc32c(length)), in.getInt(), "checksum of a length");
      byte[] data =
          new byte
              [Math.toIntExact(ByteBuffer.wrap(length).order(ByteOrder.LITTLE_ENDIAN).getLong())];
      in.get(data);
      assertEquals(masked(crc32c(data)), in.getInt(), "checksum of data");
      events.add(event(data));
    }
    return events;
  }

  /** Bit by bit, reflected, polynomial 0x1EDC6F41. */
  static int crc32c(byte[] data) {
    int crc = ~0;
    for (byte b : data) {
      crc ^= b & 0xFF;
      for (int bit = 0; bit < 8; bit++) {
        crc = (crc & 1) != 0 ? crc >>> 1 ^ 0x82F63B78 : crc >>> 1;
      }
    }
    return ~crc;
  }

  static int masked(int crc) {
    return (crc >>> 15 | crc << 17) + (int) 2726488792L;
  }

  // Protocol buffers: fields in any order, unknown ones are an error here.

  private static Event event(byte[] data) {
    double wallTime = 0;
    long step = 0;
    String version = null;
    List<Scalar> scalars = new ArrayList<>();
    long status = 0;
    ByteBuffer in = ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN);
    while (in.hasRemaining()) {
      switch ((int) varint(in)) {
        case 1 << 3 | 1 -> wallTime = in.getDouble();
        case 2 << 3 -> step = varint(in);
        case 3 << 3 | 2 -> version = new String(bytes(in), StandardCharsets.UTF_8);
        case 5 << 3 | 2 -> summary(ByteBuffer.wrap(bytes(in)), scalars);
        case 7 << 3 | 2 -> {
          ByteBuffer log = ByteBuffer.wrap(bytes(in));
          assertEquals(1 << 3, varint(log));
          status = varint(log);
          assertEquals(0, log.remaining());
        }
        default -> throw new AssertionError("a field of Event that is not expected");
      }
    }
    return new Event(wallTime, step, version, scalars, status);
  }

  private static void summary(ByteBuffer in, List<Scalar> scalars) {
    while (in.hasRemaining()) {
      assertEquals(1 << 3 | 2, varint(in));
      ByteBuffer value = ByteBuffer.wrap(bytes(in)).order(ByteOrder.LITTLE_ENDIAN);
      String tag = null;
      Float number = null;
      while (value.hasRemaining()) {
        switch ((int) varint(value)) {
          case 1 << 3 | 2 -> tag = new String(bytes(value), StandardCharsets.UTF_8);
          case 2 << 3 | 5 -> number = value.getFloat();
          default -> throw new AssertionError("a field of Value that is not expected");
        }
      }
      scalars.add(new Scalar(tag, number));
    }
  }

  private static byte[] bytes(ByteBuffer in) {
    byte[] bytes = new byte[Math.toIntExact(varint(in))];
    in.get(bytes);
    return bytes;
  }

  private static long varint(ByteBuffer in) {
    long value = 0;
    for (int shift = 0; ; shift += 7) {
      byte b = in.get();
      value |= (long) (b & 0x7F) << shift;
      if (b >= 0) {
        return value;
      }
    }
  }
}
