package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import java.util.function.UnaryOperator;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.Device;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.train.EventReader.Point;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** When measures are taken, where their figures go, and that a run does not hear of it. */
class MeasureTest {
  private static final Dataset TRAIN = TinyData.of(410, 1);
  private static final Dataset TEST = TinyData.of(100, 2);

  @TempDir Path temp;

  /** Three epochs of five updates; distance is measured after each, loss after 2 and 3. */
  private static Trainer.Builder builder() {
    return Trainer.of(TinyData.convolutional())
        .batchSize(100)
        .ghostBatchSize(32)
        .epochs(3)
        .checkpointEvery(CheckpointInterval.updates(3));
  }

  private static Trainer.Builder measured(Trainer.Builder builder) {
    return builder.measure("loss", 2, MeasureTest::loss).measure("way", 1, MeasureTest::way);
  }

  private static Map<String, Double> way(Trainer trainer, Measure.Progress progress) {
    progress.at("way", 0, 2);
    progress.at("way", 1, 2);
    return Map.of("distance", trainer.weightDistance(), "log", Math.log(trainer.weightDistance()));
  }

  private static Map<String, Double> loss(Trainer trainer, Measure.Progress progress) {
    progress.at("half", 0, 2);
    double loss = trainer.evaluate(trainer.data()).loss();
    progress.at("half", 1, 2);
    return Map.of("train", loss);
  }

  private static History run(Path folder, Trainer.Builder builder, Dataset train) {
    try (Device device = Device.of("cpu", 2);
        RunFolder run = RunFolder.create(folder);
        Trainer trainer = builder.listener(run).on(device)) {
      return trainer.fit(train, TEST);
    }
  }

  private static History resume(Path folder, UnaryOperator<TrainingSpec.Builder> longer) {
    try (Device device = Device.of("cpu", 1);
        RunFolder run = RunFolder.resume(folder)) {
      TrainingSpec spec = longer.apply(run.spec().toBuilder()).build();
      try (Trainer trainer =
          measured(Trainer.of(TinyData.convolutional(), spec))
              .listener(run)
              .listener(new Reader(folder))
              .checkpoint(run.checkpoint())
              .on(device)) {
        return trainer.fit(TRAIN, TEST);
      }
    }
  }

  /** Holds the file to the trainer's rows: what lies past its checkpoint is cut at once. */
  private record Reader(Path folder) implements TrainingListener {
    @Override
    public void onUpdate(Trainer trainer) {
      assertEquals(trainer.measured(), RunFolder.measures(folder));
    }
  }

  private static List<String> csv(Path folder) throws IOException {
    return Files.readAllLines(folder.resolve("measures.csv"));
  }

  private static void assertSame(Path expected, Path actual) throws IOException {
    assertArrayEquals(
        Files.readAllBytes(RunFolder.model(expected)), Files.readAllBytes(RunFolder.model(actual)));
    assertEquals(ResumeTest.untimed(expected), ResumeTest.untimed(actual));
    assertEquals(csv(expected), csv(actual));
  }

