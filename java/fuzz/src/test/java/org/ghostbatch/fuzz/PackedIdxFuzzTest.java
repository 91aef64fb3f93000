package org.ghostbatch.fuzz;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.code_intelligence.jazzer.junit.FuzzTest;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import java.util.zip.GZIPInputStream;
import java.util.zip.GZIPOutputStream;
import org.ghostbatch.data.Mnist;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Any bytes as a packed file of images, of which there are two, 2 x 3 pixels each, if it is valid.
 */
class PackedIdxFuzzTest {
  private final Path folder = Reading.folder();
  private final Path images = Reading.file(folder, "train-images-idx3-ubyte.gz");

  PackedIdxFuzzTest() throws IOException {
    byte[] labels = ByteBuffer.allocate(10).putInt(0x801).putInt(2).put(9, (byte) 9).array();
    Reading.write(Reading.file(folder, "train-labels-idx1-ubyte"), labels);
    Reading.write(Reading.file(folder, "t10k-labels-idx1-ubyte"), labels);
    Path test = Reading.file(folder, "t10k-images-idx3-ubyte.gz");
    Files.createSymbolicLink(test, images.getFileName());
  }

  static Stream<byte[]> valid() throws IOException {
    byte[] content =
        ByteBuffer.allocate(16 + 12).putInt(0x803).putInt(2).putInt(2).putInt(3).array();
    var packed = new ByteArrayOutputStream();
    try (var out = new GZIPOutputStream(packed)) {
      out.write(content);
    }
    return Stream.of(packed.toByteArray());
  }

  @MethodSource("valid")
  @FuzzTest
  void reads(byte[] content) throws IOException {
    accepts(content);
  }

  @ParameterizedTest
  @MethodSource("valid")
  void acceptsWhatIsValid(byte[] content) throws IOException {
    assertTrue(accepts(content));
  }

  private boolean accepts(byte[] content) throws IOException {
    Reading.write(images, content);
    var read = Reading.of(content.length, 400, () -> Mnist.load(folder));
    if (read.isPresent()) {
      try (var in = new GZIPInputStream(new ByteArrayInputStream(content))) {
        assertArrayEquals(in.readAllBytes(), IdxFuzzTest.images(read.get().train()));
      }
    }
    return read.isPresent();
  }
}
