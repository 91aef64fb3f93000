package org.ghostbatch.device;

import java.util.Locale;
import org.ghostbatch.binding.GhostBatch;

/** What the batch loader does to a training image, drawn anew for each sample and epoch. */
public enum Augmentation {
  NONE(GhostBatch.Augmentation.none),
  /** Left-right with probability 1/2. */
  FLIP(GhostBatch.Augmentation.flip),
  /** Pad by repeating the edge, crop back at random, flip. */
  CROP_FLIP(GhostBatch.Augmentation.crop_flip),
  /** Pad with a fill value, crop back at random, flip. */
  PAD_CROP_FLIP(GhostBatch.Augmentation.pad_crop_flip),
  /** Rotate and translate, bilinear. */
  AFFINE(GhostBatch.Augmentation.affine);

  final GhostBatch.Augmentation binding;

  Augmentation(GhostBatch.Augmentation binding) {
    this.binding = binding;
  }

  /** The name that the command line uses: {@code none}, {@code flip}, {@code crop-flip}, ... */
  @Override
  public String toString() {
    return name().toLowerCase(Locale.ROOT).replace('_', '-');
  }

  /** The augmentation of that name, else an IllegalArgumentException that names them all. */
  public static Augmentation of(String name) {
    for (Augmentation augmentation : values()) {
      if (augmentation.toString().equals(name)) {
        return augmentation;
      }
    }
    throw Check.bad("augment", "none, flip, crop-flip, pad-crop-flip or affine", name);
  }
}
