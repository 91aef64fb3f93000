package org.ghostbatch.train;

import java.lang.System.Logger;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.ghostbatch.data.Dataset;

/** The course of a whole run, epoch by epoch: what {@link Trainer#fit} does. */
final class Run {
  private static final Logger LOG = System.getLogger("org.ghostbatch");

  /** Updates of a process that warm caches and compile: its speed is that of the others. */
  private static final int WARM_UP = 2;

  private final Trainer trainer;
  private final TrainingSpec spec;
  private final TrainingPlan plan;
  private final BatchFeed feed;
  private final RunState state;
  private final WeightAverage average; // null for none
  private final Tracer tracer; // null unless profiling
  private final List<TrainingListener> listeners;
  private final Dataset test; // null for none
  private long saved; // the update after which the run was saved last
  private int made; // updates of this process
  private boolean cut; // stopped within an epoch
  private Evaluation tested;
  private final Set<String> failed = new HashSet<>(); // measures, after the last epoch

  /** Goes through a measure that is not to be finished. */
  private static final class Stopped extends RuntimeException {
    private static final long serialVersionUID = 1;

    Stopped() {
      super(null, null, false, false);
    }
  }

  Run(Trainer trainer, Dataset test) {
    this.trainer = trainer;
    this.spec = trainer.spec();
    this.plan = trainer.plan();
    this.feed = trainer.feed();
    this.state = trainer.state();
    this.average = trainer.average();
    this.tracer = trainer.tracer();
    this.listeners = trainer.listeners();
    this.test = test;
    this.saved = state.updates;
  }

  History run() {
    listeners.forEach(listener -> listener.onStart(trainer));
    state.start();
    if (state.epoch > 0 && state.done == 0) {
      measure(false); // what a stop had left
    }
    // An epoch in progress is closed also where the run has come to its end within it.
    while (!trainer.stopRequested() && (state.done > 0 || !over())) {
      epoch();
    }
    saveLast();
    trainer.finish();
    // A run that was stopped should end soon: figures of the whole network are for its real end.
    // So are measures of it; no checkpoint has those, as a longer run has none at this epoch.
    boolean ended = !cut && over() && measure(true);
    if (ended && average != null) {
      takeAverage();
    }
    if (ended && test != null && tested == null) {
      tested = trainer.evaluate(test);
    }
    History history =
        new History(
            state.rows,
            !ended,
            state.updates,
            ended ? trainer.evaluate(trainer.data()) : null,
            tested,
            trainer.weightDistance(),
            state.imagesPerSecond(),
            state.secondsNow());
    for (TrainingListener listener : listeners) {
      listener.onEnd(trainer, history);
    }
    return history;
  }

  private boolean over() {
    boolean early = spec.earlyStop() > 0 && state.sinceBest >= spec.earlyStop();
    return early || plan.done(state.epoch, state.updates);
  }

  /** Trains what is left of the epoch in progress, and closes it. */
  private void epoch() {
    trainer.chooseBatch();
    int of = plan.updatesOf(state.epoch);
    TrainingClock clock = new TrainingClock();
    clock.start();
    feed.start(state.epoch, plan.batch(state.epoch));
    feed.skip(state.done);
    while (state.done < of
        && !(spec.updates() > 0 && state.updates >= spec.updates())
        && !trainer.stopRequested()) {
      update(clock);
    }
    boolean part = state.done < of;
    cut = trainer.stopRequested();
    if (part || cut) {
      // What goes on from here goes on within this epoch, so it is saved before the epoch is
      // closed.
      saveLast();
    }
    if (state.done == 0) {
      return;
    }
    EpochRow row = close(clock);
    failed.clear();
    if (!part && !cut && average != null) {
      average.afterEpoch(state.epoch, trainer.engine().parameters());
    }
    for (TrainingListener listener : listeners) {
      listener.onEpochEnd(trainer, row);
    }
    if (!part && !cut) {
      measure(false);
      if (spec.checkpointEvery().dueAfterEpoch(state.epoch)) {
        save();
      }
    }
  }

  /**
   * Takes what is to be measured after this epoch, or after the last, and was not yet; false where
   * the run was stopped meanwhile.
   */
  private boolean measure(boolean last) {
    for (MeasurePlan.Entry entry : spec.measures().entries()) {
      boolean due = last || state.epoch % entry.every() == 0;
      boolean tried = state.measured(entry.name()) || failed.contains(entry.name());
      if (due && !tried && !measure(entry.name())) {
        return false;
      }
    }
    return true;
  }

