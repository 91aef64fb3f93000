package org.ghostbatch.boundary;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.concurrent.SynchronousQueue;
import org.ghostbatch.binding.Device;
import org.ghostbatch.binding.NativeLibrary;
import org.ghostbatch.device.NativeException;

/**
 * Runs calls that each differ from a valid one in one field. Arguments: seed, first call, number of
 * calls, folder. The number of the call in progress stands in the file {@code progress} of that
 * folder, also after a crash; "seed first 1" runs one call again.
 */
public final class BoundaryFuzz {
  static final String PROGRESS = "progress";
  static final int UNEXPECTED = 3;
  private static final int MOST_REPORTS = 20;

  private final long seed;
  private final World world = new World();
  private final List<Scenarios.Named> scenarios;
  private final int weights;
  private final Rival rival = new Rival();
  private final Map<String, int[]> counts = new TreeMap<>();
  private int kernelsRun;
  private int unexpected;
  private String slowest = "";
  private long slowestNanos;

  private BoundaryFuzz(long seed, Path folder) {
    this.seed = seed;
    this.scenarios = new Scenarios(folder, world).all();
    this.weights = scenarios.stream().mapToInt(Scenarios.Named::weight).sum();
  }

  /** How a call ended. */
  enum Outcome {
    /** Native code did it. */
    DONE,
    /** Native code refused it. */
    REFUSED_NATIVELY,
    /** Java refused an argument. */
    ILLEGAL_ARGUMENT,
    /** Something was closed, or in use by another thread. */
    ILLEGAL_STATE,
    /** Anything else. */
    UNEXPECTED;

    static Outcome of(Throwable thrown) {
      if (thrown == null) {
        return DONE;
      }
      if (thrown instanceof NativeException) {
        return REFUSED_NATIVELY;
      }
      if (thrown instanceof IllegalArgumentException) {
        return ILLEGAL_ARGUMENT;
      }
      return thrown instanceof IllegalStateException ? ILLEGAL_STATE : UNEXPECTED;
    }
  }

  public static void main(String[] arguments) throws Exception {
    long seed = Long.parseLong(arguments[0]);
    int first = Integer.parseInt(arguments[1]);
    int count = Integer.parseInt(arguments[2]);
    Path folder = Path.of(arguments[3]);
    BoundaryFuzz fuzz = new BoundaryFuzz(seed, folder);
    try (RandomAccessFile file = new RandomAccessFile(folder.resolve(PROGRESS).toFile(), "rw");
        FileChannel channel = file.getChannel()) {
      MappedByteBuffer progress = channel.map(FileChannel.MapMode.READ_WRITE, 0, 4);
      long begin = System.nanoTime();
      for (int i = first; i < first + count; i++) {
        progress.putInt(0, i);
        fuzz.call(i);
      }
      fuzz.report(count, (System.nanoTime() - begin) / 1e9);
    }
    long leaks = leaks();
    System.out.println("leaks: " + leaks);
    fuzz.world.close();
    System.exit(fuzz.unexpected == 0 && leaks == 0 ? 0 : UNEXPECTED);
  }

  /**
   * Objects that calls made and nobody closed: also a call that fails halfway frees what it made.
   */
  private static long leaks() throws InterruptedException {
    for (int i = 0; i < 5; i++) {
      System.gc();
      Thread.sleep(20); // the cleaner's thread reports
    }
    return org.ghostbatch.device.Device.leaks();
  }

  /** A call that no check can see through: reads a view where no memory is mapped. */
  public static final class Planted {
    static final int CALL = 77;

    public static void main(String[] arguments) throws IOException {
      NativeLibrary.load();
      try (RandomAccessFile file =
              new RandomAccessFile(Path.of(arguments[0]).resolve(PROGRESS).toFile(), "rw");
          FileChannel channel = file.getChannel()) {
        channel.map(FileChannel.MapMode.READ_WRITE, 0, 4).putInt(0, CALL);
        Device.create("cpu").vector_kernels()._fill(null, 1.0, 4096);
      }
      System.exit(0);
    }
  }

