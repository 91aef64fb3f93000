package org.ghostbatch.io;

import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.UUID;

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
    File temporary =
        folder.resolve("." + absolute.getFileName() + "." + UUID.randomUUID() + ".tmp").toFile();
    try {
      // A stream, since channels close themselves on an interrupt.
      try (var out = new FileOutputStream(temporary)) {
        content.writeTo(out);
        out.getFD().sync();
      }
      Files.move(temporary.toPath(), absolute, StandardCopyOption.ATOMIC_MOVE);
    } catch (IOException e) {
      throw new UncheckedIOException("[file] cannot write " + target + ": " + e.getMessage(), e);
    } finally {
      temporary.delete(); // Does nothing after the move.
    }
    forceFolder(folder);
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
