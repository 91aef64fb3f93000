package org.ghostbatch.train;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.System.Logger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.ghostbatch.io.EventFile;

/**
 * Writes a run as TensorBoard reads it: {@code events.out.tfevents.*} in a folder, over updates as
 * steps. {@code epoch/...} are the columns of {@code metrics.csv}, of whole epochs; {@code
 * measure/...} the figures of {@code measures.csv}; {@code update/loss}, {@code
 * update/learning_rate} and {@code update/gradient_norm} are of single updates, of every one in
 * short runs, else of evenly spaced ones, so that a run has at most {@value #POINTS} of them.
 *
 * <p>Each point is in the file at once. A run that is resumed goes on in another file, from the
 * update that it is resumed at. Where writing fails, training goes on without.
 */
public final class TensorBoard implements TrainingListener, AutoCloseable {
  /** Most single updates of a run that are written. */
  public static final int POINTS = 2000;

  private static final Logger LOG = System.getLogger("org.ghostbatch");
  private static final List<String> UPDATE =
      List.of("update/loss", "update/learning_rate", "update/gradient_norm");

  /** Columns that say where a row is, rather than how it went. */
  private static final Set<String> PLACES = Set.of("epoch", "updates", "samples", "seconds");

  private final Path folder;
  private final double[] update = new double[UPDATE.size()];
  private EventFile file;
  private long every;
  private EpochRow part; // of an epoch that has not come to its end

  /**
   * @param folder of the run; it is made where it is not there
   */
  public TensorBoard(Path folder) {
    this.folder = Check.present("tensorboard", "a folder", folder);
  }

  @Override
  public void onStart(Trainer trainer) {
    every = Math.max(1, (trainer.totalUpdates() + POINTS - 1) / POINTS);
    try {
      Files.createDirectories(folder);
      file = EventFile.create(folder, trainer.updates());
    } catch (IOException | UncheckedIOException e) {
      fail(e);
    }
  }

  @Override
  public void onUpdate(Trainer trainer) {
    if (file != null && trainer.updates() % every == 0) {
      update[0] = trainer.lastLoss();
      update[1] = trainer.lastLearningRate();
      update[2] = trainer.lastGradientNorm();
      write(trainer.updates(), UPDATE, update);
    }
  }

  @Override
  public void onEpochEnd(Trainer trainer, EpochRow row) {
    List<EpochRow> rows = trainer.rows();
    long before = rows.size() < 2 ? 0 : rows.get(rows.size() - 2).updates();
    if (row.updates() - before < trainer.updatesOf(row.epoch() - 1)) {
      part = row; // a run that is resumed goes on within it
    } else {
      write(row);
    }
  }

  private void write(EpochRow row) {
    if (file == null) {
      return;
    }
    String[] names = EpochRow.csvHeader(true).split(",");
    String[] fields = row.csv(true).split(",", -1);
    List<String> tags = new ArrayList<>();
    List<Double> values = new ArrayList<>();
    for (int i = 0; i < names.length; i++) {
      if (!PLACES.contains(names[i]) && !fields[i].isEmpty()) {
        tags.add("epoch/" + names[i]);
        values.add(Double.parseDouble(fields[i]));
      }
    }
    write(row.updates(), tags, values.stream().mapToDouble(Double::doubleValue).toArray());
  }

  @Override
  public void onMeasure(Trainer trainer, List<MeasureRow> rows) {
    if (file != null) {
      write(
          trainer.updates(),
          rows.stream().map(row -> "measure/" + row.name()).toList(),
          rows.stream().mapToDouble(MeasureRow::value).toArray());
    }
  }

  @Override
  public void onEnd(Trainer trainer, History history) {
    if (part != null && !history.stopped()) {
      write(part);
    }
    close();
  }

  private void write(long step, List<String> tags, double[] values) {
    try {
      file.scalars(step, tags, values);
    } catch (IOException e) {
      fail(e);
    }
  }

  private void fail(Exception e) {
    LOG.log(
        Logger.Level.WARNING,
        "[tensorboard] cannot write to {0}: {1}; training goes on without",
        folder,
        e.getMessage());
    close();
  }

  /** Closes the file; closing twice is silent. */
  @Override
  public void close() {
    try {
      if (file != null) {
        file.close();
      }
    } catch (IOException e) {
      LOG.log(Logger.Level.WARNING, "[tensorboard] cannot close {0}: {1}", folder, e.getMessage());
    } finally {
      file = null;
    }
  }
}
