package org.ghostbatch.data;

import java.io.BufferedInputStream;
import java.io.EOFException;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.zip.GZIPInputStream;
import java.util.zip.ZipException;

/** Finds and opens the files of data sets. */
final class DataFiles {
  // DEFLATE never packs better; a header that claims more is not true.
  private static final long MAX_GZIP_RATIO = 1032;

  private static final long USUAL_GZIP_RATIO = 8;

  private DataFiles() {}

  /** What is done with an open file; offsets count unpacked bytes. */
  interface Reader<T> {
    T read(Input in) throws IOException;
  }

  /** A file being read, unpacked where its name ends in .gz. */
  static final class Input {
    private final String kind;
    private final Path path;
    private final InputStream stream;
    private final long packedSize;
    private final boolean packed;
    private long offset;

    private Input(String kind, Path path, InputStream stream, long packedSize, boolean packed) {
      this.kind = kind;
      this.path = path;
      this.stream = stream;
      this.packedSize = packedSize;
      this.packed = packed;
    }

    /** Unpacked bytes read so far. */
    long offset() {
      return offset;
    }

    /** A big-endian integer. */
    int readInt(String what) throws IOException {
      byte[] bytes = new byte[4];
      read(bytes, 0, 4, what);
      return bytes[0] << 24 | (bytes[1] & 0xFF) << 16 | (bytes[2] & 0xFF) << 8 | bytes[3] & 0xFF;
    }

    void read(byte[] target, int from, int length, String what) throws IOException {
      int read = readSome(target, from, length);
      if (read < length) {
        throw invalid(length + " bytes of " + what, "only " + read);
      }
    }

    /**
     * The next bytes, for which the file was asked with {@link #requireSize}: in a packed file they
     * may still not be, so memory is taken as they come.
     */
    byte[] read(int length, String what) throws IOException {
      long expected = packed ? Math.max(1 << 16, packedSize * USUAL_GZIP_RATIO) : length;
      byte[] bytes = new byte[(int) Math.min(length, expected)];
      for (int count = 0; ; bytes = Arrays.copyOf(bytes, (int) Math.min(length, 2L * count))) {
        count += readSome(bytes, count, bytes.length - count);
        if (count < bytes.length) {
          throw invalid(length + " bytes of " + what, "only " + count);
        }
        if (count == length) {
          return bytes;
        }
      }
    }

    private int readSome(byte[] target, int from, int length) throws IOException {
      try {
        int read = stream.readNBytes(target, from, length);
        offset += read;
        return read;
      } catch (EOFException e) {
        throw invalid("a complete gzip file", "a cut one");
      }
    }

    /** The next record, or false at the end of the file. */
    boolean readRecord(byte[] target, String what) throws IOException {
      int read;
      try {
        read = stream.readNBytes(target, 0, target.length);
      } catch (EOFException e) {
        throw invalid("a complete gzip file", "a cut one");
      }
      if (read > 0 && read < target.length) {
        throw invalid("whole " + what + " of " + target.length + " bytes", "one of " + read);
      }
      offset += read;
      return read > 0;
    }

    /** Bytes of the file; of a packed one, before unpacking. */
    long size() {
      return packedSize;
    }

    /**
     * To be asked before memory is allocated: whether the file can hold {@code size} unpacked
     * bytes.
     */
    void requireSize(long size, String what) {
      if (packed ? size / MAX_GZIP_RATIO > packedSize : size != packedSize) {
        throw invalid(
            "a file of "
                + (packed ? "at least " + size / MAX_GZIP_RATIO : size)
                + " bytes for "
                + what,
            Long.toString(packedSize));
      }
    }

    /** To be asked before so many bytes are allocated. */
    void requireHeap(long bytes) {
      long heap = Runtime.getRuntime().maxMemory();
      if (bytes > heap / 4 * 3) {
        throw invalid(
            "data of at most " + heap / 4 * 3 + " bytes, three quarters of the heap (-Xmx)",
            Long.toString(bytes));
      }
    }

    void requireEnd() throws IOException {
      int next;
      try {
        next = stream.read();
      } catch (EOFException e) {
        throw invalid("a complete gzip file", "a cut one");
      }
      if (next >= 0) {
        throw invalid("the end", "more bytes");
      }
    }

    IllegalArgumentException invalid(String needed, String got) {
      return invalid(needed, got, offset);
    }

    IllegalArgumentException invalid(String needed, String got, long at) {
      return new IllegalArgumentException(
          "[" + kind + "] needs " + needed + ", got " + got + " (" + path + ", offset " + at + ")");
    }
  }

  /**
   * @throws IllegalArgumentException where the content is wrong, naming file, offset and what was
   *     expected
   */
  static <T> T read(String kind, Path path, Reader<T> reader) {
    try (InputStream raw = Files.newInputStream(path)) {
      boolean packed = path.getFileName().toString().endsWith(".gz");
      InputStream buffered = new BufferedInputStream(raw, 1 << 16);
      InputStream stream;
      try {
        stream =
            packed
                ? new BufferedInputStream(new GZIPInputStream(buffered, 1 << 16), 1 << 16)
                : buffered;
      } catch (EOFException | ZipException e) {
        throw new IllegalArgumentException(
            "[" + kind + "] needs a gzip file, got another (" + path + ", offset 0)", e);
      }
      var input = new Input(kind, path, stream, Files.size(path), packed);
      try {
        return reader.read(input);
      } catch (ZipException e) {
        throw new IllegalArgumentException(
            input.invalid("a valid gzip file", "\"" + e.getMessage() + "\"").getMessage(), e);
      }
    } catch (NoSuchFileException | FileNotFoundException e) {
      throw new UncheckedIOException("[" + kind + "] needs the file " + path + ", got none", e);
    } catch (IOException e) {
      throw new UncheckedIOException(
          "[" + kind + "] cannot read " + path + ": " + e.getMessage(), e);
    }
  }

  /**
   * The file of that name in the folder, or the one with .gz at the end; null where there is
   * neither.
   */
  static Path find(Path folder, String name) {
    for (String candidate : List.of(name, name + ".gz")) {
      Path path = folder.resolve(candidate);
      if (Files.isRegularFile(path)) {
        return path;
      }
    }
    return null;
  }

  /** As {@link #find}, of a file that must be there. */
  static Path require(String kind, Path folder, String name) {
    Path path = find(folder, name);
    if (path == null) {
      throw new IllegalArgumentException(
          "[" + kind + "] needs the file " + name + " or " + name + ".gz, got none in " + folder);
    }
    return path;
  }
}
