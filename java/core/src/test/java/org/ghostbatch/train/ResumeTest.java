package org.ghostbatch.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.UnaryOperator;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import java.util.logging.SimpleFormatter;
import java.util.stream.Stream;
import org.ghostbatch.data.Dataset;
import org.ghostbatch.device.Augmentation;
import org.ghostbatch.device.Device;
import org.ghostbatch.io.AtomicFiles;
import org.ghostbatch.io.Json;
import org.ghostbatch.io.JsonObject;
import org.ghostbatch.nn.Models;
import org.ghostbatch.optim.Adam;
import org.ghostbatch.optim.BatchRule;
import org.ghostbatch.optim.BatchSchedule;
import org.ghostbatch.optim.Lamb;
import org.ghostbatch.optim.Schedule;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** A run that was stopped, killed, or lost a checkpoint ends as one that went through. */
class ResumeTest {
  private static final Dataset TRAIN = TinyData.of(410, 1);
  private static final Dataset TEST = TinyData.of(100, 2);

  @TempDir Path temp;

  /** Kinds of runs, each with other state to bring over. */
  enum Kind {
    MOMENTUM(b -> b),
    ADAM(
        b ->
            b.optimizer(Adam.of())
                .learningRate(new Schedule.Cosine(0.01), BatchRule.none())
                .gradientNoise(0.2)
                .labelSmoothing(0.1)),
    LAMB(b -> b.optimizer(Lamb.of()).learningRate(0.01)),
    AUGMENTED(b -> b.augmentation(Augmentation.PAD_CROP_FLIP).warmupEpochs(1.5)),
    GROWING(b -> b.batchSize(BatchSchedule.parse("0:60,1:100"))),
    FOLLOWING_NOISE(b -> b.batchSize(BatchSchedule.noise(20)).ghostBatchSize(5).learningRate(0.01)),
    FOLLOWING_NOISE_ONCE(b -> b.batchSize(BatchSchedule.auto(32)).ghostBatchSize(8)),
    IN_UPDATES(b -> b.updates(11)),
    VALIDATED(b -> b.validation(0.2).keepBest(2)),
    MOVING_AVERAGE(b -> b.ema(0.9)),
    AVERAGED(b -> b.swaFrom(1)),
    SHARPNESS_AWARE(b -> b.sam(0.05).samGroup(64)),
    ADAPTIVE(b -> b.asam(0.5).augmentation(Augmentation.FLIP)),
    CONSERVATIVE(b -> b.proximal(0.1).optimizer(Adam.of()).learningRate(0.003)),
    ADVERSARIAL(b -> b.adversarial(0.05).augmentation(Augmentation.PAD_CROP_FLIP));

    private final UnaryOperator<Trainer.Builder> settings;

    Kind(UnaryOperator<Trainer.Builder> settings) {
      this.settings = settings;
    }

    Trainer.Builder builder() {
      return settings.apply(
          Trainer.of(TinyData.convolutional())
              .batchSize(100)
              .ghostBatchSize(32)
              .epochs(3)
              .clipGradientNorm(2)
              .checkpointEvery(CheckpointInterval.updates(3)));
    }
  }

  private static History run(Path folder, Trainer.Builder builder, Dataset train, int threads) {
    try (Device device = Device.of("cpu", threads);
        RunFolder run = RunFolder.create(folder);
        Trainer trainer = builder.listener(run).on(device)) {
      return trainer.fit(train, TEST);
    }
  }

  private static long resume(
      Path folder, Dataset train, int threads, UnaryOperator<TrainingSpec.Builder> longer) {
    try (Device device = Device.of("cpu", threads);
        RunFolder run = RunFolder.resume(folder)) {
      TrainingSpec spec = longer.apply(run.spec().toBuilder()).build();
      try (Trainer trainer =
          Trainer.of(TinyData.convolutional(), spec)
              .listener(run)
              .checkpoint(run.checkpoint())
              .on(device)) {
        trainer.prepare(train);
        long begun = trainer.updates();
        assertFalse(trainer.fit(train, TEST).stopped());
        return begun;
      }
    }
  }

