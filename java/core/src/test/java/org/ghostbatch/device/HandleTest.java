package org.ghostbatch.device;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Ownership: closing, use after close, two threads at once, leaks. */
@Timeout(120)
class HandleTest {
  @Test
  void closingTwiceIsSilentAndUseAfterCloseIsRefused() {
    try (Device device = Device.of("cpu")) {
      Tensor tensor = device.tensor(DataType.F32, 4);
      Elementwise kernel = device.elementwise(DataType.F32);
      tensor.close();
      tensor.close();
      assertTrue(tensor.closed());
      assertThrows(IllegalStateException.class, tensor::toFloats);
      assertThrows(IllegalStateException.class, () -> tensor.copyFrom(new float[4]));
      assertThrows(IllegalStateException.class, () -> tensor.slice(0, 2));
      assertThrows(IllegalStateException.class, () -> kernel.relu(tensor, tensor, 4));
      kernel.close();
      kernel.close();
      try (Tensor open = device.tensor(DataType.F32, 4)) {
        assertThrows(IllegalStateException.class, () -> kernel.relu(open, open, 4));
      }
    }
  }

  @Test
  void aRefusedCallLeavesItsArgumentsFree() {
    try (Device device = Device.of("cpu");
        Elementwise kernel = device.elementwise(DataType.F32);
        Tensor open = device.tensor(DataType.F32, 4)) {
      Tensor closed = device.tensor(DataType.F32, 4);
      closed.close();
      assertThrows(IllegalStateException.class, () -> kernel.add(open, closed, open, 4, false));
      assertThrows(IllegalArgumentException.class, () -> kernel.add(open, null, open, 4, false));
      assertDoesNotThrow(() -> kernel.add(open, open, open, 4, false));
    }
  }

  @Test
  void closingADeviceClosesWhatWasMadeOnIt() {
    long before = Device.liveBytes();
    Device device = Device.of("cpu");
    Tensor tensor = device.tensor(DataType.F32, 1000);
    Lanes lanes = device.lanes(2);
    VectorKernels vectors = device.vectors(lanes);
    assertThrows(IllegalStateException.class, lanes::close, "the kernels run on them");
    device.close();
    device.close();
    assertTrue(tensor.closed() && lanes.closed() && vectors.closed());
    assertEquals(before, Device.liveBytes());
    assertThrows(IllegalStateException.class, () -> device.tensor(DataType.F32, 1));
    assertThrows(IllegalStateException.class, device::availableBytes);
  }

  @Test
  void twoThreadsAtOnceAreRefusedAndNothingBreaks() throws Exception {
    try (Device device = Device.of("cpu");
        Tensor x = device.tensor(DataType.F32, 1 << 20);
        VectorKernels vectors = device.vectors(null);
        VectorKernels others = device.vectors(null)) {
      AtomicInteger refused = new AtomicInteger();
      AtomicInteger done = new AtomicInteger();
      CountDownLatch go = new CountDownLatch(1);
      ExecutorService pool = Executors.newFixedThreadPool(4);
      try {
        Future<?>[] all = new Future<?>[4];
        for (int t = 0; t < all.length; t++) {
          VectorKernels mine = t % 2 == 0 ? vectors : others;
          all[t] =
              pool.submit(
                  () -> {
                    go.await();
                    for (int i = 0; i < 200; i++) {
                      try {
                        mine.scale(1.0, x);
                        done.incrementAndGet();
                      } catch (IllegalStateException e) {
                        refused.incrementAndGet();
                      }
                    }
                    return null;
                  });
        }
        go.countDown();
        for (Future<?> one : all) {
          one.get();
        }
      } finally {
        pool.shutdown();
        assertTrue(pool.awaitTermination(1, TimeUnit.MINUTES));
      }
      assertEquals(800, done.get() + refused.get());
      assertTrue(done.get() > 0 && refused.get() > 0, done + " done, " + refused + " refused");
      vectors.scale(1.0, x);
    }
  }

