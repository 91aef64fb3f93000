package org.ghostbatch.data;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import java.util.zip.GZIPOutputStream;
import org.ghostbatch.ForkedJvm;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Data sets that come into the cache. */
@Timeout(120)
class HomeTest {
  private static final Download.Patience HURRIED = new Download.Patience(2, 1, 5_000, 300);
  private static final List<String> FILES = List.of("one.bin", "two.bin");

  @TempDir Path cache;
  private final List<String> messages = new ArrayList<>();
  private final DownloadProgress progress =
      new DownloadProgress() {
        @Override
        public void onBytes(String file, long done, long of) {}

        @Override
        public void onMessage(String text) {
          messages.add(text);
        }
      };
  private Mirror mirror;

  @BeforeEach
  void start() throws IOException {
    mirror = new Mirror();
  }

  @AfterEach
  void stop() {
    mirror.close();
  }

  private static byte[] content(String name) {
    byte[] content = new byte[30_000];
    new Random(name.hashCode()).nextBytes(content);
    return content;
  }

  static byte[] packed(byte[] content) throws IOException {
    var out = new ByteArrayOutputStream();
    try (var gzip = new GZIPOutputStream(out)) {
      gzip.write(content);
    }
    return out.toByteArray();
  }

  /** Two files that lie on the mirror, packed. */
  private Home files(String... mirrors) throws IOException {
    List<Download.Item> items = new ArrayList<>();
    for (String file : FILES) {
      mirror.file(file + ".gz", packed(content(file)));
      items.add(DownloadTest.item(file + ".gz", packed(content(file))));
    }
    List<String> all = mirrors.length == 0 ? List.of(mirror.address()) : List.of(mirrors);
    return new Home("pair", "pair-bin", FILES, all, items);
  }

  private Home archive(byte[] tar) throws IOException {
    byte[] archive = packed(tar);
    mirror.file("all.tar.gz", archive);
    return new Home(
        "pair",
        "pair-bin",
        FILES,
        List.of(mirror.address()),
        List.of(DownloadTest.item("all.tar.gz", archive)));
  }

  private static byte[] goodTar() {
    return TarTest.archive(
        TarTest.entry("pair/", '5', new byte[0]),
        TarTest.entry("pair/two.bin", '0', content("two.bin")),
        TarTest.entry("pair/readme.html", '0', new byte[2000]),
        TarTest.entry("pair/one.bin", '0', content("one.bin")));
  }

  private Path fetch(Home home) {
    return home.fetch(cache, HURRIED, progress);
  }

  private List<String> names(Path folder) throws IOException {
    try (Stream<Path> all = Files.list(folder)) {
      return all.map(path -> path.getFileName().toString()).sorted().toList();
    }
  }

  @Test
  void filesStayPacked() throws IOException {
    Home home = files();
    assertNull(home.find(cache));
    Path place = fetch(home);
    assertEquals(cache.resolve("pair-bin"), place);
    assertEquals(place, home.find(cache));
    assertEquals(List.of("one.bin.gz", "two.bin.gz"), names(place));
    assertArrayEquals(packed(content("two.bin")), Files.readAllBytes(place.resolve("two.bin.gz")));
    assertEquals(2, mirror.requests().size());
    fetch(home); // all is there
    assertEquals(2, mirror.requests().size());
    Files.delete(place.resolve("one.bin.gz"));
    assertNull(home.find(cache));
    fetch(home); // what is absent only
    assertEquals(List.of("one.bin.gz", "two.bin.gz", "one.bin.gz"), mirror.requests());
  }

  @Test
  void archivesAreUnpacked() throws IOException {
    Home home = archive(goodTar());
    Path place = fetch(home);
    assertEquals(FILES, names(place));
    for (String file : FILES) {
      assertArrayEquals(content(file), Files.readAllBytes(place.resolve(file)));
    }
  }

