package org.ghostbatch.data;

import java.nio.file.Path;

/** One image file as a sample, by the path that the images of an {@link ImageFolder} take. */
public final class ImageFile {
  private ImageFile() {}

  /**
   * The image as bytes [H, W, C]: scaled so that its shorter side fits the shape, the rest around
   * the centre cut off; grey for one channel, red, green and blue for three.
   *
   * @throws IllegalArgumentException where it is no PNG or JPEG image, damaged or too large, or the
   *     shape has other channels; naming file, offset and what was expected
   * @throws java.io.UncheckedIOException where it cannot be read
   */
  public static byte[] read(Path file, SampleShape shape) {
    Check.present("image", "a file", file);
    if (Check.present("image", "a shape", shape).channels() != 1 && shape.channels() != 3) {
      throw Check.bad("image", "samples of 1 or 3 channels", shape.channels());
    }
    byte[] sample = new byte[shape.elements()];
    new ImageDecoder().decode(file, shape, sample, 0);
    return sample;
  }
}
