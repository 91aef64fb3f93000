package org.ghostbatch.data;

import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import java.util.zip.GZIPInputStream;
import org.ghostbatch.io.AtomicFiles;

/**
 * Where a public data set comes from, and where it goes: into a folder of the cache, whole or not
 * at all. Safe while other processes do the same.
 *
 * @param name of the data set
 * @param folder in the cache
 * @param files that the data set consists of there, as they are or with {@code .gz}
 * @param mirrors addresses under which the items lie, tried in turn
 * @param items to bring: the files themselves with {@code .gz}, or one {@code .tar.gz} that holds
 *     them
 */
record Home(
    String name,
    String folder,
    List<String> files,
    List<String> mirrors,
    List<Download.Item> items) {
  static final Home MNIST =
      new Home(
          "mnist",
          "mnist",
          Mnist.FILES,
          List.of(
              "https://ossci-datasets.s3.amazonaws.com/mnist/",
              "https://storage.googleapis.com/cvdf-datasets/mnist/"),
          List.of(
              item("train-images-idx3-ubyte.gz", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
              item("train-labels-idx1-ubyte.gz", 28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
              item("t10k-images-idx3-ubyte.gz", 1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
              item("t10k-labels-idx1-ubyte.gz", 4_542, "ec29112dd5afa0611ce80d1b7f02629c")));

  static final Home FASHION_MNIST =
      new Home(
          "fashion-mnist",
          "fashion-mnist",
          Mnist.FILES,
          List.of(
              "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
              "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"),
          List.of(
              item("train-images-idx3-ubyte.gz", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
              item("train-labels-idx1-ubyte.gz", 29_515, "25c81989df183df01b3e8a0aad5dffbe"),
              item("t10k-images-idx3-ubyte.gz", 4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
              item("t10k-labels-idx1-ubyte.gz", 5_148, "bb300cfdad3c16e7a12a480ee83cd310")));

  static final Home CIFAR_10 =
      new Home(
          "cifar10",
          "cifar-10-batches-bin",
          Cifar.FILES_10,
          List.of("https://www.cs.toronto.edu/~kriz/"),
          List.of(item("cifar-10-binary.tar.gz", 170_052_171, "c32a1d4ab5d03f1284b67883e8d87530")));

  static final Home CIFAR_100 =
      new Home(
          "cifar100",
          "cifar-100-binary",
          Stream.concat(Cifar.FILES_100.stream(), Stream.of(Cifar.NAMES_100)).toList(),
          List.of("https://www.cs.toronto.edu/~kriz/"),
          List.of(
              item("cifar-100-binary.tar.gz", 168_513_733, "03b5dce01913d631647c71ecec9e9cb8")));

  /** A file in an archive is larger than any of these. */
  private static final long MAX_UNPACKED = 1L << 28;

  private static final long LOCK_WAIT_MILLIS = 100;

  private static Download.Item item(String file, long bytes, String md5) {
    return new Download.Item(file, bytes, md5);
  }

  /** The folder in the cache that holds the data set, or null where it is not there as a whole. */
  Path find(Path cache) {
    Path place = cache.resolve(folder);
    return files.stream().allMatch(file -> DataFiles.find(place, file) != null) ? place : null;
  }

  /**
   * Brings what is absent; the folder that then holds the data set.
   *
   * @throws IllegalArgumentException where a file is not as it should be
   * @throws UncheckedIOException where it cannot be brought, saying which files go where instead
   */
  Path fetch(Path cache, Download.Patience patience, DownloadProgress progress) {
    Path place = cache.resolve(folder);
    // Threads of one process share its locks, so one at a time; processes by the lock on a file.
    synchronized (Home.class) {
      try {
        Files.createDirectories(place);
        try (FileChannel channel =
                FileChannel.open(
                    cache.resolve("." + folder + ".lock"),
                    StandardOpenOption.CREATE,
                    StandardOpenOption.WRITE);
            FileLock lock = lock(channel, progress)) {
          if (find(cache) == null) {
            clean(place);
            for (Download.Item item : items) {
              fetch(item, place, patience, progress);
            }
          }
        }
      } catch (IOException e) {
        throw new UncheckedIOException(
            "[data] cannot download "
                + name
                + " to "
                + place
                + ": "
                + (e.getMessage() == null ? e.toString() : e.getMessage())
                + ". "
                + byHand(cache),
            e);
      }
    }
    return place;
  }

  /** What a person can do without a download. */
  String byHand(Path cache) {
    List<String> addresses = items.stream().map(item -> mirrors.get(0) + item.file()).toList();
    return "By hand: "
        + String.join(", ", addresses)
        + (isArchive(items.get(0)) ? ", unpacked, " : " ")
        + "into "
        + cache.resolve(folder)
        + ", or into a folder given by --data-dir or GHOSTBATCH_DATA";
  }

  private FileLock lock(FileChannel channel, DownloadProgress progress) throws IOException {
    FileLock lock = channel.tryLock();
    if (lock == null) {
      progress.onMessage(name + ": another process is downloading it");
    }
    while (lock == null) {
      try {
        Thread.sleep(LOCK_WAIT_MILLIS);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new IOException("interrupted", e);
      }
      lock = channel.tryLock();
    }
    return lock;
  }

  /** Removes what processes left that were killed while they wrote. */
  private static void clean(Path place) throws IOException {
    try (Stream<Path> left = Files.list(place)) {
      for (Path path : left.filter(p -> p.getFileName().toString().endsWith(".tmp")).toList()) {
        Files.delete(path);
      }
    }
  }

  private void fetch(
      Download.Item item, Path place, Download.Patience patience, DownloadProgress progress)
      throws IOException {
    if (!isArchive(item) && Files.isRegularFile(place.resolve(item.file()))) {
      return;
    }
    Path target = place.resolve(item.file());
    List<String> failures = new ArrayList<>();
    boolean done = Files.isRegularFile(target); // an archive that was not unpacked yet
    for (int i = 0; i < mirrors.size() && !done; i++) {
      URI address = URI.create(mirrors.get(i) + item.file());
      progress.onMessage("downloading " + address + " (" + item.bytes() + " bytes) to " + place);
      try {
        Download.fetch(address, item, target, patience, progress);
        done = true;
      } catch (IOException e) {
        if (Thread.currentThread().isInterrupted()) {
          throw e;
        }
        failures.add(e.getMessage());
      }
    }
    if (!done) {
      throw new IOException(String.join("; ", failures));
    }
    if (isArchive(item)) {
      unpack(target, place);
      Files.delete(target);
    }
  }

  private static boolean isArchive(Download.Item item) {
    return item.file().endsWith(".tar.gz");
  }

  /** The files of the data set, of an archive; nothing else that is in there. */
  private void unpack(Path archive, Path place) throws IOException {
    Set<String> missing = new HashSet<>(files);
    try (InputStream in =
        new BufferedInputStream(
            new GZIPInputStream(Files.newInputStream(archive), 1 << 16), 1 << 16)) {
      Tar.read(
          in,
          archive,
          (file, size, content) -> {
            if (missing.remove(file)) {
              if (size > MAX_UNPACKED) {
                throw Check.bad(
                    "tar",
                    "files of at most " + MAX_UNPACKED + " bytes",
                    size + " for " + file + " (" + archive + ")");
              }
              AtomicFiles.write(place.resolve(file), content::transferTo);
            }
          });
    }
    if (!missing.isEmpty()) {
      throw Check.bad("tar", "the files " + files, "none named " + missing + " (" + archive + ")");
    }
  }
}