  @Test
  void anUnfinishedUnpackingIsFinished() throws IOException {
    Home home = archive(goodTar());
    Path place = Files.createDirectories(cache.resolve("pair-bin"));
    Files.write(place.resolve("all.tar.gz"), packed(goodTar()));
    Files.write(place.resolve(".two.bin.1234.tmp"), new byte[10]);
    fetch(home);
    assertEquals(FILES, names(place));
    assertEquals(List.of(), mirror.requests());
  }

  @Test
  void theNextMirrorIsAsked() throws IOException {
    try (Mirror second = new Mirror()) {
      Home home = files(second.address(), mirror.address());
      second.answers("one.bin.gz", Mirror.status(404));
      second.answers("two.bin.gz", Mirror.status(500), Mirror.status(500));
      fetch(home);
      assertNotNull(home.find(cache));
      assertEquals(List.of("one.bin.gz", "two.bin.gz", "two.bin.gz"), second.requests());
      assertEquals(2, mirror.requests().size());
    }
  }

  @Test
  void aFailureSaysWhichFilesGoWhere() throws IOException {
    Home home = files(mirror.address() + "gone/", mirror.address() + "lost/");
    var error = assertThrows(UncheckedIOException.class, () -> fetch(home));
    for (String part :
        List.of(
            "[data] cannot download pair to " + cache.resolve("pair-bin"),
            mirror.address() + "gone/one.bin.gz: needs status 200 or 206, got 404",
            mirror.address() + "lost/one.bin.gz: needs status 200 or 206, got 404",
            "By hand: " + mirror.address() + "gone/one.bin.gz, " + mirror.address() + "gone/two",
            "into " + cache.resolve("pair-bin"),
            "--data-dir or GHOSTBATCH_DATA")) {
      assertTrue(error.getMessage().contains(part), part + " in: " + error.getMessage());
    }
  }

  @Test
  void archivesThatLeadOutWriteNothing() throws IOException {
    Home home =
        archive(
            TarTest.archive(
                TarTest.entry("../one.bin", '0', content("one.bin")),
                TarTest.entry("two.bin", '0', content("two.bin"))));
    var error = assertThrows(IllegalArgumentException.class, () -> fetch(home));
    assertTrue(error.getMessage().contains("names inside the archive"), error.getMessage());
    assertEquals(List.of(".pair-bin.lock", "pair-bin"), names(cache));
    assertEquals(List.of("all.tar.gz"), names(cache.resolve("pair-bin")));
  }

  @Test
  void archivesThatLackFilesAreNotTaken() throws IOException {
    Home home = archive(TarTest.archive(TarTest.entry("p/one.bin", '0', content("one.bin"))));
    var error = assertThrows(IllegalArgumentException.class, () -> fetch(home));
    assertTrue(error.getMessage().contains("none named [two.bin]"), error.getMessage());
    assertNull(home.find(cache));
  }

  @Test
  void aCacheThatCannotBeWrittenIsNamed() throws IOException {
    Home home = files();
    Path file = Files.createFile(cache.resolve("file"));
    var error = assertThrows(UncheckedIOException.class, () -> home.fetch(file, HURRIED, progress));
    assertTrue(error.getMessage().contains(file.toString()), error.getMessage());
  }

  /** Brings the archive of {@link #twoProcessesBringItOnce}. */
  public static final class Fetcher {
    private Fetcher() {}

    public static void main(String[] arguments) {
      var home =
          new Home(
              "pair",
              "pair-bin",
              FILES,
              List.of(arguments[1]),
              List.of(new Download.Item("all.tar.gz", Long.parseLong(arguments[2]), arguments[3])));
      home.fetch(
          Path.of(arguments[0]), new Download.Patience(2, 1, 5_000, 30_000), DownloadProgress.NONE);
    }
  }

