package org.ghostbatch.benchmarks.peers;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.ghostbatch.optim.BatchRule;
import org.ghostbatch.optim.LearningRate;
import org.ghostbatch.optim.Schedule;

/**
 * A training that both engines do: SGD with momentum 0.9 and weight decay, learning rate {@code
 * rate} sqrt(batch / base) after a linear warm-up, gradients clipped by their global norm, images
 * padded by 4 mid-grey pixels, cropped at random and flipped.
 *
 * @param depth layers of the ResNet, 6 n + 2
 * @param trainSamples the first so many samples of the training set; 0: all
 * @param precision f32 or bf16
 * @param ownWeights whether libtorch draws its own first weights, from the same distributions; else
 *     it starts from GhostBatch's
 */
record Recipe(
    int depth,
    int batch,
    int ghost,
    double rate,
    int base,
    double warmupEpochs,
    double weightDecay,
    double clip,
    int epochs,
    int trainSamples,
    String precision,
    int threads,
    long seed,
    boolean ownWeights) {
  static final double MOMENTUM = 0.9;
  static final int PAD = 4;
  static final int FILL = 127;

  private static final Map<String, String> DEFAULTS = new LinkedHashMap<>();

  static {
    DEFAULTS.put("depth", "44");
    DEFAULTS.put("batch", "1024");
    DEFAULTS.put("ghost", "128");
    DEFAULTS.put("lr", "0.1");
    DEFAULTS.put("base-batch", "128");
    DEFAULTS.put("warmup-epochs", "0");
    DEFAULTS.put("weight-decay", "1e-4");
    DEFAULTS.put("clip", "5");
    DEFAULTS.put("epochs", "3");
    DEFAULTS.put("train-samples", "0");
    DEFAULTS.put("precision", "f32");
    DEFAULTS.put("threads", "2");
    DEFAULTS.put("seed", "1");
    DEFAULTS.put("weights", "shared");
  }

  Recipe {
    if (!Set.of("f32", "bf16").contains(precision)) {
      throw new IllegalArgumentException("[recipe] needs precision f32 or bf16, got " + precision);
    }
    if (batch < 1 || ghost < 1 || epochs < 1 || threads < 1) {
      throw new IllegalArgumentException(
          "[recipe] needs batch, ghost, epochs and threads >= 1, got "
              + batch
              + ", "
              + ghost
              + ", "
              + epochs
              + " and "
              + threads);
    }
  }

  /**
   * Of settings named as the flags of {@code ghostbatch train}; what is missing has the defaults of
   * the accuracy comparison.
   */
  static Recipe of(Map<String, String> settings) {
    Map<String, String> all = new LinkedHashMap<>(DEFAULTS);
    all.putAll(settings);
    if (all.size() != DEFAULTS.size()) {
      Set<String> unknown = new TreeSet<>(settings.keySet());
      unknown.removeAll(DEFAULTS.keySet());
      throw new IllegalArgumentException(
          "[recipe] needs settings out of " + DEFAULTS.keySet() + ", got " + unknown);
    }
    String weights = all.get("weights");
    if (!Set.of("shared", "own").contains(weights)) {
      throw new IllegalArgumentException("[recipe] needs weights shared or own, got " + weights);
    }
    return new Recipe(
        Integer.parseInt(all.get("depth")),
        Integer.parseInt(all.get("batch")),
        Integer.parseInt(all.get("ghost")),
        Double.parseDouble(all.get("lr")),
        Integer.parseInt(all.get("base-batch")),
        Double.parseDouble(all.get("warmup-epochs")),
        Double.parseDouble(all.get("weight-decay")),
        Double.parseDouble(all.get("clip")),
        Integer.parseInt(all.get("epochs")),
        Integer.parseInt(all.get("train-samples")),
        all.get("precision"),
        Integer.parseInt(all.get("threads")),
        Long.parseLong(all.get("seed")),
        weights.equals("own"));
  }

  /** The rate by epoch. */
  LearningRate learningRate() {
    return new LearningRate(new Schedule.Constant(rate), BatchRule.sqrtFrom(base), warmupEpochs);
  }
}
