package org.ghostbatch.binding;

import java.io.IOException;
import java.net.URL;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.javacpp.Loader;

/**
 * Loads the native core. To be called before any other class of this package is touched.
 *
 * <p>JavaCPP extracts libraries from the jars into a cache folder (system property {@code
 * org.bytedeco.javacpp.cachedir}, by default {@code ~/.javacpp/cache}), and links them to one
 * another there; two JVMs that do so at once get in each other's way. So extraction and loading
 * happen under a lock on a file in that folder.
 */
public final class NativeLibrary {
  private static final String CACHE_PROPERTY = "org.bytedeco.javacpp.cachedir";
  private static final String LIMIT_PROPERTY = "org.bytedeco.javacpp.maxPhysicalBytes";

  private NativeLibrary() {}

  /** Runs once, in the first thread that calls {@link #load}; the others wait. */
  private static final class Holder {
    static final Throwable FAILURE = tryLoad();

    private static Throwable tryLoad() {
      // By default JavaCPP makes no more objects, not the smallest, once the process holds a few
      // times -Xmx: but here the
      // heap is small beside what the core holds.
      if (System.getProperty(LIMIT_PROPERTY) == null) {
        System.setProperty(LIMIT_PROPERTY, "0");
      }
      try {
        loadLocked();
        return null;
      } catch (LinkageError | IOException e) {
        return e;
      }
    }
  }

  /**
   * Loads the libraries, or does nothing where they are loaded.
   *
   * @throws UnsatisfiedLinkError with every place where libraries were looked for
   */
  public static void load() {
    if (Holder.FAILURE != null) {
      UnsatisfiedLinkError error = new UnsatisfiedLinkError(explain(Holder.FAILURE));
      error.initCause(Holder.FAILURE);
      throw error;
    }
  }

  private static void loadLocked() throws IOException {
    Path cache = cacheFolder();
    // JavaCPP takes a folder that another process makes at the same moment for one that it cannot
    // make.
    try {
      Files.createDirectories(cache);
    } catch (IOException e) {
      Loader.load(
          GhostBatch.class); // JavaCPP has a second choice, in the folder for temporary files
      return;
    }
    Path lockFile = cache.resolve(".ghostbatch.lock");
    if (!Files.isWritable(cache) || (Files.exists(lockFile) && !Files.isWritable(lockFile))) {
      Loader.load(GhostBatch.class); // nothing can be extracted there, so nothing can collide
      return;
    }
    try (FileChannel channel =
            FileChannel.open(lockFile, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
        FileLock lock = channel.lock()) {
      Loader.load(GhostBatch.class);
      extractCuda();
    }
  }

  /**
   * The core opens the CUDA backend by itself, and only when asked: JavaCPP knows nothing of it.
   */
  private static void extractCuda() throws IOException {
    URL library = GhostBatch.class.getResource(Loader.getPlatform() + "/libghostbatch_cuda.so");
    if (library != null && library.getProtocol().equals("jar")) {
      Loader.cacheResource(library); // beside libghostbatch.so, where the core looks
    }
  }

  private static Path cacheFolder() {
    String folder = System.getProperty(CACHE_PROPERTY);
    return folder != null
        ? Path.of(folder)
        : Path.of(System.getProperty("user.home"), ".javacpp", "cache");
  }

  private static String explain(Throwable failure) {
    String platform = Loader.getPlatform();
    List<String> lines = new ArrayList<>();
    lines.add(
        "[native library] needs its libraries for " + platform + ", got: " + rootMessage(failure));
    lines.add("Looked for, on the class path:");
    lines.add(
        place(
            "org/bytedeco/javacpp/" + platform + "/libjnijavacpp.so",
            "org.bytedeco:javacpp",
            platform));
    lines.add(
        place("org/bytedeco/dnnl/" + platform + "/libgomp.so.1", "org.bytedeco:dnnl", platform));
    lines.add(
        place("org/bytedeco/dnnl/" + platform + "/libdnnl.so.3", "org.bytedeco:dnnl", platform));
    lines.add(
        place(
            "org/ghostbatch/binding/" + platform + "/libghostbatch.so",
            "org.ghostbatch:ghostbatch",
            platform));
    lines.add(
        place(
            "org/ghostbatch/binding/" + platform + "/libjniGhostBatch.so",
            "org.ghostbatch:ghostbatch",
            platform));
    lines.add(
        "Extracted to: "
            + cacheFolder()
            + " (set -D"
            + CACHE_PROPERTY
            + " where it cannot be written, or is noexec)");
    lines.add("java.library.path: " + System.getProperty("java.library.path"));
    return String.join(System.lineSeparator(), lines);
  }

  private static String place(String resource, String artifact, String platform) {
    URL found = NativeLibrary.class.getClassLoader().getResource(resource);
    return found != null
        ? "  " + found
        : "  " + resource + ": not found, it is in " + artifact + " with classifier " + platform;
  }

  private static String rootMessage(Throwable failure) {
    Throwable root = failure;
    while (root.getCause() != null && root.getCause() != root) {
      root = root.getCause();
    }
    return root.getMessage() != null ? root.getMessage() : root.toString();
  }
}
