package org.ghostbatch.data;

import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/** Message digests that every JVM has. */
final class Hashes {
  private Hashes() {}

  static MessageDigest of(String algorithm) {
    try {
      return MessageDigest.getInstance(algorithm);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("[data] needs " + algorithm + ", got a JVM without it", e);
    }
  }
}
