package org.ghostbatch.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.LongSupplier;
import java.util.stream.Collectors;
import org.ghostbatch.train.EpochRow;
import org.ghostbatch.train.MeasureRow;
import org.ghostbatch.train.Trainer;
import org.ghostbatch.train.TrainingListener;

/**
 * How a training goes: a bar that moves on a terminal; and where those are wanted a line an epoch,
 * and off a terminal one a minute within long epochs.
 */
final class TrainProgress implements TrainingListener {
  private static final long NANOS_BETWEEN = 100_000_000;
  private static final long NANOS_BETWEEN_LINES = 60_000_000_000L;
  private static final int[] BARS = {24, 16, 10};

  /** Images/s are of so many spans of so long: the last five seconds, or the last update. */
  private static final int SPANS = 20;

  private static final long NANOS_OF_SPAN = 250_000_000;

  private final Terminal terminal;
  private final String label;
  private final boolean lines;
  private final LongSupplier clock;

  // Of the run.
  private long begin;
  private long total; // updates
  private double epochs;
  private double doneBefore; // part of the run that an earlier process did
  private int epoch;
  private int inEpoch; // updates of it

  // Of what is shown.
  private long shown;
  private long lastLine;

  // Training time and samples, a ring of what they were at the ends of spans.
  private final long[] times = new long[SPANS];
  private final long[] samples = new long[SPANS];
  private int spans;
  private long time;
  private long last; // when the update, or what lies between two of them, began

  /**
   * @param label in front of the bar
   * @param lines whether lines stay
   */
  TrainProgress(Terminal terminal, String label, boolean lines) {
    this(terminal, label, lines, System::nanoTime);
  }

  TrainProgress(Terminal terminal, String label, boolean lines, LongSupplier clock) {
    this.terminal = terminal;
    this.label = label;
    this.lines = lines;
    this.clock = clock;
  }

  @Override
  public void onStart(Trainer trainer) {
    begin = clock.getAsLong();
    last = begin;
    lastLine = begin;
    shown = begin - NANOS_BETWEEN;
    total = trainer.totalUpdates();
    epochs = trainer.epochs();
    long left = trainer.updates();
    for (epoch = 0; left >= trainer.updatesOf(epoch); epoch++) {
      left -= trainer.updatesOf(epoch);
    }
    inEpoch = (int) left;
    doneBefore = done(trainer);
    keepSpan(trainer);
  }

  @Override
  public void onUpdate(Trainer trainer) {
    if (inEpoch == 0) {
      total = trainer.totalUpdates(); // as far as is known: an epoch's batch may have been chosen
    }
    if (++inEpoch == trainer.updatesOf(epoch)) {
      epoch++;
      inEpoch = 0;
    }
    long now = clock.getAsLong();
    time += now - last;
    last = now;
    if (time - times[(spans - 1) % SPANS] >= NANOS_OF_SPAN) {
      keepSpan(trainer);
    }
    if (terminal.overwrites()) {
      if (now - shown >= NANOS_BETWEEN || trainer.updates() == total) {
        shown = now;
        terminal.status(layouts(trainer, now, List.of()));
      }
    } else if (lines && now - lastLine >= NANOS_BETWEEN_LINES) {
      lastLine = now;
      terminal.line(label + String.join(", ", figures(trainer, now)));
    }
  }

  @Override
  public void onEvaluation(Trainer trainer, int done, int of) {
    long now = clock.getAsLong();
    last = now; // evaluation is no training time
    if (terminal.overwrites() && now - shown >= NANOS_BETWEEN) {
      shown = now;
      String count = String.format(Locale.ROOT, "%,d", of);
      String text =
          String.format(Locale.ROOT, "  evaluating %," + count.length() + "d/%s", done, count);
      // Of the end nothing is known.
      String left = done(trainer) < 1 ? "  " + padded(left(trainer, now)) : "";
      terminal.status(layouts(trainer, now, List.of(text + left, text)));
    }
  }

  @Override
  public void onMeasuring(Trainer trainer, String measure, String what, long done, long of) {
    long now = clock.getAsLong();
    last = now; // nor is measuring
    if (terminal.overwrites() && now - shown >= NANOS_BETWEEN) {
      shown = now;
      String text = "  measuring " + measure;
      String all = String.format(Locale.ROOT, "%s, %s %d of %d", text, what, done + 1, of);
      terminal.status(layouts(trainer, now, List.of(all, text)));
    }
  }

  @Override
  public void onMeasure(Trainer trainer, List<MeasureRow> rows) {
    last = clock.getAsLong();
    lastLine = last;
    if (lines) {
      String figures =
          rows.stream()
              .map(row -> row.name() + " " + Figures.number(row.value()))
              .collect(Collectors.joining(", "));
      terminal.line(
          String.format(
              Locale.ROOT,
              "%sepoch %d/%.0f: %s",
              label,
              rows.get(0).epoch(),
              Math.ceil(epochs),
              figures));
    }
  }

