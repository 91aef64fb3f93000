package org.ghostbatch.data;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.ghostbatch.io.Hashes;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Downloads from a server on this machine that does what servers do. */
@Timeout(60)
class DownloadTest {
  private static final Download.Patience HURRIED = new Download.Patience(3, 1, 5_000, 300);
  private static final String NAME = "data.gz";

  @TempDir Path folder;
  private final byte[] content = new byte[200_000];
  private final List<String> messages = new ArrayList<>();
  private final List<Long> bytes = new ArrayList<>();
  private final DownloadProgress progress =
      new DownloadProgress() {
        @Override
        public void onBytes(String file, long done, long of) {
          assertEquals(NAME, file);
          assertEquals(content.length, of);
          bytes.add(done);
        }

        @Override
        public void onMessage(String text) {
          messages.add(text);
        }
      };
  private Mirror mirror;

  @BeforeEach
  void start() throws IOException {
    new Random(1).nextBytes(content);
    mirror = new Mirror().file(NAME, content);
  }

  @AfterEach
  void stop() {
    mirror.close();
  }

  static Download.Item item(String name, byte[] content) {
    byte[] sum = Hashes.of("MD5").digest(content);
    return new Download.Item(name, content.length, HexFormat.of().formatHex(sum));
  }

  private Path target() {
    return folder.resolve(NAME);
  }

  private Path part() {
    return folder.resolve(NAME + ".part");
  }

  private void fetch() throws IOException {
    Download.fetch(
        URI.create(mirror.address() + NAME), item(NAME, content), target(), HURRIED, progress);
  }

  /** The file is here, and nothing else. */
  private void whole() throws IOException {
    assertArrayEquals(content, Files.readAllBytes(target()));
    try (Stream<Path> all = Files.list(folder)) {
      assertEquals(List.of(target()), all.toList());
    }
    assertEquals(content.length, bytes.get(bytes.size() - 1));
  }

  private String fails() {
    String text = assertThrows(IOException.class, this::fetch).getMessage();
    assertFalse(Files.exists(target()));
    assertTrue(text.startsWith(mirror.address() + NAME + ": "), text);
    return text;
  }

  private static void contains(String text, Object... parts) {
    for (Object part : parts) {
      assertTrue(text.contains(part.toString()), part + " in: " + text);
    }
  }

  @Test
  void brings() throws IOException {
    fetch();
    whole();
    assertEquals(List.of(NAME), mirror.requests());
    assertEquals(List.of(), messages);
  }

  @Test
  void goesOnWhereItWasCut() throws IOException {
    mirror.answers(NAME, Mirror.cutAt(50_000), Mirror.cutAt(120_000), Mirror.cutAt(120_001));
    fetch();
    whole();
    assertEquals(
        List.of(
            NAME,
            NAME + " bytes=50000- if " + Mirror.TAG,
            NAME + " bytes=120000- if " + Mirror.TAG,
            NAME + " bytes=120001- if " + Mirror.TAG),
        mirror.requests());
    assertEquals(3, messages.size());
  }

  @Test
  void goesOnAfterTheProcessEnded() throws IOException {
    mirror.answers(
        NAME,
        Mirror.cutAt(70_000),
        Mirror.cutAt(70_000),
        Mirror.cutAt(70_000),
        Mirror.cutAt(70_000));
    contains(fails(), "/" + NAME); // 4 attempts: one that brings something, 3 in vain
    assertEquals(70_000, Files.size(part()));
    fetch();
    whole();
    assertEquals(NAME + " bytes=70000- if " + Mirror.TAG, mirror.requests().get(4));
    assertEquals(5, mirror.requests().size());
  }

  @Test
  void aWholePartNeedsNoServer() throws IOException {
    Files.write(part(), content);
    mirror.close();
    fetch();
    assertArrayEquals(content, Files.readAllBytes(target()));
  }

  @Test
  void anotherVersionStartsAfresh() throws IOException {
    Files.write(part(), new byte[1000]);
    Files.writeString(folder.resolve(NAME + ".part.validator"), "\"v0\"");
    fetch();
    whole();
    assertEquals(List.of(NAME + " bytes=1000- if \"v0\""), mirror.requests());
  }

  @Test
  void aPartOfAnotherVersionWithoutValidatorIsFoundByItsSum() throws IOException {
    Files.write(part(), new byte[1000]);
    fetch();
    whole();
    assertEquals(List.of(NAME + " bytes=1000-", NAME), mirror.requests());
    contains(messages.get(0), "needs the MD5 ");
  }

  @ParameterizedTest
  @ValueSource(strings = {"a\r\nEvil: b", "", " ", "\0"})
  void damagedValidatorsAreNotSent(String validator) throws IOException {
    Files.write(part(), Arrays.copyOf(content, 1000));
    Files.writeString(folder.resolve(NAME + ".part.validator"), validator);
    fetch();
    whole();
    assertEquals(List.of(NAME + " bytes=1000-"), mirror.requests());
  }

  @Test
  void serversWithoutRangesSendAllAgain() throws IOException {
    mirror.answers(NAME, Mirror.cutAt(50_000), Mirror::whole);
    fetch();
    whole();
    assertEquals(2, mirror.requests().size());
  }

  @Test
  void aRefusedRangeStartsAfresh() throws IOException {
    Files.write(part(), Arrays.copyOf(content, 1000));
    mirror.answers(NAME, Mirror.status(416));
    fetch();
    whole();
    assertEquals(List.of(NAME + " bytes=1000-", NAME), mirror.requests());
  }

  @Test
  void anotherRangeThanAskedForIsRefused() throws IOException {
    Files.write(part(), Arrays.copyOf(content, 1000));
    mirror.answers(NAME, Mirror::wrongRange);
    contains(fails(), "the bytes from 1000 on, got the range bytes 999-");
  }