  private static TrainingListener at(long update, TrainingListener then) {
    return new TrainingListener() {
      @Override
      public void onUpdate(Trainer trainer) {
        if (trainer.updates() == update) {
          then.onUpdate(trainer);
        }
      }
    };
  }

  private static TrainingListener stopAt(long update) {
    return at(
        update,
        new TrainingListener() {
          @Override
          public void onUpdate(Trainer trainer) {
            trainer.stop();
          }
        });
  }

  /** As a killed process: nothing more is written. */
  private static TrainingListener dieAt(long update) {
    return at(
        update,
        new TrainingListener() {
          @Override
          public void onUpdate(Trainer trainer) {
            throw new Killed();
          }
        });
  }

  private static final class Killed extends RuntimeException {
    private static final long serialVersionUID = 1;
  }

  private static void assertSame(Path expected, Path actual) throws IOException {
    assertArrayEquals(
        Files.readAllBytes(RunFolder.model(expected)), Files.readAllBytes(RunFolder.model(actual)));
    assertEquals(untimed(expected), untimed(actual));
    assertEquals(RunFolder.distances(expected), RunFolder.distances(actual));
    assertEquals(best(expected), best(actual));
  }

  /** The lines of metrics.csv without the columns images_per_second and seconds. */
  static List<String> untimed(Path folder) throws IOException {
    List<String> lines = new ArrayList<>();
    for (String line : Files.readAllLines(folder.resolve(RunFolder.METRICS))) {
      List<String> fields = new ArrayList<>(Arrays.asList(line.split(",", -1)));
      fields.subList(11, 13).clear();
      lines.add(String.join(",", fields));
    }
    return lines;
  }

  private static TreeMap<String, Integer> best(Path folder) throws IOException {
    TreeMap<String, Integer> best = new TreeMap<>();
    if (Files.isDirectory(folder.resolve(RunFolder.BEST))) {
      try (Stream<Path> files = Files.list(folder.resolve(RunFolder.BEST))) {
        for (Path file : files.toList()) {
          best.put(file.getFileName().toString(), Arrays.hashCode(Files.readAllBytes(file)));
        }
      }
    }
    return best;
  }

  @ParameterizedTest
  @EnumSource
  void aResumedRunHasTheBitsOfOneThatNeverStopped(Kind kind) throws IOException {
    Path whole = temp.resolve("whole");
    long updates = run(whole, kind.builder(), TRAIN, 2).updates();
    // In an epoch, at its last update, at the run's; stopped, and killed behind a checkpoint.
    for (long cut : new long[] {2, 5, 8, updates}) {
      Path stopped = temp.resolve("stopped-" + cut);
      run(stopped, kind.builder().listener(stopAt(cut)), TRAIN, 2);
      assertEquals(cut, resume(stopped, TRAIN, 1, spec -> spec), "resumed at");
      assertSame(whole, stopped);
      Path killed = temp.resolve("killed-" + cut);
      Trainer.Builder dying = kind.builder().listener(dieAt(cut));
      assertThrows(Killed.class, () -> run(killed, dying, TRAIN, 1));
      long begun = resume(killed, TRAIN, 2, spec -> spec);
      assertTrue(begun <= cut && begun > cut - 3 - 1, begun + " of " + cut);
      assertSame(whole, killed);
    }
  }

  @Test
  void streamedDataIsResumedWithinItsEpoch() throws IOException {
    Dataset streamed = TinyData.streamed(TRAIN);
    run(temp.resolve("whole"), Kind.AUGMENTED.builder(), streamed, 2);
    run(temp.resolve("cut"), Kind.AUGMENTED.builder().listener(stopAt(7)), streamed, 2);
    assertEquals(7, resume(temp.resolve("cut"), streamed, 2, spec -> spec));
    assertSame(temp.resolve("whole"), temp.resolve("cut"));
  }