  @Test
  void twoProcessesBringItOnce() throws Exception {
    Home home = archive(goodTar());
    Download.Item item = home.items().get(0);
    mirror.answers(
        "all.tar.gz",
        (exchange, content) -> {
          try {
            Thread.sleep(500); // the others come meanwhile
          } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
          }
          Mirror.well(exchange, content);
        });
    List<ForkedJvm> jvms = new ArrayList<>();
    List<Process> processes = new ArrayList<>();
    for (int i = 0; i < 3; i++) {
      jvms.add(ForkedJvm.named("fetch-" + i));
      processes.add(
          jvms.get(i)
              .start(
                  Fetcher.class,
                  cache.toString(),
                  mirror.address(),
                  Long.toString(item.bytes()),
                  item.md5()));
    }
    for (int i = 0; i < 3; i++) {
      assertTrue(processes.get(i).waitFor(60, TimeUnit.SECONDS));
      assertEquals(
          0,
          jvms.get(i).end(processes.get(i)).exit(),
          jvms.get(i).end(processes.get(i)).toString());
    }
    assertEquals(List.of("all.tar.gz"), mirror.requests());
    assertEquals(FILES, names(cache.resolve("pair-bin")));
  }

  @Test
  void threadsBringItOnce() throws Exception {
    Home home = files();
    List<Thread> threads = new ArrayList<>();
    for (int i = 0; i < 4; i++) {
      threads.add(new Thread(() -> home.fetch(cache, HURRIED, DownloadProgress.NONE)));
      threads.get(i).start();
    }
    for (Thread thread : threads) {
      thread.join();
    }
    assertEquals(2, mirror.requests().size());
    assertNotNull(home.find(cache));
  }

  @Test
  void theCatalogIsWellFormed() {
    var places = new HashSet<String>();
    for (Home home : List.of(Home.MNIST, Home.FASHION_MNIST, Home.CIFAR_10, Home.CIFAR_100)) {
      assertTrue(places.add(home.folder()));
      assertTrue(Datasets.NAMES.contains(home.name()));
      assertTrue(home.mirrors().get(0).startsWith("https://"));
      home.mirrors().forEach(address -> assertTrue(address.endsWith("/"), address));
      for (Download.Item item : home.items()) {
        assertTrue(item.md5().matches("[0-9a-f]{32}"), item.toString());
        assertTrue(item.bytes() > 0 && item.file().endsWith(".gz"), item.toString());
      }
    }
  }

  @Test
  void offlineSaysWhichFilesGoWhere() {
    DataOptions offline = DataOptions.defaults().withOffline(true);
    assertTrue(DataOptions.defaults().offline(), "tests never reach the network");
    for (String name : List.of("mnist", "fashion-mnist", "cifar10", "cifar100")) {
      for (Path folder : new Path[] {null, cache}) {
        var error =
            assertThrows(
                IllegalArgumentException.class,
                () -> Datasets.load(name, offline.withFolder(folder)));
        String text = error.getMessage();
        for (String part :
            List.of(
                "[data] needs the files ",
                " of " + name,
                "--offline, GHOSTBATCH_OFFLINE",
                "By hand: https://",
                "--data-dir")) {
          assertTrue(text.contains(part), part + " in: " + text);
        }
        assertTrue(folder == null || text.contains(folder.toString()), text);
      }
    }
    var error =
        assertThrows(
            IllegalArgumentException.class,
            () -> Datasets.load("mnist", offline.withFolder(cache.resolve("none"))));
    assertTrue(error.getMessage().contains("got no such folder"), error.getMessage());
  }

  @Test
  void theCacheFolderIsFound() {
    assertEquals(
        Path.of("/a"),
        Datasets.cacheFolder(name -> null, name -> name.equals("GHOSTBATCH_CACHE") ? "/a" : "/x"));
    assertEquals(
        Path.of("/x/ghostbatch/data"),
        Datasets.cacheFolder(
            name -> "/h".repeat(name.equals("user.home") ? 1 : 0),
            name -> name.equals("XDG_CACHE_HOME") ? "/x" : null));
    for (String relative : new String[] {null, "", "x"}) {
      assertEquals(
          Path.of("/h/.cache/ghostbatch/data"),
          Datasets.cacheFolder(
              name -> name.equals("user.home") ? "/h" : null,
              name -> name.equals("XDG_CACHE_HOME") ? relative : null));
    }
  }
}
