package org.ghostbatch.fuzz;

import com.sun.management.ThreadMXBean;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.function.Supplier;
import java.util.regex.Pattern;

/**
 * What every reader of files promises, whatever the files hold: a value, or one of the two
 * documented exceptions with a text that says what was needed; no more memory and time than the
 * file's size justifies.
 */
public final class Reading {
  /** "[part] needs X, got Y", or the system's own words where a file cannot be read. */
  private static final Pattern MESSAGE =
      Pattern.compile("\\[[a-z0-9 -]+\\] .*(needs .+, got |cannot read ).*", Pattern.DOTALL);

  /** Buffers, which do not depend on the file, and what Jazzer keeps of compared strings. */
  private static final long BASE_BYTES = 8 << 20;

  private static final long BASE_NANOSECONDS = 1_000_000_000;
  private static final long NANOSECONDS_PER_BYTE = 2000;

  private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

  private Reading() {}

  /** A folder of this JVM's own. */
  public static Path folder() {
    try {
      Path folder = Files.createTempDirectory("ghostbatch-fuzz");
      folder.toFile().deleteOnExit();
      return folder;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** A file to be, in a folder of this JVM's own. */
  public static Path file(Path folder, String name) {
    Path file = folder.resolve(name);
    file.toFile().deleteOnExit();
    return file;
  }

  public static byte[] bytes(Path file) {
    try {
      return Files.readAllBytes(file);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  public static void write(Path file, byte[] content) {
    try {
      Files.write(file, content);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /**
   * What a reader makes of files, or nothing where it refuses them.
   *
   * @param size of the files, in bytes
   * @param factor bytes of memory that a byte of the files may cost, all that is allocated on the
   *     way included
   */
  public static <T> Optional<T> of(long size, long factor, Supplier<T> reader) {
    String excess = null;
    // The first time may load classes, and instrument them.
    for (int attempt = 0; attempt < 3; attempt++) {
      T value = null;
      RuntimeException refusal = null;
      long bytes = THREADS.getCurrentThreadAllocatedBytes();
      long time = THREADS.getCurrentThreadCpuTime();
      try {
        value = reader.get();
      } catch (IllegalArgumentException | UncheckedIOException e) {
        refusal = e;
      }
      time = THREADS.getCurrentThreadCpuTime() - time;
      bytes = THREADS.getCurrentThreadAllocatedBytes() - bytes;
      if (refusal != null) {
        checkMessage(refusal);
      }
      if (bytes <= BASE_BYTES + factor * size
          && time <= BASE_NANOSECONDS + NANOSECONDS_PER_BYTE * size) {
        return Optional.ofNullable(value);
      }
      excess = bytes + " bytes allocated and " + time / 1e9 + " s taken";
    }
    throw new AssertionError(excess + " for files of " + size + " bytes");
  }

  /** Not measured: where Jazzer watches, a match costs kilobytes a character. */
  private static void checkMessage(RuntimeException refusal) {
    if (refusal.getMessage() == null || !MESSAGE.matcher(refusal.getMessage()).matches()) {
      throw new AssertionError("an exception without what was needed, and what came", refusal);
    }
  }
}
