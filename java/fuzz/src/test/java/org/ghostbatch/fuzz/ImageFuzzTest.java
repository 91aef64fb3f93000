package org.ghostbatch.fuzz;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.code_intelligence.jazzer.junit.FuzzTest;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import java.util.zip.CRC32;
import javax.imageio.IIOImage;
import javax.imageio.ImageIO;
import javax.imageio.ImageWriteParam;
import javax.imageio.ImageWriter;
import org.ghostbatch.data.ImageFile;
import org.ghostbatch.data.SampleShape;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Any bytes as an image, PNG or JPEG. The checksums of a PNG's chunks are set right, so that a
 * change gets as far as the decoder; without that they stop nearly all.
 */
class ImageFuzzTest {
  private static final SampleShape COLOUR = new SampleShape(3, 4, 3);
  private static final SampleShape GREY = new SampleShape(5, 2, 1);

  private final Path file = Reading.file(Reading.folder(), "image");

  static Stream<byte[]> valid() throws IOException {
    List<byte[]> files = new ArrayList<>();
    for (int type :
        new int[] {
          BufferedImage.TYPE_3BYTE_BGR,
          BufferedImage.TYPE_4BYTE_ABGR,
          BufferedImage.TYPE_BYTE_GRAY,
          BufferedImage.TYPE_USHORT_GRAY,
          BufferedImage.TYPE_BYTE_INDEXED,
          BufferedImage.TYPE_BYTE_BINARY
        }) {
      files.add(written("png", type, false));
      files.add(written("png", type, true));
    }
    for (int type : new int[] {BufferedImage.TYPE_3BYTE_BGR, BufferedImage.TYPE_BYTE_GRAY}) {
      files.add(written("jpeg", type, false));
      files.add(written("jpeg", type, true));
    }
    return files.stream();
  }

  private static byte[] written(String format, int type, boolean progressive) throws IOException {
    BufferedImage image = new BufferedImage(9, 7, type);
    for (int i = 0; i < 63; i++) {
      image.setRGB(i % 9, i / 9, 0xFF000000 | i * 0x030507);
    }
    ImageWriter writer = ImageIO.getImageWritersByFormatName(format).next();
    ImageWriteParam settings = writer.getDefaultWriteParam();
    settings.setProgressiveMode(
        progressive ? ImageWriteParam.MODE_DEFAULT : ImageWriteParam.MODE_DISABLED);
    var bytes = new ByteArrayOutputStream();
    try (var out = ImageIO.createImageOutputStream(bytes)) {
      writer.setOutput(out);
      writer.write(null, new IIOImage(image, null, null), settings);
    } finally {
      writer.dispose();
    }
    return bytes.toByteArray();
  }

  @MethodSource("valid")
  @FuzzTest
  void reads(byte[] content) {
    accepts(content);
  }

  @ParameterizedTest
  @MethodSource("valid")
  void acceptsWhatIsValid(byte[] content) {
    assertTrue(accepts(content));
  }

  private boolean accepts(byte[] input) {
    byte[] content = input.clone();
    setCheckSums(content);
    Reading.write(file, content);
    // Pixels are not bounded by the file, but by a limit: some memory for each is right.
    long size = content.length + pixels(content);
    var read = Reading.of(size, 64, () -> ImageFile.read(file, COLOUR));
    read.ifPresent(sample -> assertArrayEquals(sample, ImageFile.read(file, COLOUR)));
    boolean grey = Reading.of(size, 64, () -> ImageFile.read(file, GREY)).isPresent();
    assertTrue(grey == read.isPresent());
    return grey;
  }

  private static void setCheckSums(byte[] png) {
    ByteBuffer bytes = ByteBuffer.wrap(png);
    for (int at = 8; at + 12 <= png.length; ) {
      int length = bytes.getInt(at);
      if (length < 0 || length > png.length - at - 12 || png[1] != 'P') {
        return;
      }
      var crc = new CRC32();
      crc.update(png, at + 4, length + 4);
      bytes.putInt(at + 8 + length, (int) crc.getValue());
      at += 12 + length;
    }
  }

  /** The most that any place of the file says, where it may be that of the size. */
  private static long pixels(byte[] content) {
    long most = 0;
    ByteBuffer bytes = ByteBuffer.wrap(content);
    if (content.length >= 24) {
      most = (long) bytes.getInt(16) * bytes.getInt(20);
    }
    for (int at = 0; at + 9 <= content.length; at++) {
      if (content[at] == -1 && (content[at + 1] & 0xF0) == 0xC0) {
        long height = bytes.getShort(at + 5) & 0xFFFF;
        most = Math.max(most, height * (bytes.getShort(at + 7) & 0xFFFF));
      }
    }
    return Math.min(Math.max(most, 0), 1 << 26);
  }
}
