package org.ghostbatch.nn;

import org.ghostbatch.io.JsonObject;

/**
 * A layer's specification: immutable, without sizes of its input, which {@link Network#of} fills
 * in.
 */
public sealed interface Layer
    permits Conv2d,
        Linear,
        BatchNorm,
        ReLU,
        MaxPool2d,
        AvgPool2d,
        GlobalAvgPool,
        Dropout,
        Flatten,
        Sequential,
        Residual {
  /** The specification as JSON; {@link #fromJson} reads it. */
  default JsonObject toJson() {
    return LayerJson.write(this);
  }

  /**
   * What {@link #toJson} wrote.
   *
   * @throws IllegalArgumentException naming a member that is missing, unknown or out of range
   */
  static Layer fromJson(JsonObject json) {
    return LayerJson.read(json);
  }
}