  @Test
  void aRunThatIsDoneCanBeMadeLonger() throws IOException {
    run(temp.resolve("long"), Kind.MOMENTUM.builder().epochs(5), TRAIN, 2);
    run(temp.resolve("short"), Kind.MOMENTUM.builder().epochs(2), TRAIN, 2);
    assertEquals(10, resume(temp.resolve("short"), TRAIN, 2, spec -> spec.epochs(5)));
    assertSame(temp.resolve("long"), temp.resolve("short"));
    assertEquals(5, RunFolder.config(temp.resolve("short")).epochs());

    // An end within an epoch leaves a row for its part; the longer run has the whole epoch's.
    run(temp.resolve("long updates"), Kind.IN_UPDATES.builder().updates(14), TRAIN, 2);
    run(temp.resolve("short updates"), Kind.IN_UPDATES.builder().updates(7), TRAIN, 2);
    assertEquals(7, resume(temp.resolve("short updates"), TRAIN, 2, spec -> spec.updates(14)));
    assertSame(temp.resolve("long updates"), temp.resolve("short updates"));
    // Once more as it is: its last part is evaluated again.
    assertEquals(14, resume(temp.resolve("short updates"), TRAIN, 2, spec -> spec));
    assertSame(temp.resolve("long updates"), temp.resolve("short updates"));
  }

  @Test
  void theLastTwoCheckpointsAreKept() throws IOException {
    run(temp.resolve("run"), Kind.MOMENTUM.builder(), TRAIN, 2);
    List<Path> files = Checkpoint.files(temp.resolve("run/checkpoint"));
    assertEquals(List.of(15L, 12L), files.stream().map(f -> Checkpoint.read(f).updates()).toList());
    run(
        temp.resolve("none"),
        Kind.MOMENTUM.builder().checkpointEvery(CheckpointInterval.NONE),
        TRAIN,
        2);
    assertFalse(Files.exists(temp.resolve("none/checkpoint")));
  }

  @Test
  void aDamagedCheckpointFallsBackToTheOneBefore() throws IOException {
    Path whole = temp.resolve("whole");
    run(whole, Kind.MOMENTUM.builder(), TRAIN, 2);
    Path cut = temp.resolve("cut");
    run(cut, Kind.MOMENTUM.builder().listener(stopAt(8)), TRAIN, 2);
    List<Path> files = Checkpoint.files(cut.resolve("checkpoint"));
    long size = Files.size(files.get(0));
    byte[] good = Files.readAllBytes(files.get(0));
    for (int place = 0; place < 16; place++) {
      Files.write(files.get(0), Arrays.copyOf(good, (int) (size * place / 16)));
      try (RunFolder run = RunFolder.resume(cut)) {
        assertEquals(6, run.checkpoint().updates(), "truncated at " + place + "/16");
      }
      assertFalse(Files.exists(files.get(0)), "it is set aside");
    }
    for (int place = 0; place < 16; place++) {
      byte[] flipped = good.clone();
      flipped[(int) (size * place / 16)] ^= 4;
      Files.write(files.get(0), flipped);
      try (RunFolder run = RunFolder.resume(cut)) {
        assertEquals(6, run.checkpoint().updates(), "a bit flipped at " + place + "/16");
      }
    }
    assertEquals(6, resume(cut, TRAIN, 2, spec -> spec));
    assertSame(whole, cut);
    // Without any the run begins anew.
    for (Path file : Checkpoint.files(cut.resolve("checkpoint"))) {
      Files.write(file, new byte[10]);
    }
    assertEquals(0, resume(cut, TRAIN, 2, spec -> spec));
    assertSame(whole, cut);
  }

  /** What cannot be read, or not by this version, may be whole: it is kept, and said. */
  @Test
  void onlyDamagedCheckpointsAreSetAside() throws IOException {
    Path cut = temp.resolve("cut");
    run(cut, Kind.MOMENTUM.builder().listener(stopAt(8)), TRAIN, 2);
    Path newest = Checkpoint.files(cut.resolve("checkpoint")).get(0);
    byte[] good = Files.readAllBytes(newest);
    Files.delete(newest);
    Files.createDirectory(newest);
    var unreadable = assertThrows(UncheckedIOException.class, () -> RunFolder.resume(cut));
    assertTrue(unreadable.getMessage().contains(newest.toString()), unreadable.getMessage());
    Files.delete(newest);

    String text = new String(good, StandardCharsets.ISO_8859_1);
    String version = "\"ghostbatch_checkpoint\":\"1\"";
    assertTrue(text.contains(version));
    byte[] later =
        text.replace(version, version.replace('1', '2')).getBytes(StandardCharsets.ISO_8859_1);
    Path other =
        AtomicFiles.writeHashed(
            cut.resolve("checkpoint"),
            "update-000000008-",
            ".safetensors",
            out -> out.write(later));
    var unknown = assertThrows(IllegalArgumentException.class, () -> RunFolder.resume(cut));
    assertTrue(unknown.getMessage().contains("version 1"), unknown.getMessage());
    Files.delete(other);
    Files.write(newest, good);
    assertEquals(8, resume(cut, TRAIN, 2, spec -> spec));
  }

