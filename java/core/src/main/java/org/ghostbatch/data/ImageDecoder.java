package org.ghostbatch.data;

import java.awt.image.BufferedImage;
import java.awt.image.ColorModel;
import java.awt.image.DataBuffer;
import java.awt.image.DataBufferByte;
import java.awt.image.IndexColorModel;
import java.awt.image.PixelInterleavedSampleModel;
import java.awt.image.Raster;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.concurrent.locks.ReentrantLock;
import javax.imageio.ImageIO;
import javax.imageio.ImageReader;
import javax.imageio.stream.ImageInputStreamImpl;

/**
 * Image files as samples: decoded, scaled so that they cover the shape, the rest around the centre
 * cut off. Holds decoders and memory for reuse; not thread-safe.
 *
 * <p>Values are those of the file: profiles, gamma, transparency and orientation are not looked at,
 * as in PIL and torchvision. 16 bits are rounded to 8. Colour becomes grey by 0.299 R + 0.587 G +
 * 0.114 B. The same bits on every JVM that decodes a file alike.
 */
final class ImageDecoder {
  /** Larger files are refused. */
  private static final long MAX_FILE_BYTES = 1L << 28;

  /** Larger images are decoded one at a time, so that memory does not grow with the threads. */
  private static final long LARGE_PIXELS = 1L << 22;

  private static final long LARGE_FILE_BYTES = 1L << 24;

  /** Memory of larger images is not kept. */
  private static final int KEPT_BYTES = 1 << 22;

  /** What a decoder may need for a pixel: 4 samples of 16 bits. */
  private static final int MAX_PIXEL_BYTES = 8;

  private static final int HEAD_BYTES = 1 << 12;
  private static final ReentrantLock LARGE = new ReentrantLock();

  private final Resampler resampler = new Resampler();
  private ImageReader png;
  private ImageReader jpeg;
  private String warning;
  private byte[] pixels = new byte[0];
  private int[] samples = new int[0];

  /**
   * The header of a file, of which no more is read than needed.
   *
   * @throws IllegalArgumentException where it is no PNG or JPEG image, or too large
   * @throws UncheckedIOException where it cannot be read
   */
  static ImageHeader header(Path path) {
    try (var in = Files.newInputStream(path)) {
      byte[] head = in.readNBytes(HEAD_BYTES);
      ImageHeader header = ImageHeader.of(head, head.length < HEAD_BYTES, path);
      if (header != null) {
        return header;
      }
    } catch (IOException e) {
      throw unreadable(path, e);
    }
    return ImageHeader.of(read(path, size(path)), true, path); // much before the frame
  }

  /**
   * Writes the image to target[offset ..), [H, W, C] of the shape, which has 1 or 3 channels.
   *
   * @throws IllegalArgumentException where it is no PNG or JPEG image, damaged or too large
   * @throws UncheckedIOException where it cannot be read
   */
  void decode(Path path, SampleShape shape, byte[] target, int offset) {
    long size = size(path);
    boolean large = size > LARGE_FILE_BYTES;
    if (large) {
      LARGE.lock();
    }
    try {
      byte[] file = read(path, size);
      ImageHeader header = ImageHeader.of(file, true, path);
      header.requireWhole(file, path);
      decode(file, header, path, shape, target, offset);
    } finally {
      if (large) {
        LARGE.unlock();
      }
    }
  }

  private void decode(
      byte[] file, ImageHeader header, Path path, SampleShape shape, byte[] target, int offset) {
    long count = (long) header.height() * header.width();
    if (count * MAX_PIXEL_BYTES > Runtime.getRuntime().maxMemory() / 2) {
      throw Check.bad(
          "image",
          "an image that takes at most half the heap of "
              + Runtime.getRuntime().maxMemory()
              + " bytes (-Xmx)",
          header.width() + "x" + header.height() + " (" + path + ")");
    }
    boolean large = count > LARGE_PIXELS;
    if (large) {
      LARGE.lock();
    }
    try {
      place(image(header, file, path), header, shape, target, offset);
    } finally {
      if (large) {
        LARGE.unlock();
      }
      if (pixels.length > KEPT_BYTES) {
        pixels = new byte[0];
      }
    }
  }

  private static long size(Path path) {
    try {
      long size = Files.size(path);
      if (size > MAX_FILE_BYTES) {
        throw Check.bad(
            "image", "a file of at most " + MAX_FILE_BYTES + " bytes", size + " (" + path + ")");
      }
      return size;
    } catch (IOException e) {
      throw unreadable(path, e);
    }
  }