  @Test
  void figuresGoToTheFolderToTensorBoardAndToListeners() throws IOException {
    Path folder = temp.resolve("run");
    List<MeasureRow> told = new ArrayList<>();
    List<String> steps = new ArrayList<>();
    TrainingListener listener =
        new TrainingListener() {
          @Override
          public void onMeasuring(
              Trainer trainer, String measure, String what, long done, long of) {
            steps.add(measure + " " + what + " " + done + "/" + of);
          }

          @Override
          public void onMeasure(Trainer trainer, List<MeasureRow> rows) {
            told.addAll(rows);
            assertEquals(told, trainer.measured());
            assertEquals(told, RunFolder.measures(folder), "a kill now would lose them");
          }
        };
    History history;
    try (Device device = Device.of("cpu", 2);
        RunFolder run = RunFolder.create(folder);
        Trainer trainer =
            measured(builder())
                .listener(run)
                .listener(listener)
                .listener(new TensorBoard(folder))
                .on(device)) {
      history = trainer.fit(TRAIN, TEST);
    }
    assertEquals(
        List.of(
            "1,5,way_distance",
            "1,5,way_log",
            "2,10,loss_train",
            "2,10,way_distance",
            "2,10,way_log",
            "3,15,way_distance",
            "3,15,way_log",
            "3,15,loss_train"), // as the last
        told.stream().map(row -> row.epoch() + "," + row.updates() + "," + row.name()).toList());
    for (MeasureRow row : told) {
      EpochRow epoch = history.epochs().get(row.epoch() - 1);
      if (row.name().equals("way_distance")) {
        assertEquals(epoch.weightDistance(), row.value());
      }
    }
    double loss = told.get(7).value();
    assertEquals(history.train().loss(), loss);
    assertEquals(List.of("loss half 0/2", "loss half 1/2", "way way 0/2"), steps.subList(2, 5));
    assertEquals("epoch,updates,name,value", csv(folder).get(0));
    assertEquals("3,15,loss_train," + loss, csv(folder).get(8));
    assertEquals(9, csv(folder).size());

    JsonObject last = Json.readObject(RunFolder.summaryFile(folder)).getObject("measures");
    assertEquals(List.of("way_distance", "way_log", "loss_train"), List.copyOf(last.names()));
    assertEquals(loss, last.getDouble("loss_train"));
    assertEquals(history.weightDistance(), last.getDouble("way_distance"));
    List<Point> points =
        EventReader.points(EventReader.files(folder).get(0)).stream()
            .filter(point -> point.tag().startsWith("measure/"))
            .toList();
    assertEquals(
        told.stream()
            .map(row -> new Point(row.updates(), "measure/" + row.name(), (float) row.value()))
            .toList(),
        points);
  }

  @Test
  void aRunThatIsNotMeasuredHasNoFile() throws IOException {
    run(temp.resolve("run"), builder(), TRAIN);
    assertFalse(Files.exists(temp.resolve("run/measures.csv")));
    assertEquals(List.of(), RunFolder.measures(temp.resolve("run")));
    assertFalse(Json.readObject(RunFolder.summaryFile(temp.resolve("run"))).has("measures"));
  }

  @ParameterizedTest
  @ValueSource(longs = {2, 5, 8, 10, 15})
  void aResumedRunHasTheFiguresOfOneThatNeverStopped(long cut) throws IOException {
    Path whole = temp.resolve("whole");
    run(whole, measured(builder()), TRAIN);
    Path stopped = temp.resolve("stopped");
    assertTrue(run(stopped, measured(builder()).listener(at(cut, Trainer::stop)), TRAIN).stopped());
    assertFalse(resume(stopped, spec -> spec).stopped());
    assertSame(whole, stopped);
    // As it is, once more: the last are taken again.
    resume(stopped, spec -> spec);
    assertSame(whole, stopped);
    // Killed, some updates behind a checkpoint: rows past it are cut.
    Path killed = temp.resolve("killed");
    Trainer.Builder dying =
        measured(builder()).checkpointEvery(CheckpointInterval.updates(4)).listener(die(cut));
    assertThrows(Killed.class, () -> run(killed, dying, TRAIN));
    try (RunFolder run = RunFolder.resume(killed)) {
      assertTrue(run.savedUpdates() <= cut);
    }
    resume(killed, spec -> spec);
    assertSame(whole, killed);
  }

  private static TrainingListener at(long update, Consumer<Trainer> then) {
    return new TrainingListener() {
      @Override
      public void onUpdate(Trainer trainer) {
        if (trainer.updates() == update) {
          then.accept(trainer);
        }
      }
    };
  }

  private static TrainingListener die(long update) {
    return at(
        update,
        trainer -> {
          throw new Killed();
        });
  }

  private static final class Killed extends RuntimeException {
    private static final long serialVersionUID = 1;
  }

