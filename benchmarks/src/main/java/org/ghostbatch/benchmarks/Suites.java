package org.ghostbatch.benchmarks;

import java.util.ArrayList;
import java.util.List;

/** What each suite measures where no kernel or network is named. */
final class Suites {
  /** Spellings of ghost batch norm that libtorch offers. */
  private static final String[] GHOSTS = {"accumulate", "chunk", "fold"};

  private static final List<String> PRECISIONS = List.of("f32", "bf16");

  /** ResNet-44's: H,W,C,F,K,S. */
  private static final List<String> CONVOLUTIONS =
      List.of(
          "32,32,3,16,3,1",
          "32,32,16,16,3,1",
          "32,32,16,32,3,2",
          "32,32,16,32,1,2",
          "16,16,32,32,3,1",
          "16,16,32,64,3,2",
          "16,16,32,64,1,2",
          "8,8,64,64,3,1");

  /** Its batch norms in a batch of 4,096. */
  private static final List<String> NORMS =
      List.of("4096,32,32,16", "4096,16,16,32", "4096,8,8,64");

  private Suites() {}

  /**
   * @param libtorch whether it is measured beside
   */
  static List<Comparison> of(String suite, int threads, boolean libtorch) {
    return switch (suite) {
      case "kernels" -> kernels(threads, libtorch);
      case "step" -> steps(threads, libtorch);
      case "scaling" -> scaling(threads);
      case "binding" -> comparisons(kernel("relu", "16", "f32", "forward", 0, 1), libtorch);
      default ->
          throw new IllegalArgumentException(
              "[bench] needs --suite kernels, step, scaling, loader or binding, got " + suite);
    };
  }

  /**
   * What is measured on a GPU, where nobody is beside: batches that keep one busy. Steps are those
   * of {@code peers/pytorch_step.py}.
   */
  static List<Case> onGpu(String suite) {
    List<Case> all = new ArrayList<>();
    if (suite.equals("step")) {
      all.add(step("resnet44", 4096, "bf16", "train", 128, 1));
      all.add(step("resnet44", 4096, "f32", "train", 128, 1));
      all.add(step("wrn-16-4", 1024, "bf16", "train", 128, 1));
      all.add(step("f1", 6000, "bf16", "train", 0, 1));
      all.add(step("f1", 6000, "f32", "train", 0, 1));
      all.add(step("lenet", 4096, "bf16", "train", 0, 1));
      return all;
    }
    for (String precision : List.of("bf16", "f32")) {
      for (String shape : NORMS) {
        for (String direction : List.of("forward", "backward")) {
          all.add(kernel("gbn", shape, precision, direction, 128, 1));
        }
      }
      for (String shape : CONVOLUTIONS) {
        for (String direction : Kernels.AFFINE) {
          all.add(kernel("conv", "4096," + shape, precision, direction, 0, 1));
        }
      }
    }
    return all;
  }

  /** The spellings that a peer has of a case. */
  static String[] spellings(Case what) {
    boolean ghosts = what.ghost() > 0 && !what.direction().equals("evaluate");
    boolean normalizes =
        what.suite().equals("step")
            ? Steps.network(what).hasBatchNorm()
            : what.name().equals("gbn");
    return ghosts && normalizes ? GHOSTS : new String[] {"plain"};
  }

  /**
   * A case beside each peer that has it: oneDNN called from C++, libtorch where it is asked for.
   */
  static List<Comparison> comparisons(Case what, boolean libtorch) {
    List<Comparison> all = new ArrayList<>();
    if (libtorch) {
      for (String spelling : spellings(what)) {
        // Ghost after ghost in the same memory, both.
        boolean alike = what.name().equals("gbn") && spelling.equals("accumulate");
        Case theirs = what.withSpelling(spelling);
        all.add(beside(alike ? theirs : what, Side.LIBTORCH, theirs));
      }
    }
    if (List.of("conv", "linear").contains(what.name())) {
      all.add(beside(what, Side.NATIVE, what.withSpelling("lanes")));
    } else if (what.name().equals("resnet44") && what.direction().equals("train")) {
      for (int rows : new int[] {32, 128}) {
        all.add(beside(what, Side.NATIVE, convolutions(what, rows)));
      }
    }
    return all.isEmpty() ? List.of(new Comparison(what, null)) : all;
  }

