package org.ghostbatch.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.ghostbatch.data.DataPair;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Datasets;
import org.ghostbatch.data.SampleShape;
import org.ghostbatch.device.Device;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.train.ClassificationMetrics;
import org.ghostbatch.train.Evaluation;
import org.ghostbatch.train.Predictor;
import org.ghostbatch.train.RunFolder;
import org.ghostbatch.train.TrainedRun;
import org.ghostbatch.train.TrainingSpec;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** How good a trained network is, class by class. */
@Command(
    name = "evaluate",
    description = {
      "Tells how good a trained network is, class by class.",
      "Loss and accuracy, precision, recall and F1 of each class, and the confusion matrix: on the test set of its "
          + "data, or of other data."
    },
    customSynopsis =
        "ghostbatch evaluate (--run DIR | --checkpoint FILE) [--data D] [--data-dir DIR]%n"
            + "                           [--on test|train|validation] [--json] [--offline]%n"
            + "                           [--backend NAME] [--threads N]%n")
final class EvaluateCommand implements Callable<Integer> {
  /** With more classes a matrix is no sight: the most frequent confusions instead. */
  private static final int MATRIX = 20;

  private static final int CONFUSIONS = 10;
  static final List<String> PARTS = List.of("test", "train", "validation");

  @ArgGroup(multiplicity = "1", exclusive = true)
  private ModelSource source;

  @Option(
      names = "--data",
      paramLabel = "D",
      completionCandidates = Candidates.Data.class,
      description =
          DataFlags.NAMES
              + "; images become the network's input, its size, grey or coloured. Classes with names must be the "
              + "network's, in its order. Default: the data of the run.")
  private String data;

  @Option(
      names = "--data-dir",
      paramLabel = "DIR",
      description =
          "Folder of the data's files, or one that holds it. Default: that of the run, $GHOSTBATCH_DATA.")
  private String dataDir;

  @Option(
      names = "--on",
      paramLabel = "PART",
      defaultValue = "test",
      completionCandidates = Candidates.Parts.class,
      description =
          "test; train, what the run was trained on, without augmentation; or validation, what it set aside. "
              + "Default: test.")
  private String part;

  @Option(names = "--json", description = "One JSON object on standard output.")
  private boolean json;

  @Mixin private DataFlags loading;
  @Mixin private DeviceOptions device;
  @Mixin private CommonOptions common;

  @Override
  public Integer call() {
    if (data == null && source.run == null) {
      throw new UsageException("--checkpoint needs --data: a model file does not name its data");
    }
    if (data != null) {
      UsageException.check(() -> Datasets.check(data));
    }
    if (!PARTS.contains(part)) {
      throw new UsageException("--on needs one of " + PARTS + ", got " + part);
    }
    Path model = source.file();
    TrainingSpec spec = data == null ? RunFolder.config(source.run) : null;
    if (part.equals("validation") && (spec == null || spec.validation() == 0)) {
      throw new UsageException(
          "--on validation needs a run that set data aside, got " + (spec == null ? data : "none"));
    }
    String name = spec == null ? data : spec.data();
    String folder = dataDir == null && spec != null ? spec.dataDir() : dataDir;
    try (Device opened = device.open();
        Predictor predictor = Predictor.load(model, opened)) {
      SampleShape input = predictor.inputShape();
      DataPair pair =
          Datasets.load(
              name,
              loading
                  .options(opened.threads(), Terminal.standardError())
                  .withFolder(folder == null ? null : Path.of(folder))
                  .withImageSize(input.height(), input.width())
                  .withChannels(input.channels()));
      checkClasses(name, pair.test().classNames(), predictor.classNames());
      Dataset samples = samples(pair, spec);
      ClassificationMetrics.Counter counter =
          new ClassificationMetrics.Counter(predictor.classes(), Math.min(5, predictor.classes()));
      Evaluation evaluation = predictor.evaluate(samples, counter);
      ClassificationMetrics metrics = counter.result();
      if (json) {
        JsonObject object =
            new JsonObject()
                .put("model", model.toString())
                .put("data", name)
                .put("backend", opened.name());
        System.out.println(Json.write(json(object, evaluation, metrics, predictor.classNames())));
      } else {
        System.out.print(text(name, evaluation, metrics, predictor.classNames()));
      }
    }
    return Main.DONE;
  }