  @Test
  void aLongerRunHasNoFiguresOfTheFormerEnd() throws IOException {
    run(temp.resolve("long"), measured(builder()).epochs(5), TRAIN);
    run(temp.resolve("short"), measured(builder()), TRAIN);
    assertEquals("3,15,loss_train", csv(temp.resolve("short")).get(8).replaceFirst(",[^,]*$", ""));
    resume(temp.resolve("short"), spec -> spec.epochs(5));
    assertSame(temp.resolve("long"), temp.resolve("short"));
    // An end within an epoch is the last as well.
    run(temp.resolve("updates"), measured(builder().updates(12)), TRAIN);
    List<MeasureRow> rows = RunFolder.measures(temp.resolve("updates"));
    assertEquals(
        List.of(12L, 12L, 12L),
        rows.stream().filter(row -> row.epoch() == 3).map(MeasureRow::updates).toList());
    run(temp.resolve("longer"), measured(builder().updates(15)), TRAIN);
    resume(temp.resolve("updates"), spec -> spec.updates(15));
    assertSame(temp.resolve("longer"), temp.resolve("updates"));
  }

  /** A signal need not wait for a measure, which may take minutes; none is lost. */
  @ParameterizedTest
  @CsvSource({"1, way", "2, loss", "2, way", "3, way", "3, loss"})
  void aStopEndsAMeasureThatIsTakenLater(int epoch, String measure) throws IOException {
    Path whole = temp.resolve("whole");
    run(whole, measured(builder()), TRAIN);
    Path cut = temp.resolve("cut");
    TrainingListener stopping =
        new TrainingListener() {
          @Override
          public void onMeasuring(Trainer trainer, String name, String what, long done, long of) {
            if (trainer.updates() == 5 * epoch && name.equals(measure)) {
              assertEquals(0, done, "it went on");
              trainer.stop();
            }
          }
        };
    History history = run(cut, measured(builder()).listener(stopping), TRAIN);
    assertEquals(5 * epoch, history.updates());
    assertTrue(history.stopped());
    assertFalse(
        RunFolder.measures(cut).stream()
            .anyMatch(row -> row.epoch() == epoch && row.isOf(measure)));
    resume(cut, spec -> spec);
    assertSame(whole, cut);
  }

  @Test
  void aMeasureThatFailsCostsItsFiguresAlone() throws IOException {
    Path plain = temp.resolve("plain");
    run(plain, builder(), TRAIN);
    Path folder = temp.resolve("run");
    Measure failing =
        (trainer, progress) -> {
          if (trainer.updates() > 5) {
            throw new IllegalArgumentException("no memory, say");
          }
          return Map.of("figure", Double.NaN);
        };
    List<String> warnings =
        ResumeTest.warnings(
            () ->
                run(
                    folder,
                    builder().measure("a", 1, failing).measure("way", 3, MeasureTest::way),
                    TRAIN));
    assertEquals(
        List.of(
            "[trainer] cannot measure a after epoch 2: no memory, say; training goes on",
            "[trainer] cannot measure a after epoch 3: no memory, say; training goes on"),
        warnings);
    assertEquals("1,5,a_figure,", csv(folder).get(1));
    assertEquals(4, csv(folder).size());
    assertTrue(
        Json.readObject(RunFolder.summaryFile(folder)).getObject("measures").isNull("a_figure"));
    assertArrayEquals(
        Files.readAllBytes(RunFolder.model(plain)), Files.readAllBytes(RunFolder.model(folder)));
  }

  @Test
  void measuringIsNoTimeOfTheRun() {
    Measure slow =
        (trainer, progress) -> {
          sleep(150);
          return Map.of("time", 1.0);
        };
    try (Device device = Device.of("cpu", 2);
        Trainer trainer = builder().measure("slow", 1, slow).on(device)) {
      trainer.prepare(TRAIN);
      long begin = System.nanoTime();
      History history = trainer.fit(TRAIN, null);
      double wall = (System.nanoTime() - begin) / 1e9;
      assertEquals(3, trainer.measured().size());
      assertTrue(
          history.seconds() <= wall - 0.44,
          history.seconds() + " s of " + wall + ", 0.45 measured");
      assertTrue(history.last().seconds() <= history.seconds());
    }
  }

