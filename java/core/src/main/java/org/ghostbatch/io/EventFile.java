package org.ghostbatch.io;

import java.io.FileOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import java.util.zip.CRC32C;

/**
 * A file of scalars over steps that TensorBoard reads: {@code events.out.tfevents.*}.
 *
 * <p>A file is a run of records (TFRecord): length (u64), masked CRC-32C of the length (u32), data,
 * masked CRC-32C of the data (u32), all little-endian; the mask of c is rotate_right(c, 15) +
 * 0xA282EAD8. The data of each is a protocol buffer {@code Event}: 1 wall_time (double), 2 step
 * (int64), 3 file_version (string), 5 summary, 7 session_log; a {@code Summary} has 1 value
 * (repeated), a {@code Value} 1 tag (string) and 2 simple_value (float).
 *
 * <p>Every record is handed to the system whole as it is written: after a kill of the process the
 * file can be read up to its last record. Not thread-safe.
 */
public final class EventFile implements AutoCloseable {
  private static final Pattern NAME = Pattern.compile("events\\.out\\.tfevents\\.(\\d+)\\..*");
  private static final int HEAD = 12;

  private final Path path;
  private final FileOutputStream out;
  private final CRC32C crc = new CRC32C();
  private ByteBuffer record = ByteBuffer.allocate(1024).order(ByteOrder.LITTLE_ENDIAN);

  private EventFile(Path path) throws IOException {
    this.path = path;
    // A stream, since channels close themselves on an interrupt.
    this.out = new FileOutputStream(path.toFile());
  }

  /**
   * Starts a file in a folder; its name sorts behind those that are there.
   *
   * @param steps done before: readers forget what earlier files say of later steps, and so all
   *     where the run begins anew
   */
  public static EventFile create(Path folder, long steps) {
    try {
      List<Long> others = seconds(folder);
      EventFile file = new EventFile(folder.resolve(name(others)));
      file.begin(0);
      file.text(3, "brain.Event:2");
      file.end();
      if (steps > 0 || !others.isEmpty()) {
        file.begin(steps + 1);
        file.bytes(7, 2);
        file.varint(1 << 3);
        file.varint(1); // SessionLog.START
        file.end();
      }
      return file;
    } catch (IOException e) {
      throw new UncheckedIOException(
          "[events] cannot write to " + folder + ": " + e.getMessage(), e);
    }
  }

  /** Readers take files in the order of their names: second, host, process. */
  private static String name(List<Long> others) {
    long second = System.currentTimeMillis() / 1000;
    for (long other : others) {
      second = Math.max(second, other + 1);
    }
    return String.format(
        Locale.ROOT, // not all languages have ASCII digits
        "events.out.tfevents.%010d.%s.%d",
        second,
        host(),
        ProcessHandle.current().pid());
  }

  /** Seconds in the names of the files that are there. */
  private static List<Long> seconds(Path folder) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files
          .map(file -> NAME.matcher(file.getFileName().toString()))
          .filter(name -> name.matches() && name.group(1).length() < 18)
          .map(name -> Long.parseLong(name.group(1)))
          .toList();
    }
  }

  private static String host() {
    try {
      String name = Files.readString(Path.of("/proc/sys/kernel/hostname")).strip();
      if (name.matches("[A-Za-z0-9._-]{1,64}")) {
        return name;
      }
    } catch (IOException e) {
      // Not Linux; asking the network could take seconds.
    }
    return "localhost";
  }

  public Path path() {
    return path;
  }

  /**
   * Writes scalars of one step; those that are not a number are left out. Values are rounded to
   * float.
   *
   * @throws IllegalArgumentException unless there is a value for each tag
   */
  public void scalars(long step, List<String> tags, double[] values) throws IOException {
    if (tags.size() != values.length) {
      throw new IllegalArgumentException(
          "[events] needs a value for each of " + tags.size() + " tags, got " + values.length);
    }
    int summary = 0;
    for (int i = 0; i < values.length; i++) {
      summary += Double.isNaN(values[i]) ? 0 : nested(value(tags.get(i)));
    }
    if (summary == 0) {
      return;
    }
    begin(step);
    bytes(5, summary);
    for (int i = 0; i < values.length; i++) {
      if (!Double.isNaN(values[i])) {
        bytes(1, value(tags.get(i)));
        text(1, tags.get(i));
        varint(2 << 3 | 5);
        room(4).putFloat((float) values[i]);
      }
    }
    end();
  }

  /** Bytes of a Value with this tag. */
  private static int value(String tag) {
    return nested(tag.getBytes(StandardCharsets.UTF_8).length) + 5;
  }

  /**
   * Bytes of a field, of a number below 16, with so many bytes: key, length in 7-bit groups, they.
   */
  private static int nested(int length) {
    return 1 + (38 - Integer.numberOfLeadingZeros(length | 1)) / 7 + length;
  }

  // Protocol buffers.

  private void begin(long step) {
    record.clear().position(HEAD);
    varint(1 << 3 | 1);
    room(8).putDouble(System.currentTimeMillis() / 1e3);
    varint(2 << 3);
    varint(step);
  }

  /** Head of a field that has so many bytes. */
  private void bytes(int field, int length) {
    varint(field << 3 | 2);
    varint(length);
  }

  private void text(int field, String text) {
    byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
    bytes(field, utf8.length);
    room(utf8.length).put(utf8);
  }

  private void varint(long value) {
    room(10);
    while ((value & ~0x7FL) != 0) {
      record.put((byte) (value & 0x7F | 0x80));
      value >>>= 7;
    }
    record.put((byte) value);
  }

  private ByteBuffer room(int bytes) {
    if (record.remaining() < bytes + 4) {
      ByteBuffer larger =
          ByteBuffer.allocate(2 * record.capacity() + bytes).order(ByteOrder.LITTLE_ENDIAN);
      record = larger.put(record.flip());
    }
    return record;
  }

  // Records.

  private void end() throws IOException {
    int length = record.position() - HEAD;
    record.putLong(0, length);
    record.putInt(8, masked(0, 8));
    record.putInt(HEAD + length, masked(HEAD, length));
    out.write(record.array(), 0, HEAD + length + 4);
  }

  private int masked(int from, int length) {
    crc.reset();
    crc.update(record.array(), from, length);
    return Integer.rotateRight((int) crc.getValue(), 15) + 0xA282EAD8;
  }

  @Override
  public void close() throws IOException {
    out.close();
  }
}