  /** Takes a measure, or goes on without where it fails; false where the run was stopped. */
  private boolean measure(String name) {
    long begin = System.nanoTime();
    List<MeasureRow> rows = new ArrayList<>();
    try {
      trainer.restFeed();
      Map<String, Double> figures =
          trainer.measure(name).take(trainer, (what, done, of) -> hear(name, what, done, of));
      new TreeMap<>(figures)
          .forEach(
              (figure, value) ->
                  rows.add(new MeasureRow(state.epoch, state.updates, name + "_" + figure, value)));
    } catch (Stopped e) {
      return false;
    } catch (RuntimeException e) {
      // No figure is worth the run, which would fail here again when it is resumed.
      LOG.log(
          Logger.Level.WARNING,
          "[trainer] cannot measure {0} after epoch {1}: {2}; training goes on",
          name,
          Integer.toString(state.epoch),
          e.getMessage());
      failed.add(name);
      return true;
    } finally {
      state.leaveOut(System.nanoTime() - begin);
    }
    state.measures.addAll(rows);
    if (!rows.isEmpty()) {
      listeners.forEach(listener -> listener.onMeasure(trainer, List.copyOf(rows)));
    }
    return true;
  }

  private void hear(String measure, String what, long done, long of) {
    if (trainer.stopRequested()) {
      throw new Stopped();
    }
    listeners.forEach(listener -> listener.onMeasuring(trainer, measure, what, done, of));
  }

  private void update(TrainingClock clock) {
    if (tracer != null) {
      tracer.begin();
    }
    feed.next();
    trainer.traced("load batch");
    trainer.update(state.epoch, plan.rate(state.epoch, state.done));
    state.loss += trainer.pass().loss();
    state.correct += trainer.pass().correct();
    state.norms += trainer.lastGradientNorm();
    state.seen += feed.count();
    state.done++;
    if (state.distanceDue()) {
      state.distances.add(new DistanceRow(state.updates, trainer.weightDistance()));
    }
    boolean warm = ++made > WARM_UP;
    long nanos = clock.lap(feed.count(), warm);
    if (warm) {
      state.timed(feed.count(), nanos);
    }
    for (int i = 0; i < listeners.size(); i++) {
      listeners.get(i).onUpdate(trainer);
    }
    if (tracer != null) {
      trainer.traced("listeners");
      tracer.end();
    }
    if (spec.checkpointEvery().dueAfterUpdate(state.updates)) {
      save();
    }
  }

  /** Evaluates the epoch, or the part that was trained of it; where it was cut, without figures. */
  private EpochRow close(TrainingClock clock) {
    Dataset held = trainer.validation();
    tested = test == null || cut ? null : trainer.evaluate(test);
    Evaluation validated = held == null || cut ? null : trainer.evaluate(held);
    EpochRow row =
        new EpochRow(
            state.epoch + 1,
            state.updates,
            state.samples,
            plan.batch(state.epoch),
            state.lastRate,
            state.loss / state.seen,
            state.correct / state.seen,
            tested == null ? Double.NaN : tested.loss(),
            tested == null ? Double.NaN : tested.accuracy(),
            trainer.weightDistance(),
            state.norms / state.done,
            clock.imagesPerSecond(),
            state.secondsNow(),
            validated == null ? Double.NaN : validated.loss(),
            validated == null ? Double.NaN : validated.accuracy());
    state.epochDone(row);
    if (validated != null) {
      state.validated(validated.loss(), validated.accuracy());
    }
    return row;
  }

  private void save() {
    saved = state.updates;
    listeners.forEach(listener -> listener.onCheckpoint(trainer));
  }

  /** Saves the state in which a run ends, unless that is saved, or nothing is to be. */
  private void saveLast() {
    if (saved != state.updates && !spec.checkpointEvery().equals(CheckpointInterval.NONE)) {
      save();
    }
  }

  /** Makes the average of the weights the network. */
  private void takeAverage() {
    if (average.count() == 0) {
      LOG.log(
          Logger.Level.WARNING,
          "[trainer] needs a whole epoch behind the first {0} for an average of the weights, got an"
              + " early stop after {1}: the network has the weights of the last update",
          spec.trainedSwaFrom(),
          state.rows.size());
      return;
    }
    trainer.takeAverage();
    tested = null;
  }
}
