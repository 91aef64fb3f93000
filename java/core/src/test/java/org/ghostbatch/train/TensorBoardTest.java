package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import java.util.stream.LongStream;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.Device;
import org.ghostbatch.io.EventFile;
import org.ghostbatch.train.EventReader.Event;
import org.ghostbatch.train.EventReader.Point;
import org.ghostbatch.train.EventReader.Scalar;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Event files, read back by {@link EventReader}. */
class TensorBoardTest {
  private static final Dataset TRAIN = TinyData.of(300, 1);
  private static final Dataset TEST = TinyData.of(100, 2);

  @TempDir Path folder;

  @Test
  void theReaderKnowsTheChecksum() {
    assertEquals(0xE3069283, EventReader.crc32c("123456789".getBytes(StandardCharsets.US_ASCII)));
    assertEquals(0x8A9136AA, EventReader.crc32c(new byte[32])); // RFC 3720, B.4
  }

  @Test
  void scalarsComeBackWhateverTheirSize() throws IOException {
    List<String> tags = new ArrayList<>();
    double[] values = new double[300];
    for (int i = 0; i < values.length; i++) {
      tags.add("ä/" + "t".repeat(i)); // lengths of tag, value and summary around one and two bytes
      values[i] = i == 7 ? Double.NaN : Math.exp(i / 10.0 - 15);
    }
    values[8] = Double.POSITIVE_INFINITY;
    Path path;
    try (EventFile file = EventFile.create(folder, 0)) {
      path = file.path();
      file.scalars(Long.MAX_VALUE, tags, values);
      file.scalars(1, List.of("all"), new double[] {Double.NaN});
      for (int i = 100; i < 140; i++) {
        file.scalars(i, tags.subList(i, i + 1), Arrays.copyOfRange(values, i, i + 1));
      }
      assertThrows(
          IllegalArgumentException.class, () -> file.scalars(1, tags, new double[] {1, 2}));
    }
    List<Event> events = EventReader.read(Files.readAllBytes(path), false);
    assertEquals("brain.Event:2", events.get(0).fileVersion());
    assertEquals(42, events.size(), "an event without scalars is not written");
    Event all = events.get(1);
    assertEquals(Long.MAX_VALUE, all.step());
    assertEquals(System.currentTimeMillis() / 1e3, all.wallTime(), 60);
    List<Scalar> expected = new ArrayList<>();
    for (int i = 0; i < values.length; i++) {
      if (i != 7) {
        expected.add(new Scalar(tags.get(i), (float) values[i]));
      }
    }
    assertEquals(expected, all.scalars());
    for (int i = 100; i < 140; i++) {
      assertEquals(
          List.of(new Scalar(tags.get(i), (float) values[i])), events.get(i - 98).scalars());
    }
  }

  /**
   * Figures of every update, as the trainer tells them; looks into the file while it is written.
   */
  private final class Watcher implements TrainingListener {
    private final List<Point> points = new ArrayList<>();
    private long seen;

