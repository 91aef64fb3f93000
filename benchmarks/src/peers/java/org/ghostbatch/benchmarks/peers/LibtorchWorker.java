package org.ghostbatch.benchmarks.peers;

import java.io.IOException;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.global.torch;
import org.ghostbatch.benchmarks.Case;
import org.ghostbatch.benchmarks.Work;
import org.ghostbatch.benchmarks.WorkerLoop;

/** Measures cases with libtorch; see benchmarks/peers/worker. */
public final class LibtorchWorker {
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
      return new LibtorchWork(what.spelling(), held, run);
    } catch (RuntimeException e) {
      held.close();
      throw e;
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
