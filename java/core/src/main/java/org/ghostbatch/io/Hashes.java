package org.ghostbatch.io;

import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/** Message digests that every JVM has. */
public final class Hashes {
  private Hashes() {}

  /** A new digest, SHA-256 or MD5 say. */
  public static MessageDigest of(String algorithm) {
    try {
      return MessageDigest.getInstance(algorithm);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("[file] needs " + algorithm + ", got a JVM without it", e);
    }
  }
}
