package org.ghostbatch.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.data.Strokes;
import org.ghostbatch.device.Device;
import org.ghostbatch.nn.Models;
import org.ghostbatch.train.Checkpoint;
import org.ghostbatch.train.CheckpointInterval;
import org.ghostbatch.train.Measure;
import org.ghostbatch.train.Trainer;
import org.ghostbatch.train.TrainingListener;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a person sees while a network trains, by a clock of its own. */
class TrainProgressTest {
  private static final Dataset TRAIN = Strokes.train().take(400);
  private static final long SECOND = 1_000_000_000;

  private long now = 17; // of the clock

  /**
   * Lets time go by: for each update as many seconds as {@code seconds} says, for evaluations too.
   */
  private final class Time implements TrainingListener {
    private final double[] seconds;
    private final double evaluation;
    private Checkpoint checkpoint;

    Time(double evaluation, double... seconds) {
      this.evaluation = evaluation;
      this.seconds = seconds;
    }

    @Override
    public void onUpdate(Trainer trainer) {
      int update = (int) trainer.updates() - 1;
      now += (long) (SECOND * seconds[Math.min(update * seconds.length / 20, seconds.length - 1)]);
    }

    @Override
    public void onEvaluation(Trainer trainer, int done, int of) {
      now += (long) (SECOND * evaluation);
    }

    @Override
    public void onCheckpoint(Trainer trainer) {
      if (trainer.updates() == 10) {
        checkpoint = trainer.checkpoint();
      }
    }
  }

  private Trainer trainer(Device device, TrainingListener... listeners) {
    return trainer(device, null, listeners);
  }

  private Trainer trainer(Device device, Checkpoint checkpoint, TrainingListener... listeners) {
    Trainer.Builder builder =
        Trainer.of(Models.softmax(10))
            .batchSize(40)
            .epochs(2)
            .learningRate(0.01)
            .checkpointEvery(CheckpointInterval.epochs(1))
            .checkpoint(checkpoint);
    for (TrainingListener listener : listeners) {
      builder.listener(listener);
    }
    return builder.on(device);
  }

