package org.ghostbatch.benchmarks.peers;

import java.io.IOException;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.global.torch;
import org.ghostbatch.benchmarks.Case;
import org.ghostbatch.benchmarks.Work;
import org.ghostbatch.benchmarks.WorkerLoop;

/** Measures cases with libtorch; see benchmarks/peers/worker. */
public final class LibtorchWorker {
  private static final int LEVEL_RUNS = 5;
  private static final long GROWTH = 1 << 20;
  private static final long WARM_NANOS = 30_000_000_000L;

  private LibtorchWorker() {}

  public static void main(String[] args) throws IOException {
    torch.set_num_interop_threads(1);
    WorkerLoop.serve(LibtorchWorker::prepare);
  }

  static Work prepare(Case what) {
    torch.set_num_threads(what.threads());
    torch.manual_seed(1);
    var held = new PointerScope();
    try {
      Runnable run =
          switch (what.suite()) {
            case "kernels" -> LibtorchKernels.of(what);
            case "step" -> LibtorchSteps.of(what);
            default ->
                throw new IllegalArgumentException(
                    "[libtorch] needs suite kernels or step, got " + what.suite());
          };
      warm(run);
      return new LibtorchWork(what.spelling(), held, run);
    } catch (RuntimeException e) {
      held.close();
      throw e;
    }
  }

  /**
   * Runs until the memory is there: with what is kept and not given back, pieces that fit are found
   * only after tens of runs, and each run until then touches new pages.
   */
  private static void warm(Runnable run) {
    long begin = System.nanoTime();
    long peak = 0;
    int level = 0;
    while (level < LEVEL_RUNS && System.nanoTime() - begin < WARM_NANOS) {
      run.run();
      long now = WorkerLoop.peakBytes();
      if (now > peak + GROWTH) {
        peak = now;
        level = 0;
      } else {
        level++;
      }
    }
  }

  /**
   * @param held what the runs share; what a run makes goes with its end
   */
  private record LibtorchWork(String spelling, PointerScope held, Runnable work) implements Work {
    @Override
    public String kernel() {
      return "libtorch 2.10" + (spelling.isEmpty() ? "" : " " + spelling);
    }

    @Override
    public double flops() {
      return 0;
    }

    @Override
    public double bytes() {
      return 0;
    }

    @Override
    public void run() {
      work.run();
    }

    @Override
    public void close() {
      held.close();
    }
  }
}