  @Test
  void theFirstWeightsAreNeededOnce() throws IOException {
    Path first = temp.resolve("first");
    run(first, Kind.MOMENTUM.builder().seed(2), TRAIN, 2);
    Path whole = temp.resolve("whole");
    run(whole, Kind.MOMENTUM.builder().initFrom(first), TRAIN, 2);
    Path cut = temp.resolve("cut");
    run(cut, Kind.MOMENTUM.builder().initFrom(first).listener(stopAt(4)), TRAIN, 2);
    Files.delete(RunFolder.model(first));
    assertEquals(4, resume(cut, TRAIN, 2, spec -> spec));
    assertSame(whole, cut);
  }

  @Test
  void otherKernelsAreSaid() {
    try (Device device = Device.of("cpu", 1)) {
      Checkpoint[] taken = new Checkpoint[1];
      try (Trainer trainer = Kind.MOMENTUM.builder().on(device)) {
        trainer.prepare(TRAIN);
        taken[0] = trainer.checkpoint();
      }
      assertEquals(List.of(), warnings(() -> goOn(device, taken[0])));
      Map<String, String> identity = new LinkedHashMap<>(taken[0].identity());
      identity.put("kernels", "those of another processor");
      Checkpoint moved =
          new Checkpoint(taken[0].spec(), taken[0].state(), identity, Map.of(), taken[0].tensors());
      List<String> warnings = warnings(() -> goOn(device, moved));
      assertEquals(1, warnings.size(), warnings.toString());
      assertTrue(warnings.get(0).contains("other kernels"), warnings.get(0));
    }
  }

  private static void goOn(Device device, Checkpoint checkpoint) {
    try (Trainer trainer = Kind.MOMENTUM.builder().checkpoint(checkpoint).on(device)) {
      trainer.prepare(TRAIN);
    }
  }

  /** What is logged meanwhile. */
  static List<String> warnings(Runnable work) {
    List<String> messages = new ArrayList<>();
    Handler handler =
        new Handler() {
          @Override
          public void publish(LogRecord record) {
            messages.add(new SimpleFormatter().formatMessage(record));
          }

          @Override
          public void flush() {}

          @Override
          public void close() {}
        };
    Logger logger = Logger.getLogger("org.ghostbatch");
    logger.addHandler(handler);
    try {
      work.run();
    } finally {
      logger.removeHandler(handler);
    }
    return messages;
  }

  @Test
  void anAverageThatNeverBeganIsSaid() {
    try (Device device = Device.of("cpu", 1);
        Trainer trainer =
            Trainer.of(Models.softmax(TRAIN.classes()))
                .batchSize(100)
                .epochs(8)
                .learningRate(0)
                .validation(0.2)
                .earlyStop(1)
                .swaFrom(5)
                .on(device)) {
      List<String> warnings = warnings(() -> trainer.fit(TRAIN, TEST));
      assertEquals(1, warnings.size(), warnings.toString());
      assertTrue(warnings.get(0).contains("behind the first 5"), warnings.get(0));
    }
  }

  /** A stopped run ends soon: without figures of the whole training set. */
  @Test
  void aRunThatIsStoppedIsNotEvaluated() throws IOException {
    for (long cut : new long[] {4, 5}) {
      Path folder = temp.resolve("at" + cut);
      History stopped = run(folder, Kind.MOMENTUM.builder().listener(stopAt(cut)), TRAIN, 2);
      assertTrue(stopped.stopped());
      assertNull(stopped.train());
      assertNull(stopped.test());
      assertTrue(Double.isNaN(stopped.last().testAccuracy()));
      assertEquals(cut, resume(folder, TRAIN, 2, spec -> spec));
      // Once more, where nothing is left to train: the speed is still that of the run.
      resume(folder, TRAIN, 2, spec -> spec);
      JsonObject summary = Json.readObject(RunFolder.summaryFile(folder));
      assertTrue(summary.getDouble("images_per_second") > 0);
    }
  }

