package org.ghostbatch.cli;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.ghostbatch.data.DataOptions;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Datasets;
import org.ghostbatch.device.Augmentation;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.io.AtomicFiles;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.train.LoaderSpeed;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Measures parts of a training. */
@Command(
    name = "bench",
    description = {
      "Measures GhostBatch, and where asked libtorch beside it: in processes of their own that take turns, with what "
          + "limits them on this machine.",
      "kernels: one kernel (see --kernel), or those that matter. step: whole updates and evaluations of networks. "
          + "scaling: the same on more threads, in larger batches. binding: what a call from Java costs. These need a source tree, and build what they need.",
      "A GPU has kernels and step, in batches that keep it busy and beside its own copy, but no peers.",
      "loader: how fast data is loaded, by the path that training takes. read: files are read, decoded and scaled (of "
          + "folder: only). augment: samples in memory are augmented and normalized. all: both, as in a run whose data "
          + "does not fit into memory."
    },
    customSynopsis = {
      "ghostbatch bench --suite kernels [--kernel K --shape S [--direction D] [--ghost V]] [--precision P]",
      "       ghostbatch bench --suite step [--model M [--direction D] [--batch B] [--ghost V] [--micro-batch S]]",
      "       ghostbatch bench --suite scaling,binding",
      "                        [--compare libtorch] [--backend NAME] [--threads N] [--rounds N] [--seconds X]",
      "                        [--out FILE.json] [--baseline FILE.json] [--docs FILE.md]",
      "       ghostbatch bench --suite loader [--data D] [--data-dir DIR] [--image-size N] [--augment KIND]",
      "                        [--batch B] [--seconds X] [--threads N] [--out FILE.json]%n"
    })
final class BenchCommand implements Callable<Integer> {
  private static final List<String> BESIDE_PEERS = List.of("kernels", "step", "scaling", "binding");
  private static final List<String> ON_GPU = List.of("kernels", "step");

  @Option(
      names = "--suite",
      paramLabel = "NAME",
      required = true,
      description =
          "kernels, step, scaling, binding, several of them with commas between, or loader.")
  private String suite;

  @Option(
      names = "--kernel",
      paramLabel = "K",
      description =
          "gbn (with ReLU; shape N,H,W,C), conv (N,H,W,C,FILTERS,KERNEL,STRIDE), linear (N,IN,OUT), relu (N) or copy (N).")
  private String kernel;

  @Option(names = "--shape", paramLabel = "S", description = "Sizes of the kernel's operands.")
  private String shape;

  @Option(names = "--model", paramLabel = "M", description = "As in train.")
  private String model;

  @Option(
      names = "--precision",
      paramLabel = "P",
      description = "f32 or bf16, of what --kernel or --model names. Default: f32.")
  private String precision;

  @Option(
      names = "--direction",
      paramLabel = "D",
      description =
          "forward (default), backward or both; of conv and linear backward-data or backward-weights; of a model "
              + "train (default) or evaluate.")
  private String direction;

  @Option(
      names = "--ghost",
      paramLabel = "V",
      description = "Rows of a ghost batch, or none. Default: 128.")
  private String ghost;

  @Option(
      names = "--micro-batch",
      paramLabel = "S",
      description = "Rows of a pass of one thread. Default: as in train.")
  private Integer microBatch;

  @Option(
      names = "--compare",
      paramLabel = "PEER",
      description = "libtorch: measured beside, in every spelling of ghost batch norm.")
  private String compare;

  @Option(
      names = "--rounds",
      paramLabel = "N",
      defaultValue = "7",
      description = "Turns that each side takes. Default: 7.")
  private int rounds;

  @Option(
      names = "--baseline",
      paramLabel = "FILE.json",
      description = "Also say what changed since the run that wrote this file with --out.")
  private Path baseline;

  @Option(
      names = "--docs",
      paramLabel = "FILE.md",
      description = "Also write a page with the table and the machine.")
  private Path docs;

  @Option(
      names = "--data",
      paramLabel = "D",
      defaultValue = "strokes",
      description = DataFlags.NAMES + ". Default: strokes.")
  private String data;

