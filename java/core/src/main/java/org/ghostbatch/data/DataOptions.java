package org.ghostbatch.data;

import java.nio.file.Path;

/**
 * Where data is looked for, and how it is loaded.
 *
 * @param folder the data set's own, or one that holds it under its usual name; null: the default
 *     one, see {@link Datasets}
 * @param height of images in files, with {@code width}: they are scaled and cut to it; 0: the size
 *     of the images, which must all be alike
 * @param width see {@code height}
 * @param channels of images in files: 1 or 3, into which grey and coloured ones are turned; 0: 1
 *     where all of them are grey, else 3
 * @param offline whether nothing may be downloaded
 * @param threads that decode images; bits do not depend on it
 * @param memory bytes up to which the images of files are kept decoded; more are decoded whenever
 *     they are read. Bits do not depend on it
 * @param progress told about downloads
 */
public record DataOptions(
    Path folder,
    int height,
    int width,
    int channels,
    boolean offline,
    int threads,
    long memory,
    DownloadProgress progress) {
  private static final int MAX_SIDE = 1 << 14;

  public DataOptions {
    if (height == 0 != (width == 0) || Math.min(height, width) < 0) {
      throw Check.bad("data", "a height and a width >= 1, or none", height + "x" + width);
    }
    if (Math.max(height, width) > MAX_SIDE) {
      throw Check.bad("data", "images of at most " + MAX_SIDE + " a side", height + "x" + width);
    }
    if (channels < 0) {
      throw Check.bad("data", "channels >= 1, or 0 for those of the images", channels);
    }
    if (threads < 1 || threads > 1024) {
      throw Check.bad("data", "1 to 1024 threads", threads);
    }
    if (memory < 0) {
      throw Check.bad("data", "a memory of 0 bytes or more", memory);
    }
    Check.present("data", "a progress", progress);
  }

  /**
   * The default folder; images as they are; downloads unless the system property {@code
   * ghostbatch.offline} or the environment variable {@code GHOSTBATCH_OFFLINE} is set, to another
   * value than 0 or false; all processors; a quarter of the heap.
   */
  public static DataOptions defaults() {
    String offline = Datasets.setting("ghostbatch.offline", "GHOSTBATCH_OFFLINE");
    return new DataOptions(
        null,
        0,
        0,
        0,
        offline != null && !offline.equals("0") && !offline.equalsIgnoreCase("false"),
        Math.min(1024, Runtime.getRuntime().availableProcessors()),
        Runtime.getRuntime().maxMemory() / 4,
        DownloadProgress.NONE);
  }

  public DataOptions withFolder(Path folder) {
    return new DataOptions(folder, height, width, channels, offline, threads, memory, progress);
  }

  /** Images are scaled so that they cover the size, and the rest is cut off around the centre. */
  public DataOptions withImageSize(int height, int width) {
    return new DataOptions(folder, height, width, channels, offline, threads, memory, progress);
  }

  /** Images become grey (1) or coloured (3), whatever they are; 0: as they are. */
  public DataOptions withChannels(int channels) {
    return new DataOptions(folder, height, width, channels, offline, threads, memory, progress);
  }

  public DataOptions withOffline(boolean offline) {
    return new DataOptions(folder, height, width, channels, offline, threads, memory, progress);
  }

  public DataOptions withThreads(int threads) {
    return new DataOptions(folder, height, width, channels, offline, threads, memory, progress);
  }

  public DataOptions withMemory(long memory) {
    return new DataOptions(folder, height, width, channels, offline, threads, memory, progress);
  }

  public DataOptions withProgress(DownloadProgress progress) {
    return new DataOptions(folder, height, width, channels, offline, threads, memory, progress);
  }
}