  private static Comparison beside(Case what, Side side, Case theirs) {
    return new Comparison(what, new Comparison.Peer(side, theirs));
  }

  /**
   * The convolutions of ResNet-44 alone, by oneDNN in passes of so many rows, on data that lies in
   * the caches where it may: what a step cannot be faster than without other kernels.
   */
  private static Case convolutions(Case step, int rows) {
    String batch = step.shape();
    String shapes =
        String.join(
            ";",
            batch + ",32,32,3,16,3,1*1!",
            batch + ",32,32,16,16,3,1*14",
            batch + ",32,32,16,32,3,2*1",
            batch + ",32,32,16,32,1,2*1",
            batch + ",16,16,32,32,3,1*13",
            batch + ",16,16,32,64,3,2*1",
            batch + ",16,16,32,64,1,2*1",
            batch + ",8,8,64,64,3,1*13");
    return new Case(
        "step", "convolutions", shapes, step.precision(), "train", rows, step.threads(), "lanes");
  }

  private static List<Comparison> kernels(int threads, boolean libtorch) {
    List<Comparison> all = new ArrayList<>();
    for (String precision : PRECISIONS) {
      for (String shape : NORMS) {
        all.addAll(comparisons(kernel("gbn", shape, precision, "both", 128, threads), libtorch));
      }
      for (String shape : List.of("128,8,8,64", "128,16,16,32")) {
        for (String direction : List.of("forward", "backward")) {
          all.addAll(comparisons(kernel("gbn", shape, precision, direction, 128, 1), false));
        }
      }
      // ResNet-44's, as a lane runs them; oneDNN's own call beside, which is what libtorch runs.
      for (String shape : CONVOLUTIONS) {
        for (String direction : Kernels.AFFINE) {
          all.addAll(comparisons(kernel("conv", "16," + shape, precision, direction, 0, 1), false));
        }
      }
      for (String shape : List.of("256,784,512", "256,512,512")) {
        for (String direction : Kernels.AFFINE) {
          all.addAll(comparisons(kernel("linear", shape, precision, direction, 0, 1), false));
        }
      }
    }
    return all;
  }

  private static Case kernel(
      String name, String shape, String precision, String direction, int ghost, int threads) {
    return new Case("kernels", name, shape, precision, direction, ghost, threads, "");
  }

  private static List<Comparison> steps(int threads, boolean libtorch) {
    List<Case> all = new ArrayList<>();
    for (String precision : PRECISIONS) {
      all.add(step("resnet44", 1024, precision, "train", 128, threads));
      all.add(step("f1", 6000, precision, "train", 0, threads));
      all.add(step("lenet", 1024, precision, "train", 0, threads));
    }
    all.add(step("wrn-16-4", 512, "bf16", "train", 128, threads));
    all.add(step("resnet44", 1024, "f32", "evaluate", 0, threads));
    all.add(step("resnet44", 1, "f32", "evaluate", 0, threads));
    List<Comparison> comparisons = new ArrayList<>();
    all.forEach(what -> comparisons.addAll(comparisons(what, libtorch)));
    if (libtorch) { // memory, of a graph that holds the whole batch
      Case large = step("resnet44", 4096, "bf16", "train", 128, threads);
      comparisons.add(beside(large, Side.LIBTORCH_DEFAULTS, large.withSpelling("chunk")));
    }
    return comparisons;
  }

  /** The same network on more threads and with a larger batch, as shares of the FMA peak. */
  private static List<Comparison> scaling(int threads) {
    List<Comparison> all = new ArrayList<>();
    for (String precision : PRECISIONS) {
      Case what = step("resnet44", 1024, precision, "train", 128, threads);
      all.add(beside(what, Side.GHOSTBATCH, step("resnet44", 1024, precision, "train", 128, 1)));
    }
    // Of fewer layers, so that what an update costs besides weighs more.
    Case large = step("resnet20", 65536, "bf16", "train", 128, threads);
    all.add(beside(large, Side.GHOSTBATCH, step("resnet20", 1024, "bf16", "train", 128, threads)));
    return all;
  }

  private static Case step(
      String model, int batch, String precision, String direction, int ghost, int threads) {
    return new Case(
        "step", model, Integer.toString(batch), precision, direction, ghost, threads, "");
  }
}
