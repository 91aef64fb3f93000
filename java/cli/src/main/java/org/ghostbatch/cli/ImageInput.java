package org.ghostbatch.cli;

import java.awt.Graphics2D;
import java.awt.RenderingHints;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Iterator;
import javax.imageio.ImageIO;
import javax.imageio.ImageReader;
import javax.imageio.stream.ImageInputStream;
import org.ghostbatch.data.SampleShape;

/** Image files as samples of a network: bytes 0..255, [H, W, C]. */
final class ImageInput {
  /** Larger ones are refused before they are decoded. */
  private static final long MAX_PIXELS = 1L << 26;

  private ImageInput() {}

  /**
   * Reads a PNG, JPEG, GIF or BMP file and scales it to the shape: luminance for one channel, red,
   * green, blue for three.
   *
   * @throws IllegalArgumentException where it is no image, or too large
   */
  static byte[] read(Path file, SampleShape shape) {
    if (shape.channels() != 1 && shape.channels() != 3) {
      throw needs("a network for 1 or 3 channels", shape.channels() + " channels");
    }
    return samples(decode(file), shape);
  }

  private static BufferedImage decode(Path file) {
    if (!Files.isRegularFile(file)) {
      throw needs("an image file", "no " + file);
    }
    try (ImageInputStream in = ImageIO.createImageInputStream(file.toFile())) {
      Iterator<ImageReader> readers = ImageIO.getImageReaders(in);
      if (!readers.hasNext()) {
        throw needs("a PNG, JPEG, GIF or BMP image", file.toString());
      }
      ImageReader reader = readers.next();
      try {
        reader.setInput(in);
        long pixels = (long) reader.getWidth(0) * reader.getHeight(0);
        if (pixels > MAX_PIXELS) {
          throw needs("an image of at most " + MAX_PIXELS + " pixels", pixels + " in " + file);
        }
        return reader.read(0);
      } finally {
        reader.dispose();
      }
    } catch (IOException e) {
      throw new UncheckedIOException("[image] cannot read " + file + ": " + e.getMessage(), e);
    }
  }

  static byte[] samples(BufferedImage image, SampleShape shape) {
    int width = shape.width();
    int height = shape.height();
    int channels = shape.channels();
    byte[] samples = new byte[height * width * channels];
    BufferedImage scaled = scale(image, width, height);
    boolean grey = scaled.getType() == BufferedImage.TYPE_BYTE_GRAY;
    for (int y = 0; y < height; y++) {
      for (int x = 0; x < width; x++) {
        int at = (y * width + x) * channels;
        // A grey image's values as they are: converted to sRGB they would change.
        int rgb = grey ? 0x010101 * scaled.getRaster().getSample(x, y, 0) : scaled.getRGB(x, y);
        int red = rgb >> 16 & 0xFF;
        int green = rgb >> 8 & 0xFF;
        int blue = rgb & 0xFF;
        if (channels == 1) {
          samples[at] = (byte) ((299 * red + 587 * green + 114 * blue + 500) / 1000);
        } else {
          samples[at] = (byte) red;
          samples[at + 1] = (byte) green;
          samples[at + 2] = (byte) blue;
        }
      }
    }
    return samples;
  }

  private static BufferedImage scale(BufferedImage image, int width, int height) {
    if (image.getWidth() == width && image.getHeight() == height) {
      return image;
    }
    boolean grey = image.getType() == BufferedImage.TYPE_BYTE_GRAY;
    int type = grey ? BufferedImage.TYPE_BYTE_GRAY : BufferedImage.TYPE_INT_RGB;
    BufferedImage scaled = new BufferedImage(width, height, type);
    Graphics2D graphics = scaled.createGraphics();
    graphics.setRenderingHint(
        RenderingHints.KEY_INTERPOLATION, RenderingHints.VALUE_INTERPOLATION_BILINEAR);
    graphics.drawImage(image, 0, 0, width, height, null);
    graphics.dispose();
    return scaled;
  }

  private static IllegalArgumentException needs(String what, String got) {
    return new IllegalArgumentException("[image] needs " + what + ", got " + got);
  }
}