  private void call(int index) throws InterruptedException {
    SplittableRandom random = new SplittableRandom(seed * 0x9E3779B97F4A7C15L + index);
    Scenarios.Named scenario = choose(random.nextInt(weights));
    long valid = random.nextLong();
    long mutation = random.nextLong();
    Call plain = new Call(world, valid, mutation, Call.NONE);
    scenario.scenario().draw(plain);
    // One number more than there are fields: the same call from two threads at once.
    int target = random.nextInt(plain.fields() + 1);
    Call call = new Call(world, valid, mutation, target);
    Runnable body = scenario.scenario().draw(call);
    if (target == plain.fields()) {
      call.rival("twice at once", body);
    }
    long begin = System.nanoTime();
    Throwable thrown = null;
    if (call.rival() != null) {
      rival.start(call.rival());
    }
    try {
      body.run();
    } catch (Throwable e) {
      thrown = e;
    }
    Throwable other = call.rival() == null ? null : rival.await();
    long nanos = System.nanoTime() - begin;
    if (nanos > slowestNanos) {
      slowestNanos = nanos;
      slowest = "call " + index + ", " + scenario.name() + ", " + call.changed();
    }
    counts
        .computeIfAbsent(scenario.name(), name -> new int[Outcome.values().length])[
        Outcome.of(thrown).ordinal()]++;
    if (thrown == null && scenario.kernel()) {
      kernelsRun++;
    }
    check(index, scenario.name(), call.changed(), thrown);
    check(index, scenario.name(), call.changed() + " (the other thread)", other);
    try {
      call.close();
    } catch (RuntimeException e) {
      check(index, scenario.name(), call.changed() + " (cleaning up)", new Error(e));
    }
    world.tidy();
  }

  private Scenarios.Named choose(int at) {
    for (Scenarios.Named scenario : scenarios) {
      at -= scenario.weight();
      if (at < 0) {
        return scenario;
      }
    }
    throw new IllegalStateException();
  }

  private void check(int index, String scenario, String changed, Throwable thrown) {
    if (Outcome.of(thrown) == Outcome.UNEXPECTED && unexpected++ < MOST_REPORTS) {
      System.out.println("seed " + seed + ", call " + index + ": " + scenario + ", " + changed);
      thrown.printStackTrace(System.out);
    }
  }

  private void report(int calls, double seconds) {
    int[] all = new int[Outcome.values().length];
    counts.forEach(
        (name, outcomes) -> {
          System.out.printf("%-24s %s%n", name, line(outcomes));
          for (int i = 0; i < all.length; i++) {
            all[i] += outcomes[i];
          }
        });
    System.out.println("slowest: " + slowest + ": " + slowestNanos / 1_000_000 + " ms");
    System.out.println("outcomes: " + line(all));
    System.out.printf(
        "seed %d, calls %d, kernels run %d, unexpected %d, %.1f s%n",
        seed, calls, kernelsRun, unexpected, seconds);
  }

  private static String line(int[] outcomes) {
    List<String> parts = new ArrayList<>();
    for (Outcome outcome : Outcome.values()) {
      parts.add(outcome + " " + outcomes[outcome.ordinal()]);
    }
    return String.join(", ", parts);
  }

  /** A second thread, which does something while a call runs. */
  private static final class Rival {
    private final SynchronousQueue<Runnable> work = new SynchronousQueue<>();
    private volatile boolean ready;
    private volatile boolean done;
    private volatile Throwable thrown;
    private int turn;

    Rival() {
      Thread thread = new Thread(this::serve, "rival");
      thread.setDaemon(true);
      thread.start();
    }

    private void serve() {
      try {
        while (true) {
          Runnable next = work.take();
          Throwable failure = null;
          ready = true;
          try {
            next.run();
          } catch (Throwable e) {
            failure = e;
          }
          thrown = failure;
          done = true;
        }
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }

    /** Returns when the other thread runs, sometimes a little later. */
    void start(Runnable other) throws InterruptedException {
      ready = false;
      done = false;
      work.put(other);
      while (!ready) {
        Thread.onSpinWait();
      }
      for (int i = turn++ % 5 * 200; i > 0; i--) {
        Thread.onSpinWait();
      }
    }

    /** What the other thread's call threw, or null. */
    Throwable await() {
      while (!done) {
        Thread.onSpinWait();
      }
      return thrown;
    }
  }
}