  @Test
  void anotherRunIsRefused() {
    Path cut = temp.resolve("cut");
    run(cut, Kind.MOMENTUM.builder().listener(stopAt(4)), TRAIN, 2);
    refused("data that the run began with", cut, TinyData.of(410, 3), spec -> spec);
    refused("seed 1 of the run that began, got 2", cut, TRAIN, spec -> spec.seed(2));
    refused("an end not before that of the run", cut, TRAIN, spec -> spec.epochs(2));
    assertEquals(4, resume(cut, TRAIN, 2, spec -> spec.threads(2)));
    Path cosine = temp.resolve("cosine");
    run(cosine, Kind.ADAM.builder().listener(stopAt(4)), TRAIN, 2);
    refused("follows the length", cosine, TRAIN, spec -> spec.epochs(5));
    var none =
        assertThrows(
            IllegalArgumentException.class, () -> RunFolder.resume(temp.resolve("nothing")));
    assertTrue(none.getMessage().contains("no folder"), none.getMessage());
  }

  private void refused(
      String text, Path folder, Dataset data, UnaryOperator<TrainingSpec.Builder> change) {
    var e =
        assertThrows(IllegalArgumentException.class, () -> resume(folder, data, 2, change), text);
    assertTrue(e.getMessage().contains(text), e.getMessage());
  }

  @Test
  void listenersGoOnToo() {
    class Counter implements TrainingListener {
      int count;

      @Override
      public void onUpdate(Trainer trainer) {
        count++;
      }

      @Override
      public String state() {
        return Integer.toString(count);
      }

      @Override
      public void restore(String state) {
        count = Integer.parseInt(state);
      }
    }

    try (Device device = Device.of("cpu", 1)) {
      Checkpoint[] taken = new Checkpoint[1];
      try (Trainer first =
          Kind.MOMENTUM
              .builder()
              .listener(new Counter())
              .listener(
                  at(
                      4,
                      new TrainingListener() {
                        @Override
                        public void onUpdate(Trainer trainer) {
                          taken[0] = trainer.checkpoint();
                        }
                      }))
              .on(device)) {
        first.fit(TRAIN, null);
        assertThrows(IllegalStateException.class, first::checkpoint);
      }
      Counter counter = new Counter();
      Counter other = new Counter();
      try (Trainer second =
          Kind.MOMENTUM
              .builder()
              .listener(new TrainingListener() {}) // states are matched by class, not by place
              .listener(counter)
              .listener(other)
              .checkpoint(taken[0])
              .on(device)) {
        second.prepare(TRAIN);
        assertEquals(0, other.count, "the first run had one of this class");
        assertEquals(4, counter.count);
        second.fit(TRAIN, null);
        assertEquals(15, counter.count);
      }
    }
  }

  @Test
  void earlyStopEndsWithoutABetterValidation() {
    // Labels by chance: nothing to learn, so some epoch is the best one soon.
    int[] labels = new int[410];
    Arrays.setAll(labels, i -> i * 7919 % 401 % 4);
    byte[][] images = TinyData.images(410, 5);
    byte[] all = new byte[410 * 64];
    for (int i = 0; i < 410; i++) {
      System.arraycopy(images[(i * 31 + 7) % 410], 0, all, i * 64, 64);
    }
    Dataset noise = Dataset.of(all, TinyData.SHAPE, labels);
    try (Device device = Device.of("cpu", 2);
        Trainer trainer =
            Trainer.of(TinyData.convolutional())
                .batchSize(100)
                .validation(0.25)
                .earlyStop(3)
                .epochs(1000)
                .on(device)) {
      History history = trainer.fit(noise, null);
      assertFalse(history.stopped());
      List<EpochRow> rows = history.epochs();
      assertTrue(rows.size() < 200, "it ended after " + rows.size());
      assertTrue(rows.size() > 3);
      EpochRow best = rows.get(rows.size() - 4);
      for (EpochRow row : rows) {
        assertTrue(
            row.validationAccuracy() < best.validationAccuracy()
                || row.validationAccuracy() == best.validationAccuracy()
                    && row.validationLoss() >= best.validationLoss(),
            row + " against the best, " + best);
      }
      assertEquals(307, history.train().samples(), "103 were set aside");
    }
  }