    @Override
    public void onUpdate(Trainer trainer) {
      long step = trainer.updates();
      points.add(new Point(step, "update/loss", (float) trainer.lastLoss()));
      points.add(new Point(step, "update/learning_rate", (float) trainer.lastLearningRate()));
      points.add(new Point(step, "update/gradient_norm", (float) trainer.lastGradientNorm()));
      try {
        List<Point> now = EventReader.points(EventReader.files(folder).get(0));
        seen = now.get(now.size() - 1).step();
        assertEquals(step, seen, "a kill now would lose an update");
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }

  @Test
  void holdsEveryUpdateOfAShortRunAndTheColumnsOfMetrics() throws IOException {
    Watcher watcher = new Watcher();
    History history;
    try (Device device = Device.of("cpu", 2);
        Trainer trainer =
            Trainer.of(TinyData.withoutNorm())
                .batchSize(100)
                .epochs(3)
                .listener(new TensorBoard(folder))
                .listener(watcher)
                .on(device)) {
      history = trainer.fit(TRAIN, TEST);
    }
    assertEquals(1, EventReader.files(folder).size());
    Path file = EventReader.files(folder).get(0);
    assertTrue(file.getFileName().toString().startsWith("events.out.tfevents."), file.toString());
    List<Point> points = EventReader.points(file);
    assertEquals(9, watcher.seen);
    assertEquals(
        watcher.points, points.stream().filter(p -> p.tag().startsWith("update/")).toList());
    for (EpochRow row : history.epochs()) {
      List<Point> of =
          points.stream()
              .filter(p -> p.tag().startsWith("epoch/") && p.step() == row.updates())
              .toList();
      assertEquals(
          List.of(
              "epoch/batch",
              "epoch/learning_rate",
              "epoch/train_loss",
              "epoch/train_accuracy",
              "epoch/test_loss",
              "epoch/test_accuracy",
              "epoch/weight_distance",
              "epoch/gradient_norm",
              "epoch/images_per_second"),
          of.stream().map(Point::tag).toList());
      assertEquals((float) row.trainLoss(), of.get(2).value());
      assertEquals((float) row.testAccuracy(), of.get(5).value());
      assertEquals((float) row.weightDistance(), of.get(6).value());
    }
    long[] steps = points.stream().mapToLong(Point::step).toArray();
    assertArrayEquals(LongStream.of(steps).sorted().toArray(), steps);
  }

  @Test
  void longRunsAreThinned() throws IOException {
    try (Device device = Device.of("cpu", 1);
        Trainer trainer =
            Trainer.of(TinyData.withoutNorm())
                .batchSize(2)
                .updates(4100)
                .learningRate(0.001)
                .listener(new TensorBoard(folder))
                .on(device)) {
      trainer.fit(TRAIN.take(100), null);
    }
    Path file = EventReader.files(folder).get(0);
    List<Long> steps = EventReader.points(file, "update/loss").stream().map(Point::step).toList();
    assertEquals(LongStream.rangeClosed(1, 4100 / 3).map(i -> 3 * i).boxed().toList(), steps);
    assertEquals(82, EventReader.points(file, "epoch/train_loss").size());
    assertEquals(0, EventReader.points(file, "epoch/test_loss").size(), "no test data, no figures");
    assertTrue(Files.size(file) < 300_000, () -> "bytes " + file.toFile().length());
  }

  @Test
  void aFileThatIsCutAnywhereIsReadUpToTheCut() throws IOException {
    Path path;
    try (EventFile file = EventFile.create(folder, 0)) {
      path = file.path();
      for (int i = 1; i <= 5; i++) {
        file.scalars(i, List.of("x"), new double[] {i});
      }
    }
    byte[] whole = Files.readAllBytes(path);
    int before = 0;
    for (int length = 0; length <= whole.length; length++) {
      int events = EventReader.read(Arrays.copyOf(whole, length), true).size();
      assertTrue(events == before || events == before + 1, "cut at " + length);
      before = events;
    }
    assertEquals(6, before);
    assertThrows(
        AssertionError.class,
        () -> {
          byte[] flipped = whole.clone();
          flipped[whole.length - 10] ^= 1;
          EventReader.read(flipped, false);
        });
  }

  @Test
  void aRunThatGoesOnDropsWhatItDoesAgain() throws IOException {
    try (EventFile first = EventFile.create(folder, 0)) {
      for (int i = 1; i <= 130; i++) {
        first.scalars(i, List.of("x"), new double[] {i});
      }
    }
    for (int resume = 1; resume <= 3; resume++) { // within one second: names sort all the same
      try (EventFile next = EventFile.create(folder, 100 * resume)) {
        next.scalars(100 * resume + 1, List.of("x"), new double[] {-resume});
        assertEquals(
            next.path(), EventReader.files(folder).get(resume), "the newest file is the last");
      }
    }
    List<Point> shown = shown(folder);
    assertEquals(
        LongStream.concat(LongStream.rangeClosed(1, 101), LongStream.of(201, 301)).boxed().toList(),
        shown.stream().map(Point::step).collect(Collectors.toList()));
    assertEquals(-1, shown.get(100).value());
  }

  /** As TensorBoard does: a start drops what is at its step and behind it. */
  private static List<Point> shown(Path folder) throws IOException {
    List<Point> shown = new ArrayList<>();
    for (Path file : EventReader.files(folder)) {
      for (Event event : EventReader.read(Files.readAllBytes(file), false)) {
        if (event.sessionStatus() == 1) {
          shown.removeIf(point -> point.step() >= event.step());
        }
        event.scalars().forEach(s -> shown.add(new Point(event.step(), s.tag(), s.value())));
      }
    }
    return shown;
  }

  private static Trainer.Builder run(Path path) {
    return Trainer.of(TinyData.convolutional())
        .batchSize(60)
        .ghostBatchSize(20)
        .epochs(4)
        .validation(0.2)
        .checkpointEvery(CheckpointInterval.updates(3))
        .listener(new TensorBoard(path));
  }

  /** Stops at an update, or dies there. */
  private record End(long update, boolean dies, List<Checkpoint> saved)
      implements TrainingListener {
    @Override
    public void onUpdate(Trainer trainer) {
      if (trainer.updates() == update && dies) {
        throw new UncheckedIOException(new IOException("killed"));
      }
      if (trainer.updates() == update) {
        trainer.stop();
      }
    }

    @Override
    public void onCheckpoint(Trainer trainer) {
      saved.add(trainer.checkpoint());
    }
  }

  @Test
  void aResumedRunShowsWhatAnUninterruptedOneDoes() throws IOException {
    Path whole = folder.resolve("whole");
    Path parts = folder.resolve("parts");
    try (Device device = Device.of("cpu", 2)) {
      try (Trainer trainer = run(whole).on(device)) {
        trainer.fit(TRAIN, TEST);
      }
      List<Checkpoint> saved = new ArrayList<>();
      // Killed behind its last checkpoint, at 3; stopped within an epoch of four updates; to its
      // end.
      try (Trainer trainer = run(parts).listener(new End(5, true, saved)).on(device)) {
        assertThrows(UncheckedIOException.class, () -> trainer.fit(TRAIN, TEST));
      }
      for (long end : new long[] {10, 0}) {
        try (Trainer trainer =
            run(parts)
                .listener(new End(end, false, saved))
                .checkpoint(saved.get(saved.size() - 1))
                .on(device)) {
          trainer.fit(TRAIN, TEST);
        }
      }
    }
    assertEquals(3, EventReader.files(parts).size());
    List<Point> expected = withoutTimes(shown(whole));
    assertEquals(16 * 3 + 4 * 10, expected.size());
    assertTrue(
        expected.stream().anyMatch(point -> point.tag().equals("epoch/validation_accuracy")));
    assertEquals(expected, withoutTimes(shown(parts)));
  }

  private static List<Point> withoutTimes(List<Point> points) {
    return points.stream().filter(p -> !p.tag().equals("epoch/images_per_second")).toList();
  }

  @Test
  void aFolderThatCannotBeWrittenToDoesNotEndTheRun() throws IOException {
    Path file = Files.writeString(folder.resolve("file"), "");
    try (Device device = Device.of("cpu", 1);
        Trainer trainer =
            Trainer.of(TinyData.withoutNorm())
                .batchSize(100)
                .epochs(1)
                .listener(new TensorBoard(file))
                .on(device)) {
      assertEquals(3, trainer.fit(TRAIN, TEST).updates());
    }
  }

  @Test
  void aRunThatBeginsAnewDropsAllOfItsFirstCourse() throws IOException {
    try (EventFile first = EventFile.create(folder, 0)) {
      first.scalars(1, List.of("x"), new double[] {1});
    }
    try (EventFile second = EventFile.create(folder, 0)) {
      second.scalars(1, List.of("x"), new double[] {1});
    }
    List<Long> starts = new ArrayList<>();
    for (Path file : EventReader.files(folder)) {
      for (Event event : EventReader.read(Files.readAllBytes(file), false)) {
        if (event.sessionStatus() == 1) {
          starts.add(event.step());
        }
      }
    }
    assertEquals(List.of(1L), starts);
  }

  @Test
  void namesHaveDigitsThatReadersKnow() throws IOException {
    Locale before = Locale.getDefault();
    Locale.setDefault(new Locale("ar", "EG"));
    try (EventFile file = EventFile.create(folder, 0)) {
      String name = file.path().getFileName().toString();
      assertTrue(name.matches("events\\.out\\.tfevents\\.[0-9]{10}\\..*"), name);
    } finally {
      Locale.setDefault(before);
    }
  }

  @Test
  void validationIsThere() throws IOException {
    try (Device device = Device.of("cpu", 1);
        Trainer trainer =
            Trainer.of(TinyData.withoutNorm())
                .batchSize(100)
                .epochs(1)
                .validation(0.1)
                .listener(new TensorBoard(folder))
                .on(device)) {
      EpochRow row = trainer.fit(TRAIN, TEST).last();
      List<Float> accuracies = new ArrayList<>();
      for (Event event :
          EventReader.read(Files.readAllBytes(EventReader.files(folder).get(0)), false)) {
        event.scalars().stream()
            .filter(scalar -> scalar.tag().equals("epoch/validation_accuracy"))
            .forEach(scalar -> accuracies.add(scalar.value()));
      }
      assertEquals(List.of((float) row.validationAccuracy()), accuracies);
    }
  }
}