  /** The reader of a run that ends within an epoch is ahead of it. */
  @Test
  void dataIsReadByOneAtATime() {
    AtomicInteger readers = new AtomicInteger();
    Dataset slow =
        new ChangedDataset(TRAIN) {
          @Override
          public boolean streaming() {
            return true;
          }

          @Override
          public void read(int[] indices, int from, int to, ByteBuffer target) {
            assertEquals(1, readers.incrementAndGet(), "it is read twice at once");
            sleep(20);
            super.read(indices, from, to, target);
            readers.decrementAndGet();
          }
        };
    Measure reading =
        (trainer, progress) -> {
          ByteBuffer sample = ByteBuffer.allocate(trainer.data().sampleBytes());
          trainer.data().read(new int[] {0}, 0, 1, sample);
          return Map.of("pixel", (double) sample.get(0));
        };
    try (Device device = Device.of("cpu", 1);
        Trainer trainer = builder().updates(7).measure("data", 1, reading).on(device)) {
      trainer.fit(slow, null);
      assertEquals(2, trainer.measured().size());
    }
  }

  private static void sleep(long milliseconds) {
    try {
      Thread.sleep(milliseconds);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  @Test
  void measuresOfTheSpecMustBeThere() {
    try (Device device = Device.of("cpu", 1)) {
      TrainingSpec spec;
      try (Trainer trainer = builder().measure("way", 2, MeasureTest::way).on(device)) {
        spec = trainer.spec();
      }
      assertEquals(List.of(new MeasurePlan.Entry("way", 2)), spec.measures().entries());
      var none =
          assertThrows(
              IllegalArgumentException.class,
              () -> Trainer.of(TinyData.convolutional(), spec).on(device));
      assertEquals(
          "[trainer] needs the measure way that its spec names, got none", none.getMessage());
      try (Trainer trainer =
          builder().measure("way", 2, MeasureTest::way).measureSamples(411).on(device)) {
        var many = assertThrows(IllegalArgumentException.class, () -> trainer.prepare(TRAIN));
        assertEquals(
            "[trainer] needs at most the 410 training samples to measure on, got 411",
            many.getMessage());
      }
    }
  }

  @Test
  void plansAreTexts() {
    MeasurePlan plan = MeasurePlan.parse("sharpness@5,hessian");
    assertEquals("sharpness@5,hessian@1", plan.toString());
    assertEquals(plan, MeasurePlan.parse(plan.toString()));
    assertEquals("sharpness@2,hessian@1", plan.with("sharpness", 2).toString());
    assertEquals("sharpness@5,hessian@1,own@7", plan.with("own", 7).toString());
    assertEquals(MeasurePlan.NONE, MeasurePlan.parse("none"));
    assertEquals("none", MeasurePlan.NONE.toString());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "a,",
        "a@",
        "a@0",
        "a@-1",
        "a@1@2",
        "a@x",
        "A",
        "a_b",
        "a,a@2",
        "a b",
        "a@1234567890"
      })
  void otherTextsAreRefused(String text) {
    var error = assertThrows(IllegalArgumentException.class, () -> MeasurePlan.parse(text));
    assertTrue(error.getMessage().startsWith("[measures] needs "), error.getMessage());
  }

  @Test
  void rowsComeBackFromText() {
    for (double value : new double[] {1 / 3.0, -1e-300, 5, Double.NaN}) {
      MeasureRow row = new MeasureRow(2, 10, "sharpness_1e-3_strong", value);
      assertEquals(row, MeasureRow.parse(row.csv()));
      assertTrue(row.isOf("sharpness") && !row.isOf("sharp"));
    }
    for (String text :
        List.of("1,2,a_b", "1,2,a_b,3,4", "x,2,a_b,3", "1,2,a,3", "1,2,a_b,x", "1,2,a_b c,3")) {
      assertThrows(IllegalArgumentException.class, () -> MeasureRow.parse(text), text);
    }
  }
}
