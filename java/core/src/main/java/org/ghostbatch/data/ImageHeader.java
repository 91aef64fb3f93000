package org.ghostbatch.data;

import java.nio.file.Path;
import java.util.zip.CRC32;

/**
 * What the first bytes of a PNG or JPEG file say, and whether the file is whole: read without
 * decoding, so that nothing is allocated on the word of a damaged or malicious file.
 *
 * @param channels 1 for grey, 3 for colour; transparency does not count
 * @param sizeOffset where the file says its size
 * @param scanOffset where the coded pixels of a JPEG begin; of a PNG 0
 */
record ImageHeader(
    Format format, int height, int width, int channels, int sizeOffset, int scanOffset) {
  enum Format {
    PNG,
    JPEG
  }

  /** Larger images are refused. */
  static final long MAX_PIXELS = 1L << 26;

  static final int MAX_SIDE = 65535;

  private static final long PNG_SIGNATURE = 0x89504E470D0A1A0AL;
  private static final int IHDR = 0x49484452;
  private static final int IEND = 0x49454E44;

  /**
   * Of the first bytes of a file; {@code null} where these are too few to tell, which is an error
   * where they are the whole file.
   *
   * @param whole whether {@code bytes} is the whole file
   * @throws IllegalArgumentException naming file, offset and what was expected
   */
  static ImageHeader of(byte[] bytes, boolean whole, Path path) {
    var in = new Bytes(bytes, whole, path);
    ImageHeader header;
    if (in.has(0, 8)
        && in.u32(0) == (int) (PNG_SIGNATURE >>> 32)
        && in.u32(4) == (int) PNG_SIGNATURE) {
      header = png(in);
    } else if (in.has(0, 3) && in.u8(0) == 0xFF && in.u8(1) == 0xD8 && in.u8(2) == 0xFF) {
      header = jpeg(in);
    } else if (!whole && bytes.length < 8) {
      return null;
    } else {
      throw in.invalid("a PNG or JPEG image", bytes.length == 0 ? "an empty file" : "another", 0);
    }
    if (header != null
        && ((long) header.height * header.width > MAX_PIXELS
            || Math.max(header.height, header.width) > MAX_SIDE)) {
      throw in.invalid(
          "an image of at most " + MAX_PIXELS + " pixels, " + MAX_SIDE + " a side",
          header.width + "x" + header.height,
          header.sizeOffset);
    }
    return header;
  }

  /**
   * Checks that a whole file has all its parts: of a PNG every chunk, with its checksum; of a JPEG
   * the end of the image.
   */
  void requireWhole(byte[] bytes, Path path) {
    var in = new Bytes(bytes, true, path);
    if (format == Format.PNG) {
      requireChunks(in);
    } else {
      requireEnd(in);
    }
  }

  private static ImageHeader png(Bytes in) {
    if (!in.need(8, 25, "a PNG header")) {
      return null;
    }
    if (in.u32(8) != 13 || in.u32(12) != IHDR) {
      throw in.invalid("the chunk IHDR of a PNG", "another", 8);
    }
    int width = in.u32(16);
    int height = in.u32(20);
    int colour = in.u8(25);
    if (width < 1 || height < 1) {
      throw in.invalid(
          "a width and a height >= 1",
          Integer.toUnsignedString(width) + "x" + Integer.toUnsignedString(height),
          16);
    }
    if (colour > 6 || colour == 1 || colour == 5) {
      throw in.invalid("a PNG colour type of 0, 2, 3, 4 or 6", Integer.toString(colour), 25);
    }
    return new ImageHeader(Format.PNG, height, width, colour == 0 || colour == 4 ? 1 : 3, 16, 0);
  }

  private static void requireChunks(Bytes in) {
    var crc = new CRC32();
    for (int at = 8; ; ) {
      if (!in.has(at, 12)) {
        throw in.invalid("a PNG chunk", "the end of the file", at);
      }
      int length = in.u32(at);
      if (length < 0 || !in.has(at + 8, length + 4L)) {
        throw in.invalid(
            "a PNG chunk of " + Integer.toUnsignedString(length) + " bytes",
            "the end of the file after " + (in.bytes.length - at - 8),
            at);
      }
      crc.reset();
      crc.update(in.bytes, at + 4, length + 4);
      if ((int) crc.getValue() != in.u32(at + 8 + length)) {
        throw in.invalid(
            String.format("a PNG chunk of checksum %08x", in.u32(at + 8 + length)),
            String.format("%08x", (int) crc.getValue()),
            at);
      }
      if (in.u32(at + 4) == IEND) {
        return;
      }
      at += 12 + length;
    }
  }

  private static ImageHeader jpeg(Bytes in) {
    ImageHeader frame = null;
    for (int at = 2; ; ) {
      if (!in.need(at, 2, "a JPEG marker")) {
        return null;
      }
      if (in.u8(at) != 0xFF) {
        throw in.invalid("a JPEG marker", String.format("0x%02x", in.u8(at)), at);
      }
      int marker = in.u8(at + 1);
      if (marker == 0xFF) { // a fill byte
        at++;
        continue;
      }
      if (marker == 0x01 || marker >= 0xD0 && marker <= 0xD7) { // without a length
        at += 2;
        continue;
      }
      if (marker == 0xD8 || marker == 0xD9 || marker == 0) {
        throw in.invalid("a JPEG frame", String.format("the marker 0xff%02x", marker), at);
      }
      if (!in.need(at + 2, 2, "the length of a JPEG segment")) {
        return null;
      }
      int length = in.u16(at + 2);
      if (length < 2) {
        throw in.invalid("a JPEG segment of 2 bytes or more", Integer.toString(length), at + 2);
      }
      if (!in.need(at + 2, length, "a JPEG segment")) {
        return null;
      }
      if (marker == 0xDA) {
        if (frame == null) {
          throw in.invalid("a JPEG frame before the pixels", "none", at);
        }
        return new ImageHeader(
            Format.JPEG,
            frame.height,
            frame.width,
            frame.channels,
            frame.sizeOffset,
            at + 2 + length);
      }
      if (marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC) {
        frame = frame(in, at, length);
      }
      at += 2 + length;
    }
  }

  private static ImageHeader frame(Bytes in, int at, int length) {
    if (length < 8) {
      throw in.invalid("a JPEG frame of 8 bytes or more", Integer.toString(length), at + 2);
    }
    int height = in.u16(at + 5);
    int width = in.u16(at + 7);
    int channels = in.u8(at + 9);
    if (in.u8(at + 4) != 8) {
      throw in.invalid("a JPEG of 8 bits", Integer.toString(in.u8(at + 4)), at + 4);
    }
    if (height < 1 || width < 1) {
      throw in.invalid("a width and a height >= 1", width + "x" + height, at + 5);
    }
    if (channels != 1 && channels != 3) {
      throw in.invalid(
          "a grey or colour JPEG, of 1 or 3 components", Integer.toString(channels), at + 9);
    }
    return new ImageHeader(Format.JPEG, height, width, channels, at + 5, 0);
  }

  private void requireEnd(Bytes in) {
    // Pixels never hold this marker; what comes after it does not matter.
    for (int at = in.bytes.length - 2; at >= scanOffset; at--) {
      if (in.u8(at) == 0xFF && in.u8(at + 1) == 0xD9) {
        return;
      }
    }
    throw in.invalid("the end of the image, 0xffd9", "the end of the file", in.bytes.length);
  }

  /** The bytes of a file, or its first ones. */
  private record Bytes(byte[] bytes, boolean whole, Path path) {
    boolean has(int at, long count) {
      return at >= 0 && at + count <= bytes.length;
    }

    /** False where more of the file has to be read. */
    boolean need(int at, int count, String what) {
      if (has(at, count)) {
        return true;
      }
      if (whole) {
        throw invalid(
            count + " bytes of " + what,
            "the end of the file after " + Math.max(0, bytes.length - at),
            at);
      }
      return false;
    }

    int u8(int at) {
      return bytes[at] & 0xFF;
    }

    int u16(int at) {
      return u8(at) << 8 | u8(at + 1);
    }

    int u32(int at) {
      return u16(at) << 16 | u16(at + 2);
    }

    IllegalArgumentException invalid(String needs, String got, int at) {
      return Check.bad("image", needs, got + " (" + path + ", offset " + at + ")");
    }
  }
}