  @Test
  void theBestNetworksAreKept() throws IOException {
    Path folder = temp.resolve("run");
    History history = run(folder, Kind.VALIDATED.builder().epochs(6), TRAIN, 2);
    List<Integer> best =
        history.epochs().stream()
            .sorted(
                (a, b) ->
                    a.validationAccuracy() != b.validationAccuracy()
                        ? Double.compare(b.validationAccuracy(), a.validationAccuracy())
                        : Double.compare(a.validationLoss(), b.validationLoss()))
            .limit(2)
            .map(EpochRow::epoch)
            .toList();
    assertEquals(
        List.of("epoch-" + best.get(0) + ".safetensors", "epoch-" + best.get(1) + ".safetensors")
            .stream()
            .sorted()
            .toList(),
        List.copyOf(best(folder).keySet()));
    assertEquals(
        best,
        Json.parseObject(Files.readString(folder.resolve("summary.json")))
            .getList("best_epochs")
            .stream()
            .map(epoch -> ((Number) epoch).intValue())
            .toList());
    // The network of an epoch is that epoch's: it evaluates as its row says.
    Dataset held = TRAIN.split(0.2, 1).validation();
    try (Device device = Device.of("cpu", 2);
        Predictor predictor =
            Predictor.load(folder.resolve("best/epoch-" + best.get(0) + ".safetensors"), device)) {
      EpochRow row = history.epochs().get(best.get(0) - 1);
      assertEquals(row.validationAccuracy(), predictor.evaluate(held).accuracy(), 1e-9);
    }
    String[] header = Files.readAllLines(folder.resolve("metrics.csv")).get(0).split(",");
    assertEquals("validation_accuracy", header[header.length - 1]);
  }

  @Test
  void numbersThatAreNotFiniteStopTheRun() throws IOException {
    Path folder = temp.resolve("run");
    Trainer.Builder builder =
        Trainer.of(TinyData.convolutional())
            .batchSize(100)
            .ghostBatchSize(32)
            .epochs(3)
            .learningRate(Schedule.parse("0:0.1,1:1e38"), BatchRule.none());
    var e = assertThrows(DivergedException.class, () -> run(folder, builder, TRAIN, 2));
    assertTrue(e.update() > 5 && e.update() <= 15, e.getMessage());
    assertTrue(
        e.getMessage().matches("(?s).*at update " + e.update() + ": .* not finite; .*"),
        e.getMessage());
    assertFalse(Files.exists(RunFolder.model(folder)));
    List<Path> checkpoints = Checkpoint.files(folder.resolve("checkpoint"));
    Checkpoint last = Checkpoint.read(checkpoints.get(checkpoints.size() - 1));
    assertEquals(5, last.updates());

    // What is wrong is named: here one weight of the first convolution.
    try (Device device = Device.of("cpu", 2);
        Trainer trainer = Kind.MOMENTUM.builder().listener(poison()).on(device)) {
      var poisoned = assertThrows(DivergedException.class, () -> trainer.fit(TRAIN, null));
      assertEquals(4, poisoned.update());
      assertTrue(
          poisoned.getMessage().contains("weights 7.weight are not finite"), poisoned.getMessage());
      assertEquals(3, trainer.updates());
    }
  }

  private static TrainingListener poison() {
    return at(
        3,
        new TrainingListener() {
          @Override
          public void onUpdate(Trainer trainer) {
            long at =
                trainer.network().parameters().stream()
                    .filter(parameter -> parameter.name().equals("7.weight"))
                    .findFirst()
                    .orElseThrow()
                    .offset();
            trainer.engine().parameters().copyFrom(at + 5, new float[] {Float.NaN});
            trainer.engine().parametersChanged();
          }
        });
  }
}
