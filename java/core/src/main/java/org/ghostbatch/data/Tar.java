package org.ghostbatch.data;

import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/**
 * Walks a tar archive (ustar, and what GNU and pax add to it). Nothing of it is written here, and
 * names that lead out of it are refused, so an archive cannot choose where its files go.
 *
 * @see <a href="https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html">the format</a>
 */
final class Tar {
  private static final int BLOCK = 512;

  /** Gets each regular file; what it leaves unread is passed over. */
  interface Visitor {
    /**
     * @param name the last part of the file's name
     * @param content its bytes, and no more
     */
    void file(String name, long size, InputStream content) throws IOException;
  }

  private final InputStream in;
  private final Path path;
  private long offset;

  private Tar(InputStream in, Path path) {
    this.in = in;
    this.path = path;
  }

  /**
   * @param in the unpacked archive
   * @param path of the archive, for errors
   * @throws IllegalArgumentException naming file, offset and what was expected
   */
  static void read(InputStream in, Path path, Visitor visitor) throws IOException {
    new Tar(in, path).read(visitor);
  }

  private void read(Visitor visitor) throws IOException {
    byte[] header = new byte[BLOCK];
    while (true) {
      long at = offset;
      fill(header);
      if (isZero(header)) {
        return; // the end: what follows is padding
      }
      checkSum(header, at);
      long size = octal(header, 124, 12, "a size", at);
      String name = name(header, at);
      char type = (char) header[156];
      var content = new Content(size);
      if (type == '0' || type == 0) {
        visitor.file(name.substring(name.lastIndexOf('/') + 1), size, content);
      }
      // Folders, links and the headers of pax and GNU: nothing here depends on them.
      content.skipNBytes(content.left);
      skip((BLOCK - size % BLOCK) % BLOCK);
    }
  }

  private String name(byte[] header, long at) {
    String name = text(header, 0, 100);
    if (text(header, 257, 5).equals("ustar") && header[345] != 0) {
      name = text(header, 345, 155) + "/" + name;
    }
    boolean leavesArchive = name.startsWith("/") || name.contains("\\") || name.contains(":");
    for (String part : name.split("/", -1)) {
      leavesArchive |= part.equals("..");
    }
    if (leavesArchive) {
      throw invalid("names inside the archive", "\"" + name + "\"", at);
    }
    return name;
  }

  private static String text(byte[] header, int from, int length) {
    int end = from;
    while (end < from + length && header[end] != 0) {
      end++;
    }
    return new String(header, from, end - from, StandardCharsets.UTF_8);
  }

  private long octal(byte[] header, int from, int length, String what, long at) {
    long value = 0;
    boolean any = false;
    for (int i = from; i < from + length; i++) {
      int digit = header[i] - '0';
      if (digit >= 0 && digit < 8) {
        value = value << 3 | digit;
        any = true;
      } else if (any && (header[i] == 0 || header[i] == ' ')) {
        return value;
      } else if (any || header[i] != ' ') {
        break;
      }
    }
    throw invalid(what + " in octal digits", "\"" + text(header, from, length) + "\"", at + from);
  }

  private void checkSum(byte[] header, long at) {
    int sum = 0;
    for (int i = 0; i < BLOCK; i++) {
      sum += i >= 148 && i < 156 ? ' ' : header[i] & 0xFF;
    }
    long told = octal(header, 148, 8, "a checksum", at);
    if (told != sum) {
      throw invalid("a header of checksum " + told, Integer.toString(sum), at);
    }
  }

  private static boolean isZero(byte[] header) {
    for (byte b : header) {
      if (b != 0) {
        return false;
      }
    }
    return true;
  }

  private void fill(byte[] header) throws IOException {
    int read = in.readNBytes(header, 0, BLOCK);
    if (read < BLOCK) {
      throw invalid("a header of " + BLOCK + " bytes", "the end after " + read, offset);
    }
    offset += BLOCK;
  }

  private void skip(long bytes) throws IOException {
    try {
      in.skipNBytes(bytes);
    } catch (EOFException e) {
      throw invalid("padding of " + bytes + " bytes", "the end", offset);
    }
    offset += bytes;
  }

  private IllegalArgumentException invalid(String needs, String got, long at) {
    return Check.bad("tar", needs, got + " (" + path + ", offset " + at + ")");
  }

  /** The bytes of one file. */
  private final class Content extends InputStream {
    private final long size;
    private long left;

    Content(long size) {
      this.size = size;
      this.left = size;
    }

    @Override
    public int read() throws IOException {
      byte[] one = new byte[1];
      return read(one, 0, 1) < 0 ? -1 : one[0] & 0xFF;
    }

    @Override
    public int read(byte[] target, int from, int length) throws IOException {
      if (left == 0) {
        return -1;
      }
      int read = in.read(target, from, (int) Math.min(length, left));
      if (read < 0) {
        throw invalid("a file of " + size + " bytes", "the end after " + (size - left), offset);
      }
      left -= read;
      offset += read;
      return read;
    }
  }
}