  /** A file of that size; one that grows meanwhile is cut. */
  private static byte[] read(Path path, long size) {
    try (var in = Files.newInputStream(path)) {
      byte[] file = new byte[(int) size];
      int read = in.readNBytes(file, 0, file.length);
      return read == file.length ? file : Arrays.copyOf(file, read);
    } catch (IOException e) {
      throw unreadable(path, e);
    }
  }

  private static UncheckedIOException unreadable(Path path, IOException e) {
    String reason = e.getMessage() == null ? e.toString() : e.getMessage();
    return new UncheckedIOException("[image] cannot read " + path + ": " + reason, e);
  }

  private BufferedImage image(ImageHeader header, byte[] file, Path path) {
    ImageReader reader;
    byte[] coded = file;
    if (header.format() == ImageHeader.Format.PNG) {
      if (png == null) {
        png = ImageIO.getImageReadersByFormatName("png").next();
      }
      reader = png;
    } else {
      if (jpeg == null) {
        jpeg = ImageIO.getImageReadersByFormatName("jpeg").next();
        jpeg.addIIOReadWarningListener((source, text) -> warn(text));
      }
      reader = jpeg;
      coded = withoutMetadata(file, header.scanOffset());
    }
    warning = null;
    var in = new Input(coded);
    BufferedImage image;
    try {
      reader.setInput(in, true, true);
      image = reader.read(0);
    } catch (IOException | RuntimeException e) {
      throw damaged(path, in.position(), e.getMessage() == null ? e.toString() : e.getMessage(), e);
    } finally {
      reader.setInput(null);
    }
    if (warning != null) {
      throw damaged(path, in.position(), warning, null);
    }
    if (image.getWidth() != header.width() || image.getHeight() != header.height()) {
      throw damaged(path, 0, "another size than in its header", null);
    }
    return image;
  }

  /** Of what a decoder only warns of, guessing the rest of the pixels. */
  private void warn(String text) {
    boolean harmless = text.contains("extraneous bytes");
    if (text.startsWith("Truncated") || text.startsWith("Corrupt JPEG data") && !harmless) {
      warning = text;
    }
  }

  private static IllegalArgumentException damaged(
      Path path, long offset, String reason, Exception cause) {
    return new IllegalArgumentException(
        "[image] needs a whole image, got a damaged one: "
            + reason
            + " ("
            + path
            + ", up to offset "
            + offset
            + ")",
        cause);
  }

  /**
   * A JPEG without the segments that do not change its values: thumbnails, profiles, comments; what
   * remains are the JFIF and Adobe headers, tables and pixels.
   */
  private static byte[] withoutMetadata(byte[] file, int scan) {
    int dropped = 0;
    for (int pass = 0; ; pass++) {
      byte[] kept = pass == 0 ? null : new byte[file.length - dropped];
      int to = 2;
      for (int at = 2; at < scan; ) {
        int marker = file[at + 1] & 0xFF;
        int length = 1;
        if (marker != 0xFF) {
          boolean alone = marker == 1 || marker >= 0xD0 && marker <= 0xD7;
          length = alone ? 2 : 2 + ((file[at + 2] & 0xFF) << 8 | file[at + 3] & 0xFF);
        }
        boolean keep = marker != 0xFE && (marker < 0xE1 || marker > 0xEF || marker == 0xEE);
        if (pass == 0) {
          dropped += keep ? 0 : length;
        } else if (keep) {
          System.arraycopy(file, at, kept, to, length);
          to += length;
        }
        at += length;
      }
      if (pass == 0 && dropped == 0) {
        return file;
      }
      if (pass == 1) {
        kept[0] = file[0];
        kept[1] = file[1];
        System.arraycopy(file, scan, kept, to, file.length - scan);
        return kept;
      }
    }
  }

  /** From the decoded image to the sample. */
  private void place(
      BufferedImage image, ImageHeader header, SampleShape shape, byte[] target, int offset) {
    int height = header.height();
    int width = header.width();
    int channels = shape.channels();
    if (height == shape.height() && width == shape.width()) {
      values(image, channels, target, offset);
      return;
    }
    int size = Math.multiplyExact(height * width, channels);
    if (pixels.length < size) {
      pixels = new byte[size];
    }
    values(image, channels, pixels, 0);
    resampler.cover(pixels, height, width, channels, target, offset, shape);
  }

