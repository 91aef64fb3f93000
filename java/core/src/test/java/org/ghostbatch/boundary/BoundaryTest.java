package org.ghostbatch.boundary;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.DataInputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.ghostbatch.ForkedJvm;
import org.ghostbatch.device.Augmentation;
import org.ghostbatch.device.DataType;
import org.ghostbatch.device.Device;
import org.ghostbatch.device.GhostBatchNorm;
import org.ghostbatch.device.LoadSpec;
import org.ghostbatch.device.NetworkPlan;
import org.ghostbatch.device.Tensor;
import org.ghostbatch.nn.Sequential;
import org.ghostbatch.optim.LearningRate;
import org.junit.jupiter.api.Test;

/**
 * No input from Java may crash the JVM: valid calls with one field changed, in a JVM of their own.
 * System properties: {@code ghostbatch.fuzz.calls} (default 20,000), {@code ghostbatch.fuzz.seed}
 * and {@code ghostbatch.fuzz.first}, which run a reported call again.
 */
class BoundaryTest {
  private static final Pattern SUMMARY =
      Pattern.compile("seed (\\d+), calls (\\d+), kernels run (\\d+), .*");

  /** Above what the JVM itself takes, far below a machine's memory. */
  private static final long ADDRESS_SPACE = 3_200_000_000L;

  private static final int HANGING_SECONDS = 60;

  private static ForkedJvm jvm(String name) {
    return ForkedJvm.named(name)
        .with("-XX:CompressedClassSpaceSize=64m", "-XX:ReservedCodeCacheSize=96m")
        .addressSpace(ADDRESS_SPACE);
  }

  @Test
  void noChangedCallBreaksTheVirtualMachine() throws Exception {
    int calls = Integer.getInteger("ghostbatch.fuzz.calls", 20_000);
    long seed = Long.getLong("ghostbatch.fuzz.seed", 1);
    int first = Integer.getInteger("ghostbatch.fuzz.first", 0);
    ForkedJvm jvm = jvm("boundary");
    Process process =
        jvm.start(
            BoundaryFuzz.class,
            Long.toString(seed),
            Integer.toString(first),
            Integer.toString(calls),
            jvm.folder().toString());
    ForkedJvm.End end = await(jvm, process);
    String where = "seed " + seed + ", call " + progress(jvm.folder()) + ": " + end;
    assertNull(end.crash(), where);
    assertEquals(0, end.exit(), where);
    Matcher summary = SUMMARY.matcher(end.output());
    assertTrue(summary.find(), where);
    System.out.println(summary.group());
    assertEquals(calls, Integer.parseInt(summary.group(2)));
    if (calls >= 1000) {
      // Not only past the checks of Java, or refused in native code: done.
      assertTrue(Integer.parseInt(summary.group(3)) >= 0.3 * calls, where);
    }
  }

  /** Waits for the end; a call that makes no progress is a hang. */
  private static ForkedJvm.End await(ForkedJvm jvm, Process process) throws Exception {
    int call = -1;
    int waited = 0;
    while (!process.waitFor(1, TimeUnit.SECONDS)) {
      int now = progress(jvm.folder());
      waited = now == call ? waited + 1 : 0;
      call = now;
      if (waited > HANGING_SECONDS) {
        return jvm.kill(process);
      }
    }
    return jvm.end(process);
  }

  private static int progress(Path folder) throws IOException {
    Path file = folder.resolve(BoundaryFuzz.PROGRESS);
    if (!Files.exists(file) || Files.size(file) < 4) {
      return -1;
    }
    try (DataInputStream in = new DataInputStream(Files.newInputStream(file))) {
      return in.readInt();
    }
  }

  @Test
  void aCrashIsSeen() throws Exception {
    ForkedJvm jvm = jvm("planted");
    ForkedJvm.End end = jvm.run(60, BoundaryFuzz.Planted.class, jvm.folder().toString());
    assertNotEquals(0, end.exit(), end.toString());
    assertNotNull(end.crash(), end.toString());
    assertTrue(end.crash().contains("SIGSEGV"), end.toString());
    assertEquals(BoundaryFuzz.Planted.CALL, progress(jvm.folder()));
  }

  @Test
  void missingPartsAreNamed() {
    refused("a spec", () -> onPlan(plan -> plan.convolution("conv", 0, null, 0, 0)));
    refused("a spec", () -> onPlan(plan -> plan.linear("head", 0, null, 0, 0)));
    refused("a spec", () -> onPlan(plan -> plan.pool("pool", 0, null)));
    refused("a spec", () -> onPlan(plan -> plan.ghostBatchNorm("norm", 0, -1, null, 0, 2, 0)));
    refused("standard deviations", () -> load(Arrays.asList(1.0, null)));
    refused("layers", () -> Sequential.of(Sequential.of(), null));
    refused("a schedule", () -> new LearningRate(null, null, 0));
    try (Device device = Device.of("cpu", 1);
        Tensor tensor = device.tensor(DataType.F32, 4)) {
      refused("arguments", () -> GhostBatchNorm.fold(tensor, tensor, null, 1e-5));
    }
  }

  private static void refused(String part, Runnable call) {
    IllegalArgumentException e = assertThrows(IllegalArgumentException.class, call::run);
    assertTrue(
        e.getMessage().contains(part) && e.getMessage().contains("got null"), e.getMessage());
  }

  private static void onPlan(Consumer<NetworkPlan> call) {
    try (Device device = Device.of("cpu", 1);
        NetworkPlan plan = device.networkPlan(4, 4, 2)) {
      call.accept(plan);
    }
  }

  private static void load(List<Double> std) {
    new LoadSpec(4, 4, 2, Augmentation.NONE, 0, 0, 0, 0, 1, List.of(), std, DataType.F32);
  }
}
