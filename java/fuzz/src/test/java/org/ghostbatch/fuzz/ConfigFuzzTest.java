package org.ghostbatch.fuzz;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.code_intelligence.jazzer.junit.DictionaryEntries;
import com.code_intelligence.jazzer.junit.FuzzTest;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.ghostbatch.io.Json;
import org.ghostbatch.optim.BatchRule;
import org.ghostbatch.optim.BatchSchedule;
import org.ghostbatch.optim.Optimizer;
import org.ghostbatch.optim.RegimeAdaptation;
import org.ghostbatch.optim.Schedule;
import org.ghostbatch.train.RunFolder;
import org.ghostbatch.train.TrainingSpec;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Any bytes as the config.json of a run folder; a spec that is read is the same after writing. */
class ConfigFuzzTest {
  private final Path folder = Reading.folder();
  private final Path file = Reading.file(folder, "config.json");

  static Stream<byte[]> valid() {
    TrainingSpec.Builder simple = TrainingSpec.builder().batch(BatchSchedule.constant(128));
    TrainingSpec.Builder full =
        TrainingSpec.builder()
            .model("lenet")
            .data("strokes")
            .dataDir("data")
            .optimizer(Optimizer.parse("adamw(beta1=0.9,beta2=0.99,eps=1e-6,weight-decay=0.1)"))
            .schedule(Schedule.parse("0:0.1,1.5:0.01"))
            .batchRule(BatchRule.sqrtFrom(128))
            .warmupEpochs(0.5)
            .regimeAdaptation(new RegimeAdaptation(128))
            .batch(BatchSchedule.parse("0:128,30:1024"))
            .ghost(64)
            .clipGradientNorm(5);
    return Stream.of(
            simple.updates(10).schedule(Schedule.parse("cosine(rate=0.1)")),
            simple.epochs(3).schedule(Schedule.parse("polynomial(rate=0.1,power=2)")),
            full.epochs(100))
        .map(spec -> Json.write(spec.build().toJson()).getBytes(StandardCharsets.UTF_8));
  }

  @MethodSource("valid")
  @DictionaryEntries({
    "\"0:0.1,81:0.01\"",
    "\"cosine(rate=0.1)\"",
    "\"polynomial(rate=0.1,power=2)\"",
    "\"sgd(momentum=0.9,weight-decay=1.0E-4,nesterov=true)\"",
    "\"adamw(beta1=0.9,beta2=0.999,eps=1.0E-8,weight-decay=0.01)\"",
    "\"sqrt:128\"",
    "2147483647",
    "1e-400",
    "-0"
  })
  @FuzzTest
  void reads(byte[] content) {
    accepts(content);
  }

  @ParameterizedTest
  @MethodSource("valid")
  void acceptsWhatIsValid(byte[] content) {
    assertTrue(accepts(content));
  }

  private boolean accepts(byte[] content) {
    Reading.write(file, content);
    var read = Reading.of(content.length, 256, () -> RunFolder.config(folder));
    read.ifPresent(
        spec -> {
          Reading.write(file, Json.write(spec.toJson()).getBytes(StandardCharsets.UTF_8));
          assertEquals(spec, RunFolder.config(folder));
        });
    return read.isPresent();
  }
}
