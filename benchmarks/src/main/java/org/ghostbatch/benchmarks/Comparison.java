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
        case "", "plain" -> title;
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
      Worker ours = start(workers, Side.GHOSTBATCH, root);
      Worker.Prepared prepared = ours.prepare(what);
      Worker theirs = null;
      if (peer != null) {
        theirs = start(workers, peer.side, root);
        theirs.prepare(peer.what);
      }
      Case limited = limit(prepared);
      Worker limit = start(workers, Side.NATIVE, root);
      double limitWork = work(limit.prepare(limited));

      Turns ourTurns = new Turns();
      Turns theirTurns = new Turns();
      Turns limitTurns = new Turns();
      for (int round = 0; round < rounds; round++) {
        ourTurns.add(ours.measure(seconds));
        if (theirs != null) {
          theirTurns.add(theirs.measure(seconds));
        }
        limitTurns.add(limit.measure(seconds * LIMIT_SHARE));
      }
      // Flops or bytes a second, then the time that the case's own would take.
      Turns ideal = limitTurns.times(work(prepared) / limitWork);
      Row row =
          Row.of(what, ourTurns, prepared.kernel(), formula(), limited.name())
              .withLimit(limitWork / limitTurns.median(), ideal.ratio(ourTurns).median());
      return peer == null ? row : row.withPeer(peer.title(), theirTurns, ourTurns);
    } finally {
      workers.forEach(Worker::close);
    }
  }

  private Worker start(List<Worker> workers, Side side, Path root) {
    Worker worker = side.start(root, what.threads());
    workers.add(worker);
    return worker;
  }

  private static double work(Worker.Prepared prepared) {
    return prepared.flops() > 0 ? prepared.flops() : prepared.bytes();
  }

  /** What bounds this case on this machine. */
  private Case limit(Worker.Prepared prepared) {
    return prepared.flops() > 0
        ? new Case("limits", "fma", "1", what.precision(), "", 0, what.threads(), "")
        : new Case(
            "limits",
            "copy",
            Long.toString(Math.max(LEAST_COPY, Math.round(prepared.bytes()))),
            "f32",
            "",
            0,
            what.threads(),
            "");
  }

  private String formula() {
    return what.suite().equals("kernels") ? Kernels.formula(what) : Steps.formula(what);
  }

  @Override
  public String toString() {
    return peer == null ? what.toString() : what + " beside " + peer.title();
  }
}
