package org.ghostbatch.data;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import java.util.zip.CRC32;
import java.util.zip.Deflater;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Decoding, scaling, and what is refused. */
class ImageFileTest {
  @TempDir Path folder;

  private Path write(String name, byte[] content) throws IOException {
    return Files.write(folder.resolve(name), content);
  }

  private static byte[] coded(BufferedImage image, String format) throws IOException {
    var out = new ByteArrayOutputStream();
    assertTrue(ImageIO.write(image, format, out));
    return out.toByteArray();
  }

  /** Pixel values 0..255 that tell rows, columns and channels apart. */
  private static int value(int y, int x, int c) {
    return (17 * y + 29 * x + 101 * c + x * y) & 0xFF;
  }

  private static BufferedImage colour(int height, int width, int type) {
    var image = new BufferedImage(width, height, type);
    for (int y = 0; y < height; y++) {
      for (int x = 0; x < width; x++) {
        int alpha = 0x90; // to be ignored
        image.setRGB(
            x, y, alpha << 24 | value(y, x, 0) << 16 | value(y, x, 1) << 8 | value(y, x, 2));
      }
    }
    return image;
  }

  private static byte[] expected(int height, int width, boolean grey) {
    byte[] values = new byte[height * width * (grey ? 1 : 3)];
    int at = 0;
    for (int y = 0; y < height; y++) {
      for (int x = 0; x < width; x++) {
        if (grey) {
          double luminance =
              0.299 * value(y, x, 0) + 0.587 * value(y, x, 1) + 0.114 * value(y, x, 2);
          values[at++] = (byte) Math.floor(luminance + 0.5);
        } else {
          for (int c = 0; c < 3; c++) {
            values[at++] = (byte) value(y, x, c);
          }
        }
      }
    }
    return values;
  }

  @ParameterizedTest
  @CsvSource({"5", "6"}) // TYPE_3BYTE_BGR, TYPE_4BYTE_ABGR
  void pngGivesItsValues(int type) throws IOException {
    Path file = write("a.png", coded(colour(7, 5, type), "png"));
    assertArrayEquals(expected(7, 5, false), ImageFile.read(file, new SampleShape(7, 5, 3)));
    assertArrayEquals(expected(7, 5, true), ImageFile.read(file, new SampleShape(7, 5, 1)));
  }

  @Test
  void greyIsNotBentByGamma() throws IOException {
    var image = new BufferedImage(16, 16, BufferedImage.TYPE_BYTE_GRAY);
    byte[] values = new byte[256];
    for (int i = 0; i < 256; i++) {
      image.getRaster().setSample(i % 16, i / 16, 0, i);
      values[i] = (byte) i;
    }
    Path file = write("grey.png", coded(image, "png"));
    assertEquals(1, ImageDecoder.header(file).channels());
    assertArrayEquals(values, ImageFile.read(file, new SampleShape(16, 16, 1)));
    byte[] three = ImageFile.read(file, new SampleShape(16, 16, 3));
    for (int i = 0; i < three.length; i++) {
      assertEquals(values[i / 3], three[i]);
    }
  }