  @Option(
      names = "--data-dir",
      paramLabel = "DIR",
      description = "Folder of the data's files, or one that holds it. Default: $GHOSTBATCH_DATA.")
  private Path dataDir;

  @Option(
      names = "--image-size",
      paramLabel = "N",
      description = "As in train. Default: images as they are.")
  private Integer imageSize;

  @Option(
      names = "--augment",
      paramLabel = "KIND",
      defaultValue = "pad-crop-flip",
      description = "none, flip, crop-flip, pad-crop-flip or affine. Default: pad-crop-flip.")
  private String augment;

  @Option(
      names = "--batch",
      paramLabel = "B",
      defaultValue = "1024",
      description =
          "Samples that are brought together, or of one update. Default: 1024, or all where there are fewer.")
  private int batch;

  @Option(
      names = "--seconds",
      paramLabel = "X",
      description =
          "How long each figure is measured, or one turn of it. Default: 3, and 0.5 for a turn.")
  private Double seconds;

  @Option(
      names = "--out",
      paramLabel = "FILE.json",
      description = "Also write the figures to this file.")
  private Path out;

  @Mixin private DataFlags loading;
  @Mixin private DeviceOptions device;
  @Mixin private CommonOptions common;

  @Override
  public Integer call() {
    List<String> suites = List.of(suite.split(",", -1));
    if (!suite.equals("loader") && !BESIDE_PEERS.containsAll(suites)) {
      throw new UsageException(
          "--suite needs loader, or some of " + String.join(", ", BESIDE_PEERS) + ", got " + suite);
    }
    boolean gpu = device.backend().startsWith("cuda");
    if (gpu && !ON_GPU.containsAll(suites)) {
      throw new UsageException(
          "needs --backend cpu, or a suite that a GPU has: "
              + String.join(", ", ON_GPU)
              + ", got --suite "
              + suite
              + " on "
              + device.backend());
    }
    if (gpu && compare != null) {
      throw new UsageException(
          "--compare needs --backend cpu, got "
              + device.backend()
              + "; benchmarks/peers/pytorch_step.py measures PyTorch on a GPU");
    }
    if (batch < 1) {
      throw new UsageException("--batch needs 1 or more, got " + batch);
    }
    if (seconds != null && !(seconds > 0 && seconds <= 3600)) {
      throw new UsageException("--seconds needs a time above 0 up to 3600, got " + seconds);
    }
    return suite.equals("loader") ? loader() : sideBySide();
  }

  /** Kernels, steps and calls: by the programs of the source tree's benchmarks. */
  private int sideBySide() {
    if (compare != null && !compare.equals("libtorch")) {
      throw new UsageException("--compare needs libtorch, got " + compare);
    }
    if (compare != null && suite.equals("scaling")) {
      throw new UsageException(
          "--suite scaling compares GhostBatch with itself, got --compare " + compare);
    }
    if (rounds < 1) {
      throw new UsageException("--rounds needs 1 or more, got " + rounds);
    }
    if (kernel != null && !suite.equals("kernels") || model != null && !suite.equals("step")) {
      throw new UsageException(
          "needs --kernel with --suite kernels and --model with --suite step, got --suite "
              + suite);
    }
    if (kernel == null ? shape != null : shape == null) {
      throw new UsageException("needs --kernel and --shape together, got one of them");
    }
    boolean some = precision != null || direction != null || ghost != null || microBatch != null;
    if (some && kernel == null && model == null) {
      throw new UsageException(
          "--precision, --direction, --ghost and --micro-batch need --kernel or --model");
    }
    if (microBatch != null && model == null) {
      throw new UsageException("--micro-batch needs --model");
    }
    boolean cpu = device.backend().equals("cpu");
    if (!cpu && !device.backend().startsWith("cuda")) {
      throw new UsageException(
          "--suite " + suite + " needs backend cpu or cuda, got " + device.backend());
    }
    if (baseline != null && !Files.isReadable(baseline)) {
      throw new UsageException("--baseline needs a file, got " + baseline);
    }
    String type = precision == null ? "f32" : precision;
    UsageException.check(() -> DataType.of(type));
    int rows = ghostRows();
    String root = System.getProperty("ghostbatch.root");
    if (root == null) {
      throw new UsageException(
          "--suite " + suite + " needs the ghostbatch command of a source tree");
    }
    boolean network = suite.equals("step");
    JsonObject request =
        new JsonObject()
            .put("suite", suite)
            .put("name", network ? model : kernel)
            .put("shape", network ? Integer.toString(batch) : shape)
            .put("precision", type)
            .put("direction", direction != null ? direction : network ? "train" : "forward")
            .put("ghost", rows)
            .put("micro_batch", microBatch)
            .put("device", device.backend())
            .put("threads", cpu ? device.threads() : 1)
            .put("compare", compare == null ? "none" : compare)
            .put("rounds", rounds)
            .put("seconds", seconds == null ? 0.5 : seconds)
            .put("out", absolute(out))
            .put("baseline", absolute(baseline))
            .put("docs", absolute(docs));
    try {
      return new ProcessBuilder(Path.of(root, "benchmarks", "run").toString(), Json.write(request))
          .inheritIO()
          .start()
          .waitFor();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException(e);
    }
  }

