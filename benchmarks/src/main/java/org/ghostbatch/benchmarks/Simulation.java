package org.ghostbatch.benchmarks;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Random;

/**
 * A step on more cores than a machine has: lanes take ghosts in their order, memory slows all of
 * them alike once together they ask for more than it gives, and the gradients of a layer are added
 * in the order of the ghosts, where a lane waits only for its own ghost before.
 *
 * @param ghostSeconds of one ghost on one lane
 * @param ghostBytes that it moves between memory and caches
 * @param layers whose gradients are added one by one
 * @param commitSeconds of adding all gradients of a ghost
 * @param updateSeconds of a step's work that lanes do not share
 */
record Simulation(
    double ghostSeconds,
    double ghostBytes,
    int layers,
    double commitSeconds,
    double updateSeconds) {
  private static final double FORWARD = 1.0 / 3;
  private static final double JITTER = 0.03; // of a ghost's time, as runs here differ

  /** What a step takes, and the share of it that lanes spent waiting for commits. */
  record Step(double seconds, double waiting) {}

  /** How much longer a ghost takes where so many lanes share a memory of so many bytes a second. */
  double slowdown(int lanes, double bandwidth) {
    return Math.max(1, lanes * ghostBytes / ghostSeconds / bandwidth);
  }

  Step step(int ghosts, int lanes, double bandwidth) {
    double slowdown = slowdown(Math.min(ghosts, lanes), bandwidth);
    double[] free = new double[lanes];
    double[] added = new double[layers]; // when the last ghost so far was
    double[][] addedOfLane = new double[lanes][layers]; // its own last
    Random random = new Random(1);
    double waited = 0;
    for (int ghost = 0; ghost < ghosts; ghost++) {
      int lane = 0;
      for (int i = 1; i < lanes; i++) {
        lane = free[i] < free[lane] ? i : lane;
      }
      double seconds = ghostSeconds * slowdown * (1 + JITTER * (2 * random.nextDouble() - 1));
      double now = free[lane] + FORWARD * seconds;
      for (int layer = 0; layer < layers; layer++) {
        double wait = Math.max(0, addedOfLane[lane][layer] - now);
        waited += wait;
        now += wait + (1 - FORWARD) * seconds / layers;
        added[layer] = Math.max(added[layer], now) + commitSeconds / layers;
        addedOfLane[lane][layer] = added[layer];
      }
      free[lane] = now;
    }
    double end =
        Math.max(Arrays.stream(free).max().orElseThrow(), Arrays.stream(added).max().orElseThrow());
    return new Step(end + updateSeconds, waited / (lanes * end));
  }

  /** How many times as fast as one lane, and what keeps it from being as many as there are. */
  String speedup(int ghosts, int lanes, double bandwidth) {
    double speedup = step(ghosts, 1, bandwidth).seconds / step(ghosts, lanes, bandwidth).seconds;
    String limit = "";
    if (speedup < 0.9 * lanes) {
      double rounds = Math.ceil((double) ghosts / lanes) * lanes / ghosts; // idle lanes at the end
      double memory = slowdown(Math.min(ghosts, lanes), bandwidth);
      double commits = 1 / (1 - step(ghosts, lanes, bandwidth).waiting);
      double most = Math.max(rounds, Math.max(memory, commits));
      limit = most == rounds ? ", ghosts" : most == memory ? ", memory" : ", commits";
    }
    return String.format(Locale.ROOT, "%.1f%s", speedup, limit);
  }

  /** A table over cores and batches. */
  String table(List<Integer> batches, int ghost, double bandwidth) {
    StringBuilder text = new StringBuilder("| cores |");
    batches.forEach(batch -> text.append(String.format(Locale.ROOT, " batch %,d |", batch)));
    text.append("\n|--:|").append("---|".repeat(batches.size())).append('\n');
    for (int lanes = 1; lanes <= 128; lanes *= 2) {
      text.append("| ").append(lanes).append(" |");
      for (int batch : batches) {
        text.append(' ').append(speedup(batch / ghost, lanes, bandwidth)).append(" |");
      }
      text.append('\n');
    }
    return text.toString();
  }
}
