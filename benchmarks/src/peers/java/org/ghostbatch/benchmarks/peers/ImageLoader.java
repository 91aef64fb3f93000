package org.ghostbatch.benchmarks.peers;

import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.ElementType;
import org.ghostbatch.data.Normalization;
import org.ghostbatch.random.Philox;
import org.ghostbatch.random.Purpose;

/**
 * Byte images as normalized floats [rows, H, W, C], with the crops and flips that GhostBatch's
 * loader draws for the same seed, epoch and sample; in plain Java, so that libtorch has its process
 * for itself. It takes about a thousandth of a step's time.
 */
final class ImageLoader {
  private final Dataset data;
  private final int height;
  private final int width;
  private final int channels;
  private final float[] normalized; // of byte value and channel
  private final byte[] image;
  private final ByteBuffer imageBuffer;
  private final int[] index = new int[1];
  private final int[] words = new int[4];

  ImageLoader(Dataset data, Normalization normalization) {
    if (data.type() != ElementType.U8) {
      throw new IllegalArgumentException("[loader] needs byte images, got " + data.type());
    }
    this.data = data;
    this.height = data.shape().height();
    this.width = data.shape().width();
    this.channels = data.shape().channels();
    this.image = new byte[data.sampleBytes()];
    this.imageBuffer = ByteBuffer.wrap(image);
    this.normalized = new float[256 * channels];
    for (int value = 0; value < 256; value++) {
      for (int c = 0; c < channels; c++) {
        normalized[value * channels + c] =
            (float)
                ((value * normalization.scale() - normalization.mean().get(c))
                    / normalization.std().get(c));
      }
    }
  }

  /** As they are stored. */
  void load(int[] rows, int from, int to, FloatBuffer target, long[] labels) {
    for (int i = from; i < to; i++) {
      read(rows[i]);
      labels[i - from] = data.label(rows[i]);
      put(0, 0, false, target);
    }
  }

  /** Padded, cropped and flipped. */
  void augment(
      int[] rows, int from, int to, long seed, long epoch, FloatBuffer target, long[] labels) {
    int places = 2 * Recipe.PAD + 1;
    for (int i = from; i < to; i++) {
      read(rows[i]);
      labels[i - from] = data.label(rows[i]);
      Philox.words(seed, Purpose.AUGMENT.stream((int) epoch), rows[i], 0, 0, words);
      int cropY = (int) ((words[1] & 0xFFFFFFFFL) * places >>> 32) - Recipe.PAD;
      int cropX = (int) ((words[2] & 0xFFFFFFFFL) * places >>> 32) - Recipe.PAD;
      put(cropY, cropX, words[0] < 0, target);
    }
  }

  private void read(int sample) {
    index[0] = sample;
    imageBuffer.clear();
    data.read(index, 0, 1, imageBuffer);
  }

  private void put(int cropY, int cropX, boolean flip, FloatBuffer target) {
    for (int y = 0; y < height; y++) {
      int fromY = y + cropY;
      for (int x = 0; x < width; x++) {
        int fromX = (flip ? width - 1 - x : x) + cropX;
        boolean inside = fromY >= 0 && fromY < height && fromX >= 0 && fromX < width;
        int at = (fromY * width + fromX) * channels;
        for (int c = 0; c < channels; c++) {
          int value = inside ? image[at + c] & 0xFF : Recipe.FILL;
          target.put(normalized[value * channels + c]);
        }
      }
    }
  }
}