  private int ghostRows() {
    if (ghost == null) {
      return 128;
    }
    if (ghost.equals("none")) {
      return 0;
    }
    if (!ghost.matches("[1-9][0-9]{0,8}")) {
      throw new UsageException("--ghost needs a number of rows or none, got " + ghost);
    }
    return Integer.parseInt(ghost);
  }

  private static String absolute(Path path) {
    return path == null ? null : path.toAbsolutePath().toString();
  }

  private int loader() {
    UsageException.check(() -> Datasets.check(data));
    Augmentation augmentation = UsageException.check(() -> Augmentation.of(augment));
    DataOptions options =
        UsageException.check(
            () ->
                loading
                    .options(device.threads(), Terminal.standardError())
                    .withFolder(dataDir)
                    .withImageSize(
                        imageSize == null ? 0 : imageSize, imageSize == null ? 0 : imageSize)
                    .withMemory(0)); // decoded whenever they are read, however many there are
    try (Device opened = device.open()) {
      Dataset train = Datasets.load(data, options).train();
      List<LoaderSpeed> speeds =
          LoaderSpeed.measure(
              opened,
              device.threads(),
              train,
              Math.min(batch, train.count()),
              augmentation,
              seconds == null ? 3 : seconds);
      System.out.print(table(train, speeds));
      if (out != null) {
        AtomicFiles.write(out, (json(train, speeds) + "\n").getBytes(StandardCharsets.UTF_8));
      }
    }
    return Main.DONE;
  }

  private String table(Dataset train, List<LoaderSpeed> speeds) {
    TextTable table = new TextTable("loader", "images/s", "us an image", "images", "threads");
    for (LoaderSpeed speed : speeds) {
      table.row(
          speed.name(),
          String.format(Locale.ROOT, "%,.0f", speed.imagesPerSecond()),
          String.format(Locale.ROOT, "%.2f", 1e6 / speed.imagesPerSecond()),
          String.format(Locale.ROOT, "%,d", speed.images()),
          Integer.toString(device.threads()));
    }
    return String.format(
        Locale.ROOT,
        "%s: %,d images as %s, %s, batch %d%n%s",
        data,
        train.count(),
        train.shape(),
        augment,
        Math.min(batch, train.count()),
        table);
  }

  private String json(Dataset train, List<LoaderSpeed> speeds) {
    List<JsonObject> rows =
        speeds.stream()
            .map(
                speed ->
                    new JsonObject()
                        .put("suite", suite)
                        .put("name", speed.name())
                        .put("images_per_second", speed.imagesPerSecond())
                        .put("images", speed.images())
                        .put("seconds", speed.seconds())
                        .put("threads", device.threads())
                        .put("batch", Math.min(batch, train.count()))
                        .put("data", data)
                        .put("shape", train.shape().toString())
                        .put("augment", augment))
            .toList();
    return Json.writeIndented(
        new JsonObject()
            .put("version", Version.text())
            .put("processors", Runtime.getRuntime().availableProcessors())
            .put("rows", rows));
  }
}