  /**
   * The bar with all figures, then with fewer and fewer. Lengths do not change with the figures, so
   * that the layout stays.
   *
   * @param instead what stands in place of the figures, the first that has room; none for the
   *     figures
   */
  private List<String> layouts(Trainer trainer, long now, List<String> instead) {
    List<String> figures = figures(trainer, now);
    String update = "  " + figures.get(0);
    String count = "  " + figures.get(0).substring("update ".length());
    String loss = "  " + figures.get(1);
    String rate = "  " + String.format("%15s", figures.get(2));
    String left = "  " + padded(figures.get(3));
    List<String> texts = new ArrayList<>();
    for (int width : BARS) {
      add(texts, bar(trainer, width), update + loss + rate + left, instead);
    }
    add(texts, bar(trainer, 10), count + loss + rate + left, instead);
    add(texts, bar(trainer, 10), loss + rate + left, instead);
    add(texts, label + percent(trainer), loss + rate + left, instead);
    add(texts, percent(trainer), loss + rate + left, instead);
    add(texts, percent(trainer), loss + left, instead);
    add(texts, percent(trainer), loss, instead);
    texts.add(percent(trainer));
    return texts;
  }

  private static void add(List<String> texts, String front, String figures, List<String> instead) {
    if (instead.isEmpty()) {
      texts.add(front + figures);
    }
    for (String text : instead) { // no shorter, so that the bar has the same length
      texts.add(front + String.format("%-" + figures.length() + "s", text));
    }
  }

  /** As long as the longest: 59 min 59 s left. */
  private static String padded(String left) {
    return String.format("%-16s", left);
  }

  /** Update, loss, images a second, time left. */
  private List<String> figures(Trainer trainer, long now) {
    String updates = Long.toString(total);
    return List.of(
        String.format(
            Locale.ROOT, "update %" + updates.length() + "d/%s", trainer.updates(), updates),
        String.format(Locale.ROOT, "loss %.4f", trainer.lastLoss()),
        String.format(Locale.ROOT, "%,.0f images/s", imagesPerSecond(trainer)),
        left(trainer, now));
  }

  private String bar(Trainer trainer, int width) {
    int filled = (int) (width * done(trainer));
    return label + "[" + "#".repeat(filled) + ".".repeat(width - filled) + "] " + percent(trainer);
  }

  private String percent(Trainer trainer) {
    return String.format(Locale.ROOT, "%3.0f %%", Math.floor(100 * done(trainer)));
  }

  /** As all that this process did, evaluations included, took for its part. */
  private String left(Trainer trainer, long now) {
    double done = done(trainer) - doneBefore;
    double seconds = (now - begin) / 1e9;
    return Figures.duration(done > 0 ? seconds / done * (1 - done(trainer)) : Double.NaN) + " left";
  }

  /** Part of the run that is done, in 0..1: by epochs, as updates may grow on the way. */
  private double done(Trainer trainer) {
    double part = inEpoch == 0 ? 0 : (double) inEpoch / trainer.updatesOf(epoch);
    return Math.min(1, (epoch + part) / epochs);
  }

  private void keepSpan(Trainer trainer) {
    times[spans % SPANS] = time;
    samples[spans % SPANS] = trainer.samples();
    spans++;
  }

  private double imagesPerSecond(Trainer trainer) {
    int oldest = spans < SPANS ? 0 : spans % SPANS;
    return (trainer.samples() - samples[oldest]) / Math.max(1e-9, (time - times[oldest]) / 1e9);
  }

  @Override
  public void onEpochEnd(Trainer trainer, EpochRow row) {
    last = clock.getAsLong();
    lastLine = last;
    if (lines) {
      terminal.line(
          String.format(
              Locale.ROOT,
              "%sepoch %d/%.0f%s: train loss %.4f, accuracy %s%s%s; %,.0f images/s; %s so far",
              label,
              row.epoch(),
              Math.ceil(epochs),
              inEpoch == 0 ? "" : ", " + inEpoch + " of " + trainer.updatesOf(epoch) + " updates",
              row.trainLoss(),
              Figures.percent(row.trainAccuracy()),
              evaluated("validation", row.validationLoss(), row.validationAccuracy()),
              evaluated("test", row.testLoss(), row.testAccuracy()),
              row.imagesPerSecond(),
              Figures.duration(row.seconds())));
    }
  }

  private static String evaluated(String part, double loss, double accuracy) {
    return Double.isNaN(accuracy)
        ? ""
        : String.format(
            Locale.ROOT, "; %s loss %.4f, accuracy %s", part, loss, Figures.percent(accuracy));
  }
}
