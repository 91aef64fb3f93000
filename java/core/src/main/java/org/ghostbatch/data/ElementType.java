package org.ghostbatch.data;

/** The element type of samples. */
public enum ElementType {
  /** Unsigned bytes 0..255. */
  U8(1),
  /** 32-bit floats. */
  F32(4);

  private final int bytes;

  ElementType(int bytes) {
    this.bytes = bytes;
  }

  /** Bytes of one element. */
  public int bytes() {
    return bytes;
  }
}
