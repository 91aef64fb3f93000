package org.ghostbatch.device;

import java.util.Locale;
import org.ghostbatch.binding.GhostBatch;

/** Element type of a tensor; parameters, statistics and gradients are f32, f64 beside f64. */
public enum DataType {
  F32(GhostBatch.DataType.f32, 4),
  F64(GhostBatch.DataType.f64, 8),
  BF16(GhostBatch.DataType.bf16, 2),
  U8(GhostBatch.DataType.u8, 1),
  S32(GhostBatch.DataType.s32, 4);

  final GhostBatch.DataType binding;
  private final int bytes;

  DataType(GhostBatch.DataType binding, int bytes) {
    this.binding = binding;
    this.bytes = bytes;
  }

  /** Bytes of one element. */
  public int bytes() {
    return bytes;
  }

  /** Type of parameters, statistics and gradients beside activations of this type. */
  public DataType parameterType() {
    return this == F64 ? F64 : F32;
  }

  /** {@code f32}, {@code f64}, {@code bf16}, {@code u8} or {@code s32}. */
  @Override
  public String toString() {
    return name().toLowerCase(Locale.ROOT);
  }

  /**
   * The type called {@code f32}, {@code f64}, ...; an IllegalArgumentException names the others.
   */
  public static DataType of(String name) {
    for (DataType type : values()) {
      if (type.toString().equals(name)) {
        return type;
      }
    }
    throw Check.bad("data type", "f32, f64, bf16, u8 or s32", name);
  }
}
