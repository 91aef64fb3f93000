package org.ghostbatch.benchmarks;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * A case on GhostBatch, and beside it the same on a peer, each in a process of its own.
 *
 * @param what on GhostBatch
 * @param peer null: nobody
 */
record Comparison(Case what, Peer peer) {
  /** How long a limit is measured, as a share of the others' time. */
  private static final double LIMIT_SHARE = 0.25;

  /** Bytes of the smallest copy that can be measured. */
  private static final long LEAST_COPY = 1024;

  /** A side, and the case as it is put to it. */
  record Peer(Side side, Case what) {
    String title() {
      String title =
          what.name().equals("convolutions") ? side.title() + "'s convolutions" : side.title();
      return switch (what.spelling()) {
        case "", "plain" ->
            side == Side.GHOSTBATCH
                ? title + ", batch " + what.shape() + " on " + what.threads()
                : title;
        case "lanes" -> what.ghost() > 0 ? title + ", " + what.ghost() + " rows" : title;
        default -> title + ", " + what.spelling();
      };
    }
  }

  /**
   * Measures all in turns, so that what the machine does meanwhile meets them alike: GhostBatch,
   * the peer, the limit, and again.
   *
   * @param rounds of turns
   * @param seconds of one turn
   */
  Row run(Path root, int rounds, double seconds) {
    List<Worker> workers = new ArrayList<>();
    try {
      Timed ours = timed(workers, Side.GHOSTBATCH, what, root);
      Timed limit = timed(workers, Side.NATIVE, limit(what, ours.prepared), root);
      Timed theirs = null;
      Timed theirLimit = null;
      if (peer != null) {
        theirs = timed(workers, peer.side, peer.what, root);
        if (peer.side == Side.GHOSTBATCH) { // which does other work, or on other threads
          theirLimit = timed(workers, Side.NATIVE, limit(peer.what, theirs.prepared), root);
        }
      }
      for (int round = 0; round < rounds; round++) {
        ours.measure(seconds);
        limit.measure(seconds * LIMIT_SHARE);
        if (theirs != null) {
          theirs.measure(seconds);
        }
        if (theirLimit != null) {
          theirLimit.measure(seconds * LIMIT_SHARE);
        }
      }
      double outside = ours.worker.outside();

      Row.Peer beside = null;
      if (peer != null) {
        Turns ratios =
            theirLimit == null
                ? theirs.turns.ratio(ours.turns)
                : ours.share(limit).ratio(theirs.share(theirLimit));
        beside =
            new Row.Peer(
                peer.title(),
                1e3 * theirs.turns.figure().median(),
                theirs.turns.peakBytes(),
                ratios.figure());
      }
      return new Row(
          what,
          ours.turns.figure().times(1e3),
          ours.turns.peakBytes(),
          beside,
          ours.of(limit),
          outside,
          ours.prepared.kernel());
    } finally {
      workers.forEach(Worker::close);
    }
  }

  private static Timed timed(List<Worker> workers, Side side, Case what, Path root) {
    Worker worker = side.start(root, what.threads());
    workers.add(worker);
    return new Timed(worker, what);
  }

  /**
   * Measures on a device by name, GhostBatch alone: what moves memory in turns with the device's
   * own copy of as many bytes; for arithmetic no limit is known there.
   *
   * @param ours a process that measures GhostBatch on the device
   * @param limits another
   */
  Row runOn(Worker ours, Worker limits, int rounds, double seconds) {
    Timed timed = new Timed(ours, what);
    double bytes = timed.prepared.bytes();
    Timed limit = bytes > 0 ? new Timed(limits, Kernels.copy(bytes)) : null;
    for (int round = 0; round < rounds; round++) {
      timed.measure(seconds);
      if (limit != null) {
        limit.measure(seconds * LIMIT_SHARE);
      }
    }
    return new Row(
        what,
        timed.turns.figure().times(1e3),
        timed.turns.peakBytes(),
        null,
        limit == null ? null : timed.of(limit),
        -1,
        timed.prepared.kernel());
  }

  /** A case in a process, and what it took so far. */
  private static final class Timed {
    final Case what;
    final Worker worker;
    final Worker.Prepared prepared;
    final Turns turns = new Turns();

    Timed(Worker worker, Case what) {
      this.what = what;
      this.worker = worker;
      prepared = worker.prepare(what);
    }

    void measure(double seconds) {
      turns.add(worker.measure(seconds));
    }

    double work() {
      return Comparison.work(prepared);
    }

    /**
     * What of a limit is reached, turn by turn: the time that this work would take there, over
     * ours.
     */
    Turns share(Timed limit) {
      return limit.turns.times(work() / limit.work()).ratio(turns);
    }

    Row.Limit of(Timed limit) {
      return new Row.Limit(
          limit.what.name(),
          what.suite().equals("kernels") ? Kernels.formula(what) : Steps.formula(what),
          limit.work() / limit.turns.figure().median(),
          share(limit).figure().median());
    }
  }

  private static double work(Worker.Prepared prepared) {
    return prepared.flops() > 0 ? prepared.flops() : prepared.bytes();
  }

  /** What bounds a case on this machine. */
  private static Case limit(Case what, Worker.Prepared prepared) {
    String name = prepared.flops() > 0 ? "fma" : "copy";
    long bytes = Math.max(LEAST_COPY, Math.round(prepared.bytes()));
    return new Case(
        "limits",
        name,
        name.equals("fma") ? "1" : Long.toString(bytes),
        name.equals("fma") ? what.precision() : "f32",
        "",
        0,
        what.threads(),
        "");
  }

  @Override
  public String toString() {
    return peer == null ? what.toString() : what + " beside " + peer.title();
  }
}
