package org.ghostbatch.io;

import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.channels.FileChannel;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.security.DigestOutputStream;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.UUID;
import java.util.function.Function;

/**
 * Writes files that are whole or not there: to a temporary file in the same folder, forced to disk,
 * then renamed over the target. An interrupt of the thread does not disturb it, so that a cancelled
 * training can still save.
 */
public final class AtomicFiles {
  /** What is written. */
  @FunctionalInterface
  public interface Content {
    void writeTo(OutputStream out) throws IOException;
  }

  private static final String PREFIX = ".";
  private static final String TEMPORARY = ".tmp";

  private AtomicFiles() {}

  /**
   * @throws UncheckedIOException naming the target; a file that was there before is then unchanged
   */
  public static void write(Path target, Content content) {
    Path absolute = target.toAbsolutePath();
    Path folder = absolute.getParent();
    if (folder == null) {
      throw new IllegalArgumentException("[file] needs a file to write, got " + target);
    }
    write(folder, target, content, digest -> absolute);
  }

  /**
   * Writes a file whose name tells its content: {@code prefix}, {@link #hash} of it, {@code
   * suffix}.
   *
   * @return its path
   * @throws UncheckedIOException naming the folder
   */
  public static Path writeHashed(Path folder, String prefix, String suffix, Content content) {
    return write(
        folder.toAbsolutePath(),
        folder.resolve(prefix + "..." + suffix),
        content,
        digest -> folder.resolve(prefix + text(digest) + suffix));
  }

  /** The first 16 hexadecimal digits of a file's SHA-256. */
  public static String hash(Path file) throws IOException {
    MessageDigest digest = Hashes.of("SHA-256");
    try (var in = Files.newInputStream(file)) {
      byte[] chunk = new byte[1 << 16];
      for (int read = in.read(chunk); read >= 0; read = in.read(chunk)) {
        digest.update(chunk, 0, read);
      }
    }
    return text(digest);
  }

  private static Path write(
      Path folder, Path shown, Content content, Function<MessageDigest, Path> target) {
    File temporary =
        folder.resolve(PREFIX + shown.getFileName() + "." + UUID.randomUUID() + TEMPORARY).toFile();
    MessageDigest digest = Hashes.of("SHA-256");
    Path written;
    try {
      // A stream, since channels close themselves on an interrupt.
      try (var out = new FileOutputStream(temporary)) {
        content.writeTo(new DigestOutputStream(out, digest));
        out.getFD().sync();
      }
      written = target.apply(digest);
      Files.move(temporary.toPath(), written, StandardCopyOption.ATOMIC_MOVE);
    } catch (IOException e) {
      throw new UncheckedIOException("[file] cannot write " + shown + ": " + e.getMessage(), e);
    } finally {
      temporary.delete(); // Does nothing after the move.
    }
    forceFolder(folder);
    return written;
  }

  /** Removes what a process that was killed while it wrote has left in a folder. */
  public static void removeTemporaries(Path folder) throws IOException {
    try (DirectoryStream<Path> left = Files.newDirectoryStream(folder, PREFIX + "*" + TEMPORARY)) {
      for (Path file : left) {
        Files.deleteIfExists(file);
      }
    }
  }

  /** Whether a file is one that a process which was killed has left. */
  public static boolean isTemporary(Path file) {
    String name = file.getFileName().toString();
    return name.startsWith(PREFIX) && name.endsWith(TEMPORARY);
  }

  private static String text(MessageDigest digest) {
    return HexFormat.of().formatHex(digest.digest(), 0, 8);
  }

  /** As {@link #write(Path, Content)}, of bytes at hand. */
  public static void write(Path target, byte[] content) {
    write(target, out -> out.write(content));
  }

  /**
   * Makes the rename itself durable, where the system can open folders (Windows cannot, and needs
   * no such call).
   */
  private static void forceFolder(Path folder) {
    try (var channel = FileChannel.open(folder, StandardOpenOption.READ)) {
      channel.force(true);
    } catch (IOException e) {
      // The file is in place; only its survival of a power cut in the next seconds is less certain.
    }
  }
}
