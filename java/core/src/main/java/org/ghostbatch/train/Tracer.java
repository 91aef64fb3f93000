package org.ghostbatch.train;

import java.util.ArrayList;
import java.util.List;
import org.ghostbatch.device.Engine;
import org.ghostbatch.device.ProfileEntry;
import org.ghostbatch.device.TraceEvent;
import org.ghostbatch.nn.Network;

/**
 * Traces some updates of a run in its early steady state: the calls of each lane, which the engine
 * keeps, and the phases of the thread that drives it. Updates outside the window cost nothing.
 */
final class Tracer {
  /** Updates before the window: they warm caches and compile. */
  private static final int SKIPPED = 2;

  /** Most updates in the window. */
  private static final int UPDATES = 10;

  /** Most calls that a lane keeps. */
  private static final int CALLS = 1 << 15;

  private final Network network;
  private final Engine engine;
  private final List<Trace.Slice> phases = new ArrayList<>();
  private List<TraceEvent> calls = List.of();
  private int updates;
  private boolean on;
  private long begin;
  private long last;
  private int kept; // calls of the busiest lane so far
  private int largest; // of one update

  Tracer(Network network, Engine engine) {
    this.network = network;
    this.engine = engine;
  }

  /** An update begins: it loads its batch next. */
  void begin() {
    if (updates == SKIPPED && !on) {
      engine.trace(CALLS);
      on = true;
    }
    if (on) {
      begin = System.nanoTime();
      last = begin;
    }
  }

  /** What the update did until now, since the phase before. */
  void phase(String name) {
    if (on) {
      long now = System.nanoTime();
      phases.add(new Trace.Slice(name, last, now));
      last = now;
    }
  }

  /** The update is done. The window ends after its last, or where another might not fit. */
  void end() {
    updates++;
    if (on) {
      phases.add(new Trace.Slice("update " + updates, begin, last));
      int now = engine.traced();
      largest = Math.max(largest, now - kept);
      kept = now;
      if (updates == SKIPPED + UPDATES || kept + largest > CALLS) {
        finish();
      }
    }
  }

  private void finish() {
    on = false;
    calls = engine.trace();
    engine.trace(0);
  }

  /** What was traced; ends the window. */
  Trace trace() {
    if (on) {
      finish();
    }
    List<Trace.Kind> kinds = new ArrayList<>();
    for (ProfileEntry entry : engine.profile()) {
      kinds.add(
          new Trace.Kind(
              entry.name(),
              Profile.kind(network, entry),
              Profile.Row.direction(entry),
              Profile.kernel(engine, entry),
              entry.calls() == 0 ? 0 : entry.flops() / entry.calls(),
              entry.calls() == 0 ? 0 : entry.bytes() / entry.calls()));
    }
    return new Trace(engine.lanes().threads(), kinds, calls, phases);
  }
}