  /**
   * Labels are numbers, which say the same only where the classes do. Names are not compared with
   * mere numbers, which is what data without names has.
   */
  private static void checkClasses(String data, List<String> names, List<String> known) {
    if (numbers(names) != numbers(known)) {
      return;
    }
    for (int c = 0; c < names.size(); c++) {
      String own = c < known.size() ? known.get(c) : null;
      if (!names.get(c).equals(own)) {
        throw new UsageException(
            "--data needs the classes of the network, in its order, got \""
                + names.get(c)
                + "\" in "
                + data
                + " as class "
                + c
                + ", where the network has "
                + (own == null ? "none" : "\"" + own + "\""));
      }
    }
  }

  private static boolean numbers(List<String> names) {
    return names.stream().allMatch(name -> name.matches("[0-9]+"));
  }

  /** The part of the data; of the training set what the run trained on, or set aside. */
  private Dataset samples(DataPair pair, TrainingSpec spec) {
    if (part.equals("test")) {
      return pair.test();
    }
    if (spec == null) {
      return pair.train();
    }
    return part.equals("train")
        ? TrainedRun.trainedOn(pair.train(), spec)
        : TrainedRun.setAside(pair.train(), spec);
  }

  private JsonObject json(
      JsonObject object, Evaluation evaluation, ClassificationMetrics metrics, List<String> names) {
    List<JsonObject> classes = new ArrayList<>();
    for (int c = 0; c < metrics.classes(); c++) {
      classes.add(
          new JsonObject()
              .put("class", names.get(c))
              .put("support", metrics.support(c))
              .put("precision", metrics.precision(c))
              .put("recall", metrics.recall(c))
              .put("f1", metrics.f1(c)));
    }
    return object
        .put("samples", evaluation.samples())
        .put(part + "_loss", Json.finiteOrNull(evaluation.loss()))
        .put(part + "_accuracy", evaluation.accuracy())
        .put("top_" + metrics.k() + "_accuracy", metrics.topKAccuracy())
        .put("macro_f1", metrics.macroF1())
        .put("classes", classes)
        .put("confusion", metrics.confusion());
  }

  private String text(
      String data, Evaluation evaluation, ClassificationMetrics metrics, List<String> names) {
    StringBuilder text = new StringBuilder();
    text.append(
        String.format(
            Locale.ROOT,
            "%s: loss %s, accuracy %s on %,d %s samples; top-%d accuracy %s, mean F1 %s%n%n",
            data,
            Figures.number(evaluation.loss()),
            Figures.percent(evaluation.accuracy()),
            evaluation.samples(),
            part.equals("train") ? "training" : part,
            metrics.k(),
            Figures.percent(metrics.topKAccuracy()),
            Figures.percent(metrics.macroF1())));
    TextTable classes = new TextTable("class", "samples", "precision", "recall", "F1");
    for (int c = 0; c < metrics.classes(); c++) {
      classes.row(
          names.get(c),
          String.format(Locale.ROOT, "%,d", metrics.support(c)),
          Figures.percent(metrics.precision(c)),
          Figures.percent(metrics.recall(c)),
          Figures.percent(metrics.f1(c)));
    }
    text.append(classes).append(System.lineSeparator());
    text.append(metrics.classes() <= MATRIX ? matrix(metrics, names) : confusions(metrics, names));
    return text.toString();
  }

  private static String matrix(ClassificationMetrics metrics, List<String> names) {
    String[] head = new String[metrics.classes() + 1];
    head[0] = "";
    for (int c = 0; c < metrics.classes(); c++) {
      head[c + 1] = names.get(c);
    }
    TextTable table = new TextTable(head);
    for (int label = 0; label < metrics.classes(); label++) {
      String[] row = new String[head.length];
      row[0] = names.get(label);
      for (int c = 0; c < metrics.classes(); c++) {
        long count = metrics.count(label, c);
        row[c + 1] = count == 0 ? "." : Long.toString(count);
      }
      table.row(row);
    }
    return "how many of a class (row) were taken for which (column)"
        + System.lineSeparator()
        + table;
  }

  private static String confusions(ClassificationMetrics metrics, List<String> names) {
    List<long[]> cells = new ArrayList<>();
    for (int label = 0; label < metrics.classes(); label++) {
      for (int c = 0; c < metrics.classes(); c++) {
        if (c != label && metrics.count(label, c) > 0) {
          cells.add(new long[] {metrics.count(label, c), label, c});
        }
      }
    }
    cells.sort(Comparator.comparingLong((long[] cell) -> cell[0]).reversed());
    TextTable table = new TextTable("most frequent confusions", "<taken for", "samples");
    cells.stream()
        .limit(CONFUSIONS)
        .forEach(
            cell ->
                table.row(
                    names.get((int) cell[1]), names.get((int) cell[2]), Long.toString(cell[0])));
    return table.toString();
  }
}
