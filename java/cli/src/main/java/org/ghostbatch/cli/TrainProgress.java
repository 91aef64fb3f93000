package org.ghostbatch.cli;

import java.util.Locale;
import org.ghostbatch.train.EpochRow;
import org.ghostbatch.train.Trainer;
import org.ghostbatch.train.TrainingListener;

/**
 * How a training goes: a bar that moves on a terminal, and a line an epoch where those are wanted.
 */
final class TrainProgress implements TrainingListener {
  private static final int BAR = 24;
  private static final long NANOS_BETWEEN = 100_000_000;

  private final Terminal terminal;
  private final String label;
  private final boolean epochLines;
  private long begin;
  private long updatesBefore; // of the run's parts that went before
  private long samplesBefore;
  private long shown;
  private long total;
  private int epochs;

  /**
   * @param label in front of the bar
   * @param epochLines whether each epoch leaves a line
   */
  TrainProgress(Terminal terminal, String label, boolean epochLines) {
    this.terminal = terminal;
    this.label = label;
    this.epochLines = epochLines;
  }

  @Override
  public void onStart(Trainer trainer) {
    begin = System.nanoTime();
    updatesBefore = trainer.updates();
    samplesBefore = trainer.samples();
    epochs = (int) Math.ceil(trainer.epochs());
    total = trainer.spec().updates();
    for (int epoch = 0; trainer.spec().updates() == 0 && epoch < epochs; epoch++) {
      total += trainer.updatesOf(epoch);
    }
  }

  @Override
  public void onUpdate(Trainer trainer) {
    if (!terminal.overwrites()) {
      return;
    }
    long now = System.nanoTime();
    if (now - shown < NANOS_BETWEEN && trainer.updates() < total) {
      return;
    }
    shown = now;
    terminal.status(
        label
            + bar(
                trainer.updates(),
                total,
                trainer.updates() - updatesBefore,
                trainer.samples() - samplesBefore,
                (now - begin) / 1e9,
                trainer.lastLoss()));
  }

  /**
   * The bar's text.
   *
   * @param here updates that this part of the run has made, in so many seconds
   * @param samples likewise
   */
  static String bar(
      long updates, long total, long here, long samples, double seconds, double loss) {
    double done = (double) updates / total;
    int filled = (int) (BAR * done);
    return String.format(
        Locale.ROOT,
        "[%s%s] %3.0f %%  update %d/%d  loss %.4f  %,.0f images/s  %s left",
        "#".repeat(filled),
        ".".repeat(BAR - filled),
        100 * done,
        updates,
        total,
        loss,
        samples / seconds,
        Figures.duration(seconds / here * (total - updates)));
  }

  @Override
  public void onEpochEnd(Trainer trainer, EpochRow row) {
    if (epochLines) {
      terminal.line(
          String.format(
              Locale.ROOT,
              "%sepoch %d/%d: train loss %.4f, accuracy %s; test loss %.4f, accuracy %s; %,.0f images/s; %s",
              label,
              row.epoch(),
              epochs,
              row.trainLoss(),
              Figures.percent(row.trainAccuracy()),
              row.testLoss(),
              Figures.percent(row.testAccuracy()),
              row.imagesPerSecond(),
              Figures.duration(row.seconds())));
    }
  }
}