  /** A PNG written here, chunk by chunk. */
  private static byte[] png(int width, int height, int depth, int colour, byte[]... chunks)
      throws IOException {
    var out = new ByteArrayOutputStream();
    out.write(new byte[] {(byte) 0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'});
    byte[] header = new byte[13];
    ByteBuffer.wrap(header).putInt(width).putInt(height).put((byte) depth).put((byte) colour);
    out.write(chunk("IHDR", header));
    for (byte[] chunk : chunks) {
      out.write(chunk);
    }
    out.write(chunk("IEND", new byte[0]));
    return out.toByteArray();
  }

  private static byte[] chunk(String type, byte[] data) throws IOException {
    var bytes = new ByteArrayOutputStream();
    var out = new DataOutputStream(bytes);
    out.writeInt(data.length);
    out.writeBytes(type);
    out.write(data);
    var crc = new CRC32();
    crc.update(bytes.toByteArray(), 4, data.length + 4);
    out.writeInt((int) crc.getValue());
    return bytes.toByteArray();
  }

  private static byte[] deflated(byte[] data) {
    var deflater = new Deflater();
    deflater.setInput(data);
    deflater.finish();
    byte[] out = new byte[data.length + 100];
    int length = deflater.deflate(out);
    deflater.end();
    return Arrays.copyOf(out, length);
  }

  @Test
  void otherDepthsOfPng() throws IOException {
    // One row of four pixels each: a filter byte, then the pixels.
    byte[] words = {0, 0, 0, 0, 127, 0, (byte) 129, (byte) 255, (byte) 255};
    Path grey16 = write("grey16.png", png(4, 1, 16, 0, chunk("IDAT", deflated(words))));
    // 0, 127 and 129 of 65535 lie on both sides of half of 1/255.
    assertArrayEquals(
        new byte[] {0, 0, 1, (byte) 255}, ImageFile.read(grey16, new SampleShape(1, 4, 1)));
    byte[] colours = {
      0, 0, 127, 0, (byte) 129, (byte) 254, (byte) 126, (byte) 254, (byte) 125, 1, 1, 2, 2
    };
    Path rgb16 = write("rgb16.png", png(2, 1, 16, 2, chunk("IDAT", deflated(colours))));
    assertArrayEquals(
        new byte[] {0, 1, (byte) 254, (byte) 253, 1, 2},
        ImageFile.read(rgb16, new SampleShape(1, 2, 3)));
    byte[] bits = {0, 0b00_01_10_11};
    Path grey2 = write("grey2.png", png(4, 1, 2, 0, chunk("IDAT", deflated(bits))));
    assertArrayEquals(
        new byte[] {0, 85, (byte) 170, (byte) 255},
        ImageFile.read(grey2, new SampleShape(1, 4, 1)));
    byte[] palette = {1, 2, 3, 40, 50, 60, 7, 8, 9};
    byte[] indices = {0, 2, 0, 1, 2};
    Path indexed =
        write(
            "indexed.png",
            png(4, 1, 8, 3, chunk("PLTE", palette), chunk("IDAT", deflated(indices))));
    assertEquals(3, ImageDecoder.header(indexed).channels());
    assertArrayEquals(
        new byte[] {7, 8, 9, 1, 2, 3, 40, 50, 60, 7, 8, 9},
        ImageFile.read(indexed, new SampleShape(1, 4, 3)));
    byte[] with = {0, 10, 20, 30, 40, 50, 60, 70, 80};
    Path transparent = write("greyAlpha.png", png(4, 1, 8, 4, chunk("IDAT", deflated(with))));
    assertArrayEquals(
        new byte[] {10, 30, 50, 70}, ImageFile.read(transparent, new SampleShape(1, 4, 1)));
  }

  @Test
  void jpegComesNearItsValuesWhateverItsMetadata() throws IOException {
    var smooth = new BufferedImage(40, 24, BufferedImage.TYPE_3BYTE_BGR);
    for (int i = 0; i < 40 * 24; i++) {
      smooth.setRGB(i % 40, i / 40, (4 * (i % 40) + 60) << 16 | (5 * (i / 40) + 70) << 8 | 90);
    }
    byte[] file = coded(smooth, "jpg");
    var shape = new SampleShape(24, 40, 3);
    byte[] plain = ImageFile.read(write("a.jpg", file), shape);
    for (int i = 0; i < 40 * 24; i++) {
      assertEquals(4 * (i % 40) + 60, plain[3 * i] & 0xFF, 12);
      assertEquals(5 * (i / 40) + 70, plain[3 * i + 1] & 0xFF, 12);
      assertEquals(90, plain[3 * i + 2] & 0xFF, 12);
    }
    // A profile that is none, a comment, and fill bytes change nothing.
    var out = new ByteArrayOutputStream();
    out.write(file, 0, 2);
    out.write(new byte[] {(byte) 0xFF, (byte) 0xE2, 0, 20});
    out.write("ICC_PROFILE\0".getBytes());
    out.write(new byte[] {1, 1, 9, 9, 9, 9});
    out.write(new byte[] {(byte) 0xFF, (byte) 0xFE, 0, 4, 'h', 'i', (byte) 0xFF});
    out.write(file, 2, file.length - 2);
    out.write(new byte[100]); // behind the end
    assertArrayEquals(plain, ImageFile.read(write("b.jpg", out.toByteArray()), shape));
    // The name does not matter, the content does.
    assertArrayEquals(plain, ImageFile.read(write("c.png", file), shape));
  }

  /** The scaled image by the definition, in double and without separating the directions. */
  private static double resampled(
      int height, int width, double toHeight, double toWidth, double y, double x, int c) {
    double scaleY = height / toHeight;
    double scaleX = width / toWidth;
    double supportY = Math.max(1, scaleY);
    double supportX = Math.max(1, scaleX);
    double sum = 0;
    double weights = 0;
    for (int i = 0; i < height; i++) {
      double wy = Math.max(0, 1 - Math.abs(i + 0.5 - (y + 0.5) * scaleY) / supportY);
      for (int j = 0; wy > 0 && j < width; j++) {
        double w = wy * Math.max(0, 1 - Math.abs(j + 0.5 - (x + 0.5) * scaleX) / supportX);
        sum += w * value(i, j, c);
        weights += w;
      }
    }
    return sum / weights;
  }

  @ParameterizedTest
  @CsvSource({
    // source, shape, size before the crop, its first row and column
    "40,60, 20,20, 20,30, 0,5",
    "60,40, 20,20, 30,20, 5,0",
    "60,41, 20,20, 29,20, 4,0",
    "9,9, 31,31, 31,31, 0,0",
    "9,12, 27,10, 27,36, 0,13",
    "100,7, 14,28, 400,28, 193,0",
    "33,200, 33,50, 33,200, 0,75",
    "1,1, 5,5, 5,5, 0,0",
    "300,310, 3,3, 3,3, 0,0",
  })
  void scalesToCoverAndCutsTheCentre(
      int height,
      int width,
      int toHeight,
      int toWidth,
      int scaledHeight,
      int scaledWidth,
      int top,
      int left)
      throws IOException {
    Path file = write("a.png", coded(colour(height, width, BufferedImage.TYPE_3BYTE_BGR), "png"));
    byte[] sample = ImageFile.read(file, new SampleShape(toHeight, toWidth, 3));
    int at = 0;
    for (int y = 0; y < toHeight; y++) {
      for (int x = 0; x < toWidth; x++) {
        for (int c = 0; c < 3; c++, at++) {
          double exact = resampled(height, width, scaledHeight, scaledWidth, top + y, left + x, c);
          // Rounded after each direction.
          assertEquals(exact, sample[at] & 0xFF, 1.01, "row " + y + " column " + x);
        }
      }
    }
  }

  @Test
  void oneDecoderKeepsImagesApart() throws IOException {
    var decoder = new ImageDecoder();
    var random = new Random(2);
    Path[] files = new Path[12];
    for (int i = 0; i < files.length; i++) {
      int type = i % 3 == 0 ? BufferedImage.TYPE_BYTE_GRAY : BufferedImage.TYPE_3BYTE_BGR;
      BufferedImage image = colour(1 + random.nextInt(60), 1 + random.nextInt(60), type);
      files[i] = write(i + ".img", coded(image, i % 2 == 0 ? "png" : "jpg"));
    }
    for (int round = 0; round < 40; round++) {
      Path file = files[random.nextInt(files.length)];
      var shape = new SampleShape(1 + round % 7 * 5, 20, round % 2 == 0 ? 3 : 1);
      byte[] sample = new byte[shape.elements() + 2];
      decoder.decode(file, shape, sample, 1);
      assertArrayEquals(
          ImageFile.read(file, shape), Arrays.copyOfRange(sample, 1, sample.length - 1));
      assertEquals(0, sample[0] + sample[sample.length - 1]);
    }
  }

  private void refused(String needs, String got, String at, byte[] content) throws IOException {
    Path file = write("bad.png", content);
    for (boolean head : new boolean[] {false, true}) {
      var error =
          assertThrows(
              IllegalArgumentException.class,
              () -> {
                if (head) {
                  ImageDecoder.header(file);
                }
                ImageFile.read(file, new SampleShape(8, 8, 3));
              });
      String text = error.getMessage();
      assertTrue(text.startsWith("[image] needs "), text);
      for (String part : new String[] {needs, got, file.toString(), at}) {
        assertTrue(text.contains(part), part + " in: " + text);
      }
    }
  }

  @Test
  void refusesWhatIsNoImage() throws IOException {
    refused("a PNG or JPEG image", "an empty file", "offset 0", new byte[0]);
    refused("a PNG or JPEG image", "another", "offset 0", "hello, I am text".getBytes());
    refused("a PNG or JPEG image", "another", "offset 0", new byte[5000]);
    refused("a PNG or JPEG image", "another", "offset 0", new byte[] {(byte) 0x89, 'P'});
    byte[] png = coded(colour(8, 8, BufferedImage.TYPE_3BYTE_BGR), "png");
    byte[] other = png.clone();
    other[12] = 'X';
    refused("the chunk IHDR", "another", "offset 8", other);
    refused("PNG colour type", "5", "offset 25", png(8, 8, 8, 5));
    refused("a width and a height >= 1", "0x8", "offset 16", png(0, 8, 8, 2));
    refused("a width and a height >= 1", "4294967295x8", "offset 16", png(-1, 8, 8, 2));
  }

  @Test
  void refusesCutFilesAtEveryByte() throws IOException {
    for (String format : new String[] {"png", "jpg"}) {
      byte[] whole = coded(colour(8, 8, BufferedImage.TYPE_3BYTE_BGR), format);
      var shape = new SampleShape(8, 8, 3);
      ImageFile.read(write("whole", whole), shape);
      for (int length = 0; length < whole.length; length++) {
        Path file = write("cut", Arrays.copyOf(whole, length));
        var error =
            assertThrows(
                IllegalArgumentException.class,
                () -> ImageFile.read(file, shape),
                format + " cut to " + length);
        assertTrue(error.getMessage().startsWith("[image] needs "), error.getMessage());
        assertTrue(error.getMessage().contains("offset "), error.getMessage());
      }
    }
  }

  @Test
  void damageIsSeenOrHarmless() throws IOException {
    var random = new Random(5);
    int seen = 0;
    for (String format : new String[] {"png", "jpg"}) {
      byte[] whole = coded(colour(24, 24, BufferedImage.TYPE_3BYTE_BGR), format);
      for (int i = 0; i < 300; i++) {
        byte[] damaged = whole.clone();
        damaged[random.nextInt(damaged.length)] ^= (byte) (1 << random.nextInt(8));
        try {
          ImageFile.read(write("damaged", damaged), new SampleShape(24, 24, 3));
          assertFalse(format.equals("png") && !Arrays.equals(whole, damaged), "bit " + i);
        } catch (IllegalArgumentException e) {
          assertTrue(e.getMessage().startsWith("[image] needs "), e.getMessage());
          seen++;
        }
      }
    }
    assertTrue(seen > 300, seen + " seen"); // all of the PNG's, by its checksums
  }

  @Test
  void guessedPixelsAreNoPixels() throws IOException {
    // The second half of the pixels is gone, but the end is there: decoders only warn.
    byte[] whole = coded(colour(64, 64, BufferedImage.TYPE_3BYTE_BGR), "jpg");
    byte[] hole = new byte[whole.length / 2 + 2];
    System.arraycopy(whole, 0, hole, 0, hole.length - 2);
    hole[hole.length - 2] = (byte) 0xFF;
    hole[hole.length - 1] = (byte) 0xD9;
    refused("a whole image", "premature end", "offset", hole);
  }

  @Test
  void bombsAreRefusedByTheirHeader() throws IOException {
    refused("at most 67108864 pixels", "20000x20000", "offset 16", png(20000, 20000, 8, 2));
    refused("65535 a side", "1x70000", "offset 16", png(1, 70000, 8, 2));
    refused(
        "at most 67108864 pixels",
        "2147483647x2147483647",
        "offset 16",
        png(Integer.MAX_VALUE, Integer.MAX_VALUE, 8, 2));
    byte[] jpeg = coded(colour(8, 8, BufferedImage.TYPE_3BYTE_BGR), "jpg");
    int frame = 0;
    while ((jpeg[frame] & 0xFF) != 0xFF || (jpeg[frame + 1] & 0xFF) != 0xC0) {
      frame++;
    }
    for (int i = 5; i < 9; i++) {
      jpeg[frame + i] = (byte) 0xFF;
    }
    refused("at most 67108864 pixels", "65535x65535", "offset " + (frame + 5), jpeg);
    jpeg[frame + 9] = 4;
    refused("1 or 3 components", "4", "offset " + (frame + 9), jpeg);
    // A chunk that claims more than there is, and one that unpacks to a gigabyte nobody asked for.
    byte[] claim = png(8, 8, 8, 2, chunk("IDAT", new byte[10]));
    ByteBuffer.wrap(claim).putInt(33, 0x7FFFFFF0);
    refused("a PNG chunk of 2147483632 bytes", "the end of the file", "offset 33", claim);
    byte[] much = deflated(new byte[1 << 24]);
    Path file =
        write(
            "text.png",
            png(
                1,
                1,
                8,
                0,
                chunk("zTXt", concat(new byte[] {'a', 0, 0}, much)),
                chunk("IDAT", much)));
    assertArrayEquals(new byte[1], ImageFile.read(file, new SampleShape(1, 1, 1)));
  }

  private static byte[] concat(byte[] a, byte[] b) {
    byte[] both = Arrays.copyOf(a, a.length + b.length);
    System.arraycopy(b, 0, both, a.length, b.length);
    return both;
  }

  @Test
  void refusesWhatCannotBeRead() {
    for (Path path : new Path[] {folder.resolve("none.png"), folder}) {
      var error =
          assertThrows(
              UncheckedIOException.class, () -> ImageFile.read(path, new SampleShape(8, 8, 3)));
      assertTrue(error.getMessage().contains("[image] cannot read " + path), error.getMessage());
    }
    assertThrows(
        IllegalArgumentException.class, () -> ImageFile.read(folder, new SampleShape(8, 8, 2)));
    assertThrows(
        IllegalArgumentException.class, () -> ImageFile.read(null, new SampleShape(8, 8, 1)));
    assertThrows(IllegalArgumentException.class, () -> ImageFile.read(folder, null));
  }
}
