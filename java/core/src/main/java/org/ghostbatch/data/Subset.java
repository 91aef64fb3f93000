package org.ghostbatch.data;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.Objects;
import org.ghostbatch.io.Hashes;

/** Some samples of another data set, which keep its normalization. */
final class Subset extends ForwardingDataset {
  private final int[] chosen;
  private int[] mapped = new int[0];

  Subset(Dataset source, int[] chosen) {
    super(source);
    this.chosen = chosen;
    if (chosen.length == 0) {
      throw new IllegalArgumentException("[dataset] needs at least one sample, got none");
    }
    for (int index : chosen) {
      if (index < 0 || index >= source.count()) {
        throw new IllegalArgumentException(
            "[dataset] needs sample indices in [0, " + source.count() + "), got " + index);
      }
    }
  }

  @Override
  public int count() {
    return chosen.length;
  }

  @Override
  public int label(int index) {
    return source.label(chosen[index]);
  }

  /** Of the source's fingerprint and the chosen indices. */
  @Override
  public String fingerprint() {
    ByteBuffer bytes = ByteBuffer.allocate(Math.multiplyExact(4, chosen.length));
    bytes.order(ByteOrder.LITTLE_ENDIAN).asIntBuffer().put(chosen);
    MessageDigest digest = Hashes.of("SHA-256");
    digest.update(source.fingerprint().getBytes(StandardCharsets.UTF_8));
    digest.update(bytes);
    return HexFormat.of().formatHex(digest.digest());
  }

  @Override
  public void read(int[] indices, int from, int to, ByteBuffer target) {
    Objects.checkFromToIndex(from, to, indices.length);
    if (mapped.length < to - from) {
      mapped = new int[to - from];
    }
    for (int i = from; i < to; i++) {
      mapped[i - from] = chosen[indices[i]];
    }
    source.read(mapped, 0, to - from, target);
  }
}