  private Screen train(int columns, String label, Time time) {
    Screen screen = new Screen(columns);
    Terminal terminal = Terminal.overwriting(screen.stream(), columns);
    try (Device device = Device.of("cpu", 1);
        Trainer trainer =
            trainer(device, time, new TrainProgress(terminal, label, true, () -> now))) {
      trainer.fit(TRAIN, TRAIN.take(100));
    }
    terminal.clear();
    return screen;
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 7, 20, 30, 40, 50, 60, 79, 80, 81, 100, 132, 300})
  void theBarNeverWraps(int columns) {
    Screen quiet = new Screen(columns);
    Terminal terminal = Terminal.overwriting(quiet.stream(), columns);
    try (Device device = Device.of("cpu", 1);
        Trainer trainer =
            trainer(
                device,
                new Time(0.3, 0.5),
                new TrainProgress(terminal, "[1/30] an arm ", false, () -> now))) {
      trainer.fit(TRAIN, TRAIN.take(100));
    }
    assertEquals(0, quiet.wrapped());
    assertEquals(1, quiet.lines().size());
    assertTrue(quiet.seen().size() > 20);
    quiet.seen().forEach(line -> assertTrue(line.length() < Math.max(2, columns), line));
    terminal.clear();
    assertEquals(List.of(""), quiet.lines());
  }

  @Test
  void tellsAllThereIsRoomFor() {
    String wide = train(100, "", new Time(0, 0.5)).seen().get(10);
    assertEquals(
        "[#############...........]  55 %  update 11/20  loss #      80 images/s  4.5 s left",
        wide.replaceFirst("loss [0-9.]+", "loss #"));
    String usual = train(80, "", new Time(0, 0.5)).seen().get(10);
    assertEquals(
        "[#####.....]  55 %  11/20  loss #      80 images/s  4.5 s left",
        usual.replaceFirst("loss [0-9.]+", "loss #"));
    String narrow = train(60, "", new Time(0, 0.5)).seen().get(10);
    assertEquals(
        " 55 %  loss #      80 images/s  4.5 s left",
        narrow.replaceFirst("loss [0-9.]+", "loss #"));
    String tiny = train(20, "", new Time(0, 0.5)).seen().get(10);
    assertEquals(" 55 %  loss #", tiny.replaceFirst("loss [0-9.]+", "loss #"));
  }

  @ParameterizedTest
  @ValueSource(ints = {40, 60, 80, 100, 120})
  void theLayoutStaysWhateverTheFigures(int columns) {
    // From seconds to hours left, from 80 images/s to 0 and to 40,000, with evaluations between.
    Screen screen = train(columns, "", new Time(0.2, 0.5, 9000, 0.001));
    List<Integer> bars = screen.seen().stream().map(s -> s.indexOf('%')).distinct().toList();
    assertEquals(1, bars.size(), () -> String.join("\n", screen.seen()));
    List<Integer> losses =
        screen.seen().stream().filter(s -> s.contains("loss")).map(s -> s.indexOf("loss")).toList();
    assertEquals(1, losses.stream().distinct().count(), () -> String.join("\n", screen.seen()));
    assertTrue(columns < 60 || screen.seen().stream().anyMatch(s -> s.contains("h ")));
    assertTrue(screen.seen().stream().anyMatch(s -> s.contains("evaluating")));
  }

  @Test
  void aPartOfAnEpochSaysSo() {
    Screen screen = new Screen(120);
    Terminal terminal = Terminal.overwriting(screen.stream(), 120);
    try (Device device = Device.of("cpu", 1);
        Trainer trainer =
            Trainer.of(Models.softmax(10))
                .batchSize(40)
                .updates(13)
                .learningRate(0.01)
                .listener(new TrainProgress(terminal, "", true, () -> now))
                .on(device)) {
      trainer.fit(TRAIN, null);
    }
    assertTrue(screen.lines().get(0).startsWith("epoch 1/2: "), screen.lines().get(0));
    assertTrue(
        screen.lines().get(1).startsWith("epoch 2/2, 3 of 10 updates: "), screen.lines().get(1));
  }

  @Test
  void imagesPerSecondAreThoseOfTheLastSeconds() {
    // Ten updates of 10 s, then ten of 2 s.
    List<String> seen = train(120, "", new Time(0, 10, 2)).seen();
    assertEquals(4, rate(seen.get(9)), 0.01);
    String last = seen.stream().filter(s -> s.contains("update 20/20")).findFirst().orElseThrow();
    assertTrue(rate(last) > 4, last);
    // Many short ones: only the last five seconds count.
    List<String> fast = train(120, "", new Time(0, 10, 0.3, 0.3, 0.3)).seen();
    String end = fast.stream().filter(s -> s.contains("update 20/20")).findFirst().orElseThrow();
    assertTrue(rate(end) < 40 / 0.3 + 1, end);
  }

  @Test
  void oldTimesAreForgotten() {
    Screen screen = new Screen(120);
    Terminal terminal = Terminal.overwriting(screen.stream(), 120);
    // A slow start, then 40 updates of 0.25 s: ten seconds.
    TrainingListener time =
        new TrainingListener() {
          @Override
          public void onUpdate(Trainer trainer) {
            now += trainer.updates() <= 2 ? 100 * SECOND : SECOND / 4;
          }
        };
    try (Device device = Device.of("cpu", 1);
        Trainer trainer =
            Trainer.of(Models.softmax(10))
                .batchSize(40)
                .updates(42)
                .learningRate(0.01)
                .listener(time)
                .listener(new TrainProgress(terminal, "", false, () -> now))
                .on(device)) {
      trainer.fit(TRAIN, null);
    }
    String last =
        screen.seen().stream().filter(s -> s.contains("update 42/42")).findFirst().orElseThrow();
    assertEquals(160, rate(last), 0.5);
  }

  private static double rate(String line) {
    Matcher matcher = Pattern.compile("([0-9,.]+) images/s").matcher(line);
    assertTrue(matcher.find(), line);
    return Double.parseDouble(matcher.group(1).replace(",", ""));
  }

  @Test
  void evaluationIsShownAndIsNoTrainingTime() {
    Screen screen = train(120, "", new Time(50, 1));
    assertTrue(
        screen.seen().stream().anyMatch(s -> s.matches(".*] +50 % +evaluating +0/100 .*left")),
        () -> String.join("\n", screen.seen()));
    assertTrue(screen.seen().stream().anyMatch(s -> s.endsWith("100 %  evaluating 400/400")));
    String last =
        screen.seen().stream().filter(s -> s.contains("update 20/20")).findFirst().orElseThrow();
    assertEquals(40, rate(last), 0.01);
    assertEquals(3, screen.lines().size(), "two epochs, and the empty line");
    assertTrue(screen.lines().get(1).startsWith("epoch 2/2: train loss "), screen.lines().get(1));
  }

  @Test
  void measuringIsShownAndIsNoTrainingTime() {
    Measure slow =
        (trainer, progress) -> {
          for (int i = 0; i < 3; i++) {
            now += 50 * SECOND;
            progress.at("step", i, 3);
          }
          return Map.of("a", 12.3456, "b", Double.NaN);
        };
    Measure failing =
        (trainer, progress) -> {
          now += 50 * SECOND;
          progress.at("step", 0, 1);
          throw new IllegalStateException("as it should here");
        };
    Screen screen = new Screen(120);
    Terminal terminal = Terminal.overwriting(screen.stream(), 120);
    try (Device device = Device.of("cpu", 1);
        Trainer trainer =
            Trainer.of(Models.softmax(10))
                .batchSize(40)
                .epochs(2)
                .learningRate(0.01)
                .measure("slow", 1, slow)
                .measure("failing", 1, failing)
                .listener(new Time(0, 1))
                .listener(new TrainProgress(terminal, "", true, () -> now))
                .on(device)) {
      trainer.fit(TRAIN, null);
    }
    assertTrue(
        screen.seen().stream().anyMatch(s -> s.matches(".*] +50 % +measuring slow, step 2 of 3 *")),
        () -> String.join("\n", screen.seen()));
    String last =
        screen.seen().stream().filter(s -> s.contains("update 20/20")).findFirst().orElseThrow();
    assertEquals(40, rate(last), 0.01);
    assertEquals("epoch 1/2: slow_a 12.35, slow_b NaN", screen.lines().get(1));
  }

  @Test
  void aResumedRunStartsWhereItIs() {
    Time first = new Time(0, 1);
    Screen screen = new Screen(120);
    Terminal terminal = Terminal.overwriting(screen.stream(), 120);
    try (Device device = Device.of("cpu", 1)) {
      try (Trainer trainer = trainer(device, first)) {
        trainer.fit(TRAIN, null);
      }
      try (Trainer trainer =
          trainer(
              device,
              first.checkpoint,
              new Time(0, 1),
              new TrainProgress(terminal, "", false, () -> now))) {
        trainer.fit(TRAIN, null);
      }
    }
    String line = screen.seen().get(0);
    assertTrue(line.contains(" 55 %  update 11/20"), line);
    assertTrue(line.endsWith("40 images/s  9.0 s left"), line);
  }

  @Test
  void elsewhereThereAreLinesAndNothingElse() {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    Terminal terminal = Terminal.plain(new PrintStream(bytes, true, StandardCharsets.UTF_8));
    try (Device device = Device.of("cpu", 1);
        Trainer trainer =
            trainer(device, new Time(0, 25), new TrainProgress(terminal, "", true, () -> now))) {
      trainer.fit(TRAIN, TRAIN.take(100));
    }
    String out = bytes.toString(StandardCharsets.UTF_8);
    assertFalse(out.contains("\r") || out.contains("\u001b"), out);
    List<String> lines = out.lines().toList();
    // An epoch takes 250 s: after 75, 150, 225 s, and at its end.
    assertEquals(8, lines.size(), out);
    assertTrue(
        lines.get(0).matches("update  3/20, loss [0-9.]+, 2 images/s, 7 min 05 s left"), out);
    assertTrue(lines.get(3).startsWith("epoch 1/2: "), out);
    assertTrue(lines.get(7).startsWith("epoch 2/2: "), out);
  }
}
