package org.ghostbatch.data;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;

/**
 * Data sets by name: strokes, mnist, fashion-mnist, cifar10, cifar100.
 *
 * <p>All but {@code strokes}, which is embedded, are files in a folder: the data set's own, or one
 * that holds it under its usual name. Where no folder is given it is that of the system property
 * {@code ghostbatch.data}, else of the environment variable {@code GHOSTBATCH_DATA}.
 */
public final class Datasets {
  /** The names that {@link #load} knows. */
  public static final List<String> NAMES =
      List.of("strokes", "mnist", "fashion-mnist", "cifar10", "cifar100");

  private Datasets() {}

  /**
   * Loads a data set.
   *
   * @param folder of the data, or null for the default one
   * @throws IllegalArgumentException where the name is unknown, a file is missing (the text says
   *     which go where), or one is damaged
   * @throws java.io.UncheckedIOException where a file cannot be read
   */
  public static DataPair load(String name, Path folder) {
    return switch (name) {
      case "strokes" -> Strokes.load();
      case "mnist" -> Mnist.load(find(name, folder, Mnist.FILES, List.of("mnist", "MNIST/raw")));
      case "fashion-mnist" ->
          Mnist.loadFashion(
              find(name, folder, Mnist.FILES, List.of("fashion-mnist", "FashionMNIST/raw")));
      case "cifar10" ->
          Cifar.load10(
              find(
                  name,
                  folder,
                  Cifar.FILES_10,
                  List.of("cifar-10-batches-bin", "cifar10/cifar-10-batches-bin", "cifar10")));
      case "cifar100" ->
          Cifar.load100(
              find(
                  name,
                  folder,
                  Cifar.FILES_100,
                  List.of("cifar-100-binary", "cifar100/cifar-100-binary", "cifar100")));
      default ->
          throw new IllegalArgumentException(
              "[data] needs one of " + NAMES + ", got \"" + name + "\"");
    };
  }

  /** The default folder of data, or null. */
  static Path defaultFolder(
      Function<String, String> properties, Function<String, String> environment) {
    String folder = properties.apply("ghostbatch.data");
    if (folder == null || folder.isBlank()) {
      folder = environment.apply("GHOSTBATCH_DATA");
    }
    return folder == null || folder.isBlank() ? null : Path.of(folder);
  }

  /**
   * The first folder, of those under their usual names and then the folder itself, that holds the
   * first file.
   */
  private static Path find(String name, Path given, List<String> files, List<String> usual) {
    Path folder = given != null ? given : defaultFolder(System::getProperty, System::getenv);
    String needs = "[data] needs the files " + String.join(", ", files) + " (or .gz) of " + name;
    if (folder == null) {
      throw new IllegalArgumentException(
          needs
              + " in a folder given by --data-dir or GHOSTBATCH_DATA, or in "
              + usual.get(0)
              + " under it, got no folder");
    }
    List<Path> candidates = new ArrayList<>();
    usual.forEach(place -> candidates.add(folder.resolve(place)));
    candidates.add(folder);
    for (Path candidate : candidates) {
      if (files.stream().anyMatch(file -> DataFiles.find(candidate, file) != null)) {
        return candidate;
      }
    }
    throw new IllegalArgumentException(
        needs
            + " in "
            + folder
            + " or "
            + candidates.get(0)
            + ", got "
            + (Files.isDirectory(folder) ? "none of them" : "no such folder"));
  }
}