  /** The values of an image as [H, W, C] bytes, one channel or three. */
  private void values(BufferedImage image, int channels, byte[] target, int offset) {
    Raster raster = image.getRaster();
    ColorModel colours = image.getColorModel();
    if (colours instanceof IndexColorModel palette) {
      indexed(raster, palette, channels, target, offset);
    } else if (raster.getDataBuffer() instanceof DataBufferByte buffer
        && raster.getSampleModel() instanceof PixelInterleavedSampleModel model) {
      interleaved(raster, buffer, model, channels, target, offset);
    } else {
      sampled(raster, channels, target, offset);
    }
  }

  private void indexed(
      Raster raster, IndexColorModel palette, int channels, byte[] target, int offset) {
    int width = raster.getWidth();
    samples = samples.length < width ? new int[width] : samples;
    int at = offset;
    for (int y = 0; y < raster.getHeight(); y++) {
      raster.getSamples(0, y, width, 1, 0, samples);
      for (int x = 0; x < width; x++, at += channels) {
        int rgb = palette.getRGB(samples[x]);
        put(rgb >> 16 & 0xFF, rgb >> 8 & 0xFF, rgb & 0xFF, channels, target, at);
      }
    }
  }

  private static void interleaved(
      Raster raster,
      DataBufferByte buffer,
      PixelInterleavedSampleModel model,
      int channels,
      byte[] target,
      int offset) {
    byte[] data = buffer.getData();
    int[] bands = model.getBandOffsets();
    boolean colour = bands.length >= 3; // one more is transparency
    int red = bands[0];
    int green = bands[colour ? 1 : 0];
    int blue = bands[colour ? 2 : 0];
    int stride = model.getPixelStride();
    int origin =
        buffer.getOffset()
            - raster.getSampleModelTranslateY() * model.getScanlineStride()
            - raster.getSampleModelTranslateX() * stride;
    int at = offset;
    for (int y = 0; y < raster.getHeight(); y++) {
      int from = origin + y * model.getScanlineStride();
      if (channels == 3) {
        for (int x = 0; x < raster.getWidth(); x++, from += stride, at += 3) {
          target[at] = data[from + red];
          target[at + 1] = data[from + green];
          target[at + 2] = data[from + blue];
        }
      } else {
        for (int x = 0; x < raster.getWidth(); x++, from += stride, at++) {
          target[at] =
              colour
                  ? grey(
                      data[from + red] & 0xFF, data[from + green] & 0xFF, data[from + blue] & 0xFF)
                  : data[from + red];
        }
      }
    }
  }

  /** Of 16 bits, and whatever else a decoder may give. */
  private void sampled(Raster raster, int channels, byte[] target, int offset) {
    int width = raster.getWidth();
    int bands = raster.getNumBands();
    int second = bands >= 3 ? 1 : 0;
    int third = bands >= 3 ? 2 : 0;
    boolean words = raster.getTransferType() == DataBuffer.TYPE_USHORT;
    samples = samples.length < width * bands ? new int[width * bands] : samples;
    int at = offset;
    for (int y = 0; y < raster.getHeight(); y++) {
      raster.getPixels(0, y, width, 1, samples);
      for (int x = 0; x < width; x++, at += channels) {
        int red = samples[x * bands];
        int green = samples[x * bands + second];
        int blue = samples[x * bands + third];
        if (words) { // 65535 is 257 * 255
          red = (red + 128) / 257;
          green = (green + 128) / 257;
          blue = (blue + 128) / 257;
        }
        put(red, green, blue, channels, target, at);
      }
    }
  }

  private static void put(int red, int green, int blue, int channels, byte[] target, int at) {
    if (channels == 1) {
      target[at] = grey(red, green, blue);
    } else {
      target[at] = (byte) red;
      target[at + 1] = (byte) green;
      target[at + 2] = (byte) blue;
    }
  }

  private static byte grey(int red, int green, int blue) {
    return (byte) ((299 * red + 587 * green + 114 * blue + 500) / 1000);
  }

  /** A file in memory, as decoders want it. */
  private static final class Input extends ImageInputStreamImpl {
    private final byte[] bytes;

    Input(byte[] bytes) {
      this.bytes = bytes;
    }

    long position() {
      return streamPos;
    }

    @Override
    public int read() {
      bitOffset = 0;
      return streamPos < bytes.length ? bytes[(int) streamPos++] & 0xFF : -1;
    }

    @Override
    public int read(byte[] target, int offset, int length) {
      bitOffset = 0;
      if (streamPos >= bytes.length) {
        return -1;
      }
      int count = (int) Math.min(length, bytes.length - streamPos);
      System.arraycopy(bytes, (int) streamPos, target, offset, count);
      streamPos += count;
      return count;
    }

    @Override
    public long length() {
      return bytes.length;
    }
  }
}
