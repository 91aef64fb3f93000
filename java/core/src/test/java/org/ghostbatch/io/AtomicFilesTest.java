package org.ghostbatch.io;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class AtomicFilesTest {
  @TempDir Path folder;

  private static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  @Test
  void failedWriteLeavesTheOldFileAndNothingElse() throws IOException {
    Path file = folder.resolve("a.txt");
    AtomicFiles.write(file, bytes("old"));
    var error =
        assertThrows(
            UncheckedIOException.class,
            () ->
                AtomicFiles.write(
                    file,
                    out -> {
                      out.write(bytes("new"));
                      throw new IOException("disk full");
                    }));
    assertTrue(
        error.getMessage().contains("a.txt") && error.getMessage().contains("disk full"),
        error.getMessage());
    assertThrows(
        IllegalStateException.class,
        () ->
            AtomicFiles.write(
                file,
                out -> {
                  throw new IllegalStateException();
                }));
    assertEquals("old", Files.readString(file));
    assertOnlyFile();
    assertThrows(
        UncheckedIOException.class,
        () -> AtomicFiles.write(folder.resolve("no/b.txt"), bytes("x")));
  }

  @Test
  void replacesAFileAndTakesNoNoticeOfInterrupts() throws IOException {
    Path file = folder.resolve("a.txt");
    AtomicFiles.write(file, bytes("old"));
    Thread.currentThread().interrupt();
    try {
      AtomicFiles.write(file, bytes("new"));
    } finally {
      assertTrue(Thread.interrupted());
    }
    assertEquals("new", Files.readString(file));
    assertOnlyFile();
  }

  private void assertOnlyFile() throws IOException {
    try (var files = Files.list(folder)) {
      assertEquals(1, files.count());
    }
  }
}