  @Test
  void closingWhileInUseIsRefusedOrComesBeforeOrAfter() throws Exception {
    try (Device device = Device.of("cpu");
        VectorKernels vectors = device.vectors(null)) {
      for (int round = 0; round < 50; round++) {
        Tensor x = device.tensor(DataType.F32, 1 << 18);
        Thread user =
            new Thread(
                () -> {
                  try {
                    while (true) {
                      vectors.scale(1.0, x);
                    }
                  } catch (IllegalStateException e) {
                    // Closed, or being closed.
                  }
                });
        user.start();
        while (!x.closed()) {
          try {
            x.close();
          } catch (IllegalStateException e) {
            Thread.onSpinWait();
          }
        }
        user.join();
        assertThrows(IllegalStateException.class, x::toFloats);
      }
    }
  }

  @Test
  void aForgottenTensorIsReportedAndFreedWithItsDevice() throws Exception {
    long live = Device.liveBytes();
    try (Device device = Device.of("cpu")) {
      long before = Device.leaks();
      forget(device);
      for (int i = 0; i < 200 && Device.leaks() == before; i++) {
        System.gc();
        Thread.sleep(10);
      }
      assertTrue(Device.leaks() > before);
      assertTrue(Device.liveBytes() > live, "a Cleaner only reports");
    }
    assertEquals(live, Device.liveBytes());
  }

  private static void forget(Device device) {
    device.tensor(DataType.F32, 100);
  }

  @Test
  void tensorsCopyAndSlice() {
    try (Device device = Device.of("cpu");
        Tensor x = device.tensor(DataType.F32, 2, 3);
        Tensor n = device.tensor(DataType.S32, 3)) {
      assertArrayEquals(new float[6], x.toFloats());
      x.copyFrom(new float[] {1, 2, 3, 4, 5, 6});
      Tensor row = x.slice(3, 3);
      assertArrayEquals(new float[] {4, 5, 6}, row.toFloats());
      row.copyFrom(1, new double[] {7});
      row.close();
      assertArrayEquals(new double[] {1, 2, 3, 4, 7, 6}, x.toDoubles());
      try (VectorKernels vectors = device.vectors(null)) {
        vectors.scale(2, row.slice(1, 2));
      }
      assertArrayEquals(new double[] {1, 2, 3, 4, 14, 12}, x.toDoubles());
      n.copyFrom(new int[] {-1, 0, 7});
      assertArrayEquals(new int[] {-1, 0, 7}, n.toInts());
      assertEquals("f32 [2, 3]", x.toString());
      refused("[tensor] needs an array of 6 elements, got 5", () -> x.copyFrom(new float[5]));
      refused("[tensor] needs a slice inside [0, 6), got [4, 4 + 3)", () -> x.slice(4, 3));
      refused("[tensor] needs an array, got null", () -> x.copyFrom((float[]) null));
      assertThrows(IllegalArgumentException.class, () -> device.tensor(DataType.F32));
      assertThrows(IllegalArgumentException.class, () -> device.tensor(DataType.F32, 0));
      assertThrows(
          IllegalArgumentException.class, () -> device.tensor(DataType.F32, 1L << 40, 1L << 40));
      assertThrows(NativeException.class, () -> device.tensor(DataType.F32, 1L << 46));
    }
  }

  private static void refused(String text, Runnable call) {
    assertEquals(text, assertThrows(IllegalArgumentException.class, call::run).getMessage());
  }

  @Test
  void devicesByName() {
    for (String name : List.of("gpu", "cpu,autotune", "auto,autotune", "cuda,autotune,tf32")) {
      assertThrows(IllegalArgumentException.class, () -> Device.of(name), name);
    }
    assertThrows(IllegalArgumentException.class, () -> Device.of(null));
    assertThrows(IllegalArgumentException.class, () -> Device.of("cpu", 0));
    try (Device reference = Device.of("reference", 3)) {
      assertEquals("reference", reference.name());
      assertEquals(3, reference.threads());
      assertTrue(reference.supports(DataType.F64));
    }
    try (Device automatic = Device.of("auto")) {
      assertTrue(automatic.name().equals("cpu") || automatic.name().startsWith("cuda"));
    }
  }
}
