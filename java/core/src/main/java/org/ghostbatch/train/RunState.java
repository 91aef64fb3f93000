package org.ghostbatch.train;

import java.util.ArrayList;
import java.util.List;
import org.ghostbatch.io.JsonObject;

/**
 * Where a run is, beside the tensors: epochs and updates done, the running sums of the epoch in
 * progress, the rows, measures and distances so far, and what early stop remembers. A checkpoint
 * holds it as JSON.
 */
final class RunState {
  /** Finished epochs. */
  int epoch;

  /** Updates of the epoch in progress. */
  int done;

  long updates;
  long samples;

  // Sums over the epoch in progress.
  double loss;
  double correct;
  double norms;
  long seen;

  double lastRate = Double.NaN;

  /** Seconds of the parts of the run that went before this one. */
  double seconds;

  /** Samples of the updates that count for images/s, and their time. */
  private long timedSamples;

  private long timedNanos;

  /** When this part of the run began; not saved. */
  private long begin = System.nanoTime();

  /** Best validation accuracy, and the loss there. */
  double bestAccuracy = Double.NaN;

  double bestLoss = Double.NaN;

  /** Epochs since then. */
  int sinceBest;

  /** Weights in the average so far. */
  long averages;

  final List<EpochRow> rows = new ArrayList<>();
  final List<MeasureRow> measures = new ArrayList<>();
  final List<DistanceRow> distances = new ArrayList<>();

  /** Batch sizes of the epochs that have begun, where they follow the noise scale. */
  final List<Integer> batches = new ArrayList<>();

  /** Of the updates that were measured. */
  NoiseScaleEstimator noise = new NoiseScaleEstimator();

  /** Takes an epoch's validation figures: better is more accurate, or as accurate at less loss. */
  void validated(double validationLoss, double validationAccuracy) {
    boolean better =
        !(validationAccuracy <= bestAccuracy)
            || validationAccuracy == bestAccuracy && validationLoss < bestLoss;
    if (better) {
      bestAccuracy = validationAccuracy;
      bestLoss = validationLoss;
      sinceBest = 0;
    } else {
      sinceBest++;
    }
  }

  /** Begins the next epoch. */
  void epochDone(EpochRow row) {
    rows.add(row);
    epoch = row.epoch();
    done = 0;
    loss = 0;
    correct = 0;
    norms = 0;
    seen = 0;
  }

  /** Whether this measure was taken after the last epoch. */
  boolean measured(String measure) {
    return measures.stream().anyMatch(row -> row.epoch() == epoch && row.isOf(measure));
  }

  /** Whether the distance of the weights is to be kept after the update just made. */
  boolean distanceDue() {
    long last = distances.isEmpty() ? 0 : distances.get(distances.size() - 1).updates();
    return updates >= DistanceRow.after(last);
  }

  /** Leaves what has just taken so long out of the run's seconds. */
  void leaveOut(long nanos) {
    begin += nanos;
  }

  /** This part of the run begins now. */
  void start() {
    begin = System.nanoTime();
  }

  /** Seconds of the run so far. */
  double secondsNow() {
    return seconds + (System.nanoTime() - begin) / 1e9;
  }

  /** Counts an update for {@link #imagesPerSecond}. */
  void timed(int samples, long nanos) {
    timedSamples += samples;
    timedNanos += nanos;
  }

  /** Of all updates that were timed; NaN without any. */
  double imagesPerSecond() {
    return timedSamples / (timedNanos / 1e9);
  }

  /** A copy that shares nothing. */
  RunState copy() {
    return fromJson(toJson());
  }

  JsonObject toJson() {
    return new JsonObject()
        .put("epoch", epoch)
        .put("done", done)
        .put("updates", updates)
        .put("samples", samples)
        .put("loss", loss)
        .put("correct", correct)
        .put("norms", norms)
        .put("seen", seen)
        .put("last_rate", text(lastRate))
        .put("seconds", seconds)
        .put("timed_samples", timedSamples)
        .put("timed_nanos", timedNanos)
        .put("best_accuracy", text(bestAccuracy))
        .put("best_loss", text(bestLoss))
        .put("since_best", sinceBest)
        .put("averages", averages)
        .put("rows", rows.stream().map(row -> row.csv(true)).toList())
        .put("measures", measures.stream().map(MeasureRow::csv).toList())
        .put("distances", distances.stream().map(DistanceRow::csv).toList())
        .put("batches", List.copyOf(batches))
        .put("noise", noise.toJson());
  }

  /** As text, since JSON has no NaN and no infinity. */
  private static String text(double value) {
    return Double.toString(value);
  }

  static RunState fromJson(JsonObject json) {
    RunState state = new RunState();
    state.epoch = count(json.getInt("epoch"));
    state.done = count(json.getInt("done"));
    state.updates = count(json.getLong("updates"));
    state.samples = count(json.getLong("samples"));
    state.loss = json.getDouble("loss");
    state.correct = json.getDouble("correct");
    state.norms = json.getDouble("norms");
    state.seen = count(json.getLong("seen"));
    state.lastRate = number(json, "last_rate");
    state.seconds = json.getDouble("seconds");
    state.timedSamples = count(json.getLong("timed_samples"));
    state.timedNanos = count(json.getLong("timed_nanos"));
    state.bestAccuracy = number(json, "best_accuracy");
    state.bestLoss = number(json, "best_loss");
    state.sinceBest = count(json.getInt("since_best"));
    state.averages = count(json.getLong("averages"));
    texts(json, "rows").forEach(row -> state.rows.add(EpochRow.parse(row)));
    texts(json, "measures").forEach(row -> state.measures.add(MeasureRow.parse(row)));
    texts(json, "distances").forEach(row -> state.distances.add(DistanceRow.parse(row)));
    for (Object batch : json.getList("batches")) {
      if (!(batch instanceof Number number) || number.intValue() < 1) {
        throw Check.bad("checkpoint", "batches >= 1", batch);
      }
      state.batches.add(number.intValue());
    }
    state.noise = NoiseScaleEstimator.fromJson(json.getObject("noise"));
    return state;
  }

  private static List<String> texts(JsonObject json, String name) {
    List<String> texts = new ArrayList<>();
    for (Object row : json.getList(name)) {
      if (!(row instanceof String text)) {
        throw Check.bad("checkpoint", name + " as texts", row);
      }
      texts.add(text);
    }
    return texts;
  }

  /**
   * @throws IllegalArgumentException where no run of this plan comes by here
   */
  void requireOn(TrainingPlan plan) {
    boolean known = batches.size() == epoch + 1;
    boolean toBeChosen = batches.size() == epoch && epoch > 0 && done == 0;
    boolean chosen = plan.follows() ? known || toBeChosen : batches.isEmpty();
    if (!chosen
        || rows.size() != epoch
        || epoch > Math.ceil(plan.epochs())
        || done > plan.updatesOf(epoch)) {
      throw Check.bad(
          "checkpoint",
          "a state between two updates of a run of " + plan.epochs() + " epochs",
          epoch
              + " epochs, "
              + rows.size()
              + " rows, "
              + batches.size()
              + " batch sizes, "
              + done
              + " updates of the next epoch");
    }
  }

  private static int count(int value) {
    return (int) count((long) value);
  }

  private static long count(long value) {
    if (value < 0) {
      throw Check.bad("checkpoint", "counts >= 0", value);
    }
    return value;
  }

  private static double number(JsonObject json, String name) {
    try {
      return Double.parseDouble(json.getString(name));
    } catch (NumberFormatException e) {
      throw Check.bad("checkpoint", "a number for " + name, json.getString(name));
    }
  }
}
