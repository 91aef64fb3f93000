package org.ghostbatch.data;

import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.List;
import java.util.function.Function;
import java.util.stream.Stream;

/**
 * Data sets by name: strokes, mnist, fashion-mnist, cifar10, cifar100; {@code folder:PATH}, an
 * {@link ImageFolder}; {@code npy:PATH}, arrays as of {@link Npy}.
 *
 * <p>The named ones, but for {@code strokes}, which is embedded, are files in a folder: the data
 * set's own, or one that holds it under its usual name. Where no folder is given it is that of the
 * system property {@code ghostbatch.data}, else of the environment variable {@code
 * GHOSTBATCH_DATA}. What is not there is looked for in the cache folder, and downloaded to it from
 * the data set's home: the folder of {@code ghostbatch.cache} or {@code GHOSTBATCH_CACHE}, else
 * {@code ghostbatch/data} in {@code XDG_CACHE_HOME} or {@code ~/.cache}. A download that was
 * interrupted or given up leaves {@code *.part} there, from which the next one goes on; it may be
 * deleted.
 */
public final class Datasets {
  /** The named data sets. */
  public static final List<String> NAMES =
      List.of("strokes", "mnist", "fashion-mnist", "cifar10", "cifar100");

  private static final String FOLDER = "folder:";
  private static final String NPY = "npy:";

  private Datasets() {}

  /**
   * Whether a name is one that {@link #load} knows; whether its files are there is not looked at.
   *
   * @return the name
   * @throws IllegalArgumentException where it is not
   */
  public static String check(String name) {
    Check.present("data", "a name", name);
    if (!NAMES.contains(name) && path(name, FOLDER) == null && path(name, NPY) == null) {
      throw Check.bad(
          "data", "one of " + String.join(", ", NAMES) + ", folder:PATH or npy:PATH", name);
    }
    return name;
  }

  /** The path behind a prefix, or null where there is none. */
  private static Path path(String name, String prefix) {
    try {
      return name.startsWith(prefix) && name.length() > prefix.length()
          ? Path.of(name.substring(prefix.length()))
          : null;
    } catch (InvalidPathException e) {
      return null;
    }
  }

  /** Loads a data set as by {@link DataOptions#defaults}. */
  public static DataPair load(String name) {
    return load(name, DataOptions.defaults());
  }

  /**
   * Loads a data set of this folder (null: the default one), as by {@link DataOptions#defaults}.
   */
  public static DataPair load(String name, Path folder) {
    return load(name, DataOptions.defaults().withFolder(folder));
  }

  /**
   * Loads a data set.
   *
   * @throws IllegalArgumentException where the name is unknown, a file is missing (the text says
   *     which go where), or one is damaged, naming file, offset and what was expected
   * @throws java.io.UncheckedIOException where a file cannot be read or brought
   */
  public static DataPair load(String name, DataOptions options) {
    check(name);
    Check.present("data", "options", options);
    return switch (name) {
      case "strokes" -> Strokes.load();
      case "mnist" -> Mnist.load(find(Home.MNIST, options, "mnist", "MNIST/raw"));
      case "fashion-mnist" ->
          Mnist.loadFashion(find(Home.FASHION_MNIST, options, "fashion-mnist", "FashionMNIST/raw"));
      case "cifar10" ->
          Cifar.load10(
              find(
                  Home.CIFAR_10,
                  options,
                  "cifar-10-batches-bin",
                  "cifar10/cifar-10-batches-bin",
                  "cifar10"));
      case "cifar100" ->
          Cifar.load100(
              find(
                  Home.CIFAR_100,
                  options,
                  "cifar-100-binary",
                  "cifar100/cifar-100-binary",
                  "cifar100"));
      default ->
          path(name, FOLDER) != null
              ? ImageFolder.load(path(name, FOLDER), options)
              : Npy.load(path(name, NPY));
    };
  }

  /** A system property, or else an environment variable; null where both are absent or blank. */
  static String setting(String property, String variable) {
    return setting(property, variable, System::getProperty, System::getenv);
  }

  private static String setting(
      String property,
      String variable,
      Function<String, String> properties,
      Function<String, String> environment) {
    String value = properties.apply(property);
    if (value == null || value.isBlank()) {
      value = environment.apply(variable);
    }
    return value == null || value.isBlank() ? null : value;
  }

  /** The default folder of data, or null. */
  static Path defaultFolder(
      Function<String, String> properties, Function<String, String> environment) {
    String folder = setting("ghostbatch.data", "GHOSTBATCH_DATA", properties, environment);
    return folder == null ? null : Path.of(folder);
  }

  /** Where downloads go. */
  static Path cacheFolder(
      Function<String, String> properties, Function<String, String> environment) {
    String folder = setting("ghostbatch.cache", "GHOSTBATCH_CACHE", properties, environment);
    if (folder != null) {
      return Path.of(folder);
    }
    String home = environment.apply("XDG_CACHE_HOME");
    Path caches =
        home == null || !Path.of(home).isAbsolute()
            ? Path.of(properties.apply("user.home"), ".cache")
            : Path.of(home);
    return caches.resolve("ghostbatch").resolve("data");
  }

  /**
   * The first folder that holds a file of the data set, of those under its usual names and then the
   * given one itself; else the cache's, after a download where that is needed.
   */
  private static Path find(Home home, DataOptions options, String... usual) {
    Path given =
        options.folder() != null
            ? options.folder()
            : defaultFolder(System::getProperty, System::getenv);
    String needs = "the files " + String.join(", ", home.files()) + " (or .gz) of " + home.name();
    if (given != null) {
      if (!Files.isDirectory(given)) {
        throw Check.bad("data", needs + " in " + given, "no such folder");
      }
      List<Path> places =
          Stream.concat(Stream.of(usual).map(given::resolve), Stream.of(given)).toList();
      for (Path place : places) {
        if (home.files().stream().anyMatch(file -> DataFiles.find(place, file) != null)) {
          return place;
        }
      }
      needs += " in " + given + " or " + places.get(0);
    }
    Path cache = cacheFolder(System::getProperty, System::getenv);
    Path cached = home.find(cache);
    if (cached == null && options.offline()) {
      throw Check.bad(
          "data",
          needs,
          "none of them there or in "
              + cache.resolve(home.folder())
              + ", and nothing may be downloaded (--offline, GHOSTBATCH_OFFLINE). "
              + home.byHand(cache));
    }
    return cached != null
        ? cached
        : home.fetch(cache, Download.Patience.DEFAULT, options.progress());
  }
}