  @Test
  void aLongerPartIsDropped() throws IOException {
    Files.write(part(), new byte[content.length + 1]);
    fetch();
    whole();
    assertEquals(List.of(NAME), mirror.requests());
  }

  @Test
  void corruptBytesAreSeenAndBroughtAgain() throws IOException {
    mirror.answers(NAME, Mirror::corrupt);
    fetch();
    whole();
    contains(messages.get(0), "needs the MD5 " + item(NAME, content).md5());
    assertEquals(2, mirror.requests().size());
  }

  @Test
  void aServerWithOtherContentIsGivenUp() throws IOException {
    mirror.answers(NAME, Mirror::corrupt, Mirror::corrupt, Mirror::corrupt);
    contains(fails(), "needs the MD5 " + item(NAME, content).md5() + ", got ");
    assertEquals(2, mirror.requests().size());
    assertFalse(Files.exists(part()));
  }

  @Test
  void stallsEndAndAreTriedAgain() throws IOException {
    mirror.answers(NAME, mirror.stallAt(90_000));
    fetch();
    whole();
    contains(messages.get(0), "stalled after 90000 bytes");
    assertEquals(NAME + " bytes=90000- if " + Mirror.TAG, mirror.requests().get(1));
  }

  @Test
  void stallsWithoutEndAreGivenUp() throws IOException {
    Mirror.Answer stall = mirror.stallAt(100);
    mirror.answers(NAME, stall, stall, stall, stall, stall);
    contains(fails(), "stalled after 100 bytes");
    assertEquals(4, mirror.requests().size());
  }

  @Test
  void drippingIsStalling() throws IOException {
    Mirror.Answer drip =
        (exchange, all) -> {
          exchange.sendResponseHeaders(200, all.length);
          for (int i = 0; i < 60; i++) {
            exchange.getResponseBody().write(all, i, 1);
            exchange.getResponseBody().flush();
            try {
              Thread.sleep(50);
            } catch (InterruptedException e) {
              return;
            }
          }
        };
    mirror.answers(NAME, drip);
    fetch();
    whole();
    contains(messages.get(0), "stalled after ");
  }

  @ParameterizedTest
  @ValueSource(ints = {500, 503, 429, 408})
  void passingErrorsAreTriedAgain(int status) throws IOException {
    mirror.answers(NAME, Mirror.status(status), Mirror.status(status));
    fetch();
    whole();
    assertEquals(3, mirror.requests().size());
  }

  @Test
  void lastingErrorsOfThePassingKindAreGivenUp() {
    mirror.answers(NAME, Collections.nCopies(9, Mirror.status(500)).toArray(Mirror.Answer[]::new));
    contains(fails(), "needs status 200 or 206, got 500");
    assertEquals(3, mirror.requests().size());
  }

  @ParameterizedTest
  @ValueSource(ints = {404, 403, 410, 204})
  void otherErrorsAreNotTriedAgain(int status) {
    mirror.answers(NAME, status == 204 ? Mirror.redirect(204, null) : Mirror.status(status));
    contains(fails(), "got " + status);
    assertEquals(1, mirror.requests().size());
    assertFalse(Files.exists(part()));
  }

  @ParameterizedTest
  @ValueSource(ints = {301, 302, 303, 307, 308})
  void redirectsAreFollowed(int status) throws IOException {
    mirror.file("b/c.gz", content);
    mirror.answers(NAME, Mirror.redirect(status, "/b/d"), Mirror.redirect(status, "/b/d"));
    mirror.answers("b/d", Mirror.redirect(status, "../b/c.gz"), Mirror.redirect(status, "c.gz"));
    mirror.answers("b/c.gz", Mirror.cutAt(10));
    fetch();
    whole();
    assertEquals("b/c.gz", mirror.requests().get(2));
  }

  @Test
  void redirectsEndSomewhere() {
    Mirror.Answer loop = Mirror.redirect(302, mirror.address() + NAME);
    mirror.answers(NAME, Collections.nCopies(20, loop).toArray(Mirror.Answer[]::new));
    contains(fails(), "at most 10 redirects");
    assertEquals(11, mirror.requests().size());
  }

  @ParameterizedTest
  @ValueSource(strings = {"ftp://a/b", "file:///etc/passwd", "jar:file:/a!/b", "::", "//", ""})
  void redirectsElsewhereAreRefused(String location) {
    mirror.answers(NAME, Mirror.redirect(302, location.isEmpty() ? null : location));
    String text = fails();
    assertTrue(text.contains("a redirect") || text.contains("no such host"), text);
    assertEquals(1, mirror.requests().size());
  }

  @Test
  void redirectsKeepHttps() throws IOException {
    URI plain = URI.create("http://a/b/c");
    URI secure = URI.create("https://a/b/c");
    assertEquals("https://x/y", Download.redirect(plain, "https://x/y").toString());
    assertEquals("http://x/y", Download.redirect(plain, "http://x/y").toString());
    assertEquals("https://a/b/d", Download.redirect(secure, "d").toString());
    assertEquals("https://x/y", Download.redirect(secure, "//x/y").toString());
    assertThrows(IOException.class, () -> Download.redirect(secure, "http://a/b/d"));
  }

  @Test
  void filesOfAnotherLengthAreRefused() throws IOException {
    mirror.file(NAME, new byte[500]);
    contains(fails(), "a file of 200000 bytes, got 500");
    assertEquals(1, mirror.requests().size());
    mirror.answers(NAME, Mirror::endless);
    contains(fails(), "a file of 200000 bytes, got more");
    assertTrue(Files.size(part()) <= content.length);
  }

  @Test
  void nobodyThere() {
    mirror.close();
    contains(fails(), "refused");
    assertEquals(2, messages.size());
  }
}
